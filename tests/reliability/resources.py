"""What a run needs is taken from it: sessions are ended or their statements cancelled, no connection is left, the disk is full.

The disk is a small one in memory, which root may mount; without that right no disk gets full.
"""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg

from scripts.postgres import Server
from tests.conftest import TEST_SERVER_SETTINGS
from tests.reliability.stage import Stage, Strike

DISK_MEGABYTES = 1500
OTHERS = "from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"


def ended_sessions(stage: Stage) -> Callable[[], None]:
    """An administrator, or a proxy, ends all sessions of the database."""

    def strike() -> None:
        with psycopg.connect(stage.database.dsn, autocommit=True) as connection:
            connection.execute(f"select pg_terminate_backend(pid) {OTHERS}".encode())

    return strike


def cancelled_statements(stage: Stage) -> Callable[[], None]:
    """Whatever is running in the next moments is cancelled, as statement_timeout would."""

    def cancel() -> None:
        ends_at = time.monotonic() + 0.3
        with psycopg.connect(stage.database.dsn, autocommit=True) as connection:
            while time.monotonic() < ends_at:
                connection.execute(f"select pg_cancel_backend(pid) {OTHERS} and state = 'active'".encode())
                time.sleep(0.002)

    def strike() -> None:
        threading.Thread(target=cancel, daemon=True).start()

    return strike


def no_connections(stage: Stage) -> Callable[[], None]:
    """Others take every connection that is left, until the run is over."""
    taken: list[psycopg.Connection] = []

    def strike() -> None:
        with suppress(psycopg.OperationalError):
            while True:
                taken.append(psycopg.connect(stage.server.dsn("postgres")))

    return strike


def _filler(stage: Stage) -> Path:
    return stage.server.home.parent / "filler"


def full_disk(stage: Stage) -> Callable[[], None]:
    """Not a byte is left on the server's disk."""

    def strike() -> None:
        with suppress(OSError), _filler(stage).open("wb", buffering=0) as file:
            while True:
                file.write(bytes(1 << 20))
        with suppress(OSError), _filler(stage).open("ab", buffering=0) as file:
            while True:
                file.write(bytes(512))

    return strike


def room_again(stage: Stage) -> None:
    """The administrator has made room; a server that gave up is started."""
    _filler(stage).unlink(missing_ok=True)
    stage.server.start()


STRIKES = (
    Strike("sessions ended", ended_sessions),
    Strike("statements cancelled", cancelled_statements),
    Strike("no connection left", no_connections),
)
FULL_DISK = Strike("disk full", full_disk, room_again)


@contextmanager
def small_disk(folder: Path, like: Server) -> Iterator[Server | None]:
    """A server like that one, on a disk that a megabyte a write fills soon; None where none may be mounted."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MEGABYTES}m,mode=0755", "none", str(folder)]
    if os.geteuid() or subprocess.run(command, capture_output=True).returncode:
        yield None
        return
    settings = {
        **(like.settings or {"timezone": "UTC"}),
        **TEST_SERVER_SETTINGS,
        "min_wal_size": "64MB",
        "max_wal_size": "256MB",
    }
    server = Server(folder / "postgres", like.programs, settings)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        subprocess.run(["umount", "-l", str(folder)], check=True)
