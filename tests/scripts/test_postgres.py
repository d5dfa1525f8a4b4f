"""The embedded Postgres under everything that happens to it on somebody's machine."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest

from extract.core import embedded_server as postgres
from extract.core.embedded_server import PostgresError, Server, ensure_running, temporary_postgres

ROOT = Path(__file__).resolve().parents[2]
DEBIAN_15 = Path("/usr/lib/postgresql/15/bin")

only_root = pytest.mark.skipif(os.geteuid() != 0, reason="tells what happens when root starts it: run as root")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with temporary_postgres() as server:
        yield server


@pytest.fixture
def new_server(tmp_path: Path) -> Iterator[Server]:
    """One that is not made yet."""
    server = Server(tmp_path / "postgres")
    yield server
    server.stop()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with nothing but its programs in it, so that no test touches the real one's server."""
    for package in ("extract", "scripts"):
        shutil.copytree(
            ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__", "node_modules")
        )
    return tmp_path


def run_script(checkout: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return subprocess.run(
        [sys.executable, "-m", "scripts.postgres", *arguments],
        cwd=checkout, env=environment | settings, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def value(server: Server, query: str) -> object:
    with psycopg.connect(server.dsn()) as connection:
        row = connection.execute(query).fetchone()
        return row[0] if row else None


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        threading.Event().wait(0.02)


class TestPassword:
    def test_the_generated_one_opens_it(self, server: Server) -> None:
        assert value(server, "select current_database()") == "market"
        assert len(server.password) >= 24

    @pytest.mark.parametrize("password", ["", "postgres", "wrong"])
    def test_no_other_opens_it(self, server: Server, password: str) -> None:
        wrong = server.dsn().replace(f":{quote(server.password, safe='')}@", f":{password}@")
        with pytest.raises(psycopg.OperationalError, match=r"password authentication failed|no password supplied"):
            psycopg.connect(wrong, passfile="/nonexistent")

    def test_the_password_file_alone_opens_it(self, server: Server) -> None:
        with psycopg.connect(
            host="127.0.0.1", port=server.port, user="postgres", dbname="market", passfile=str(server.passfile)
        ) as connection:
            assert connection.execute("select 1").fetchone() == (1,)

    def test_nobody_else_can_read_it(self, server: Server) -> None:
        assert stat.S_IMODE(server.passfile.stat().st_mode) == 0o600
        assert stat.S_IMODE(server.data.stat().st_mode) == 0o700

    def test_it_is_asked_for_by_scram_on_loopback_only(self, server: Server) -> None:
        assert value(server, "select count(*) from pg_hba_file_rules where auth_method = 'trust'") == 0
        assert value(server, "show listen_addresses") == "127.0.0.1"
        assert value(server, "show unix_socket_directories") == ""


class TestUser:
    @only_root
    def test_root_starts_it_as_somebody_without_rights(self, server: Server) -> None:
        postmaster = int((server.data / "postmaster.pid").read_text().split()[0])
        assert Path(f"/proc/{postmaster}").stat().st_uid != 0
        assert server.data.owner() == "nobody"

    @only_root
    def test_data_may_lie_where_only_root_can_pass(self, tmp_path: Path) -> None:
        closed = tmp_path / "closed"
        closed.mkdir(mode=0o700)
        server = Server(closed / "deeper" / "postgres")
        try:
            ensure_running(server.home)
            assert value(server, "select 1") == 1
            assert stat.S_IMODE(closed.stat().st_mode) == 0o700
            assert closed.owner() == "root"
        finally:
            server.stop()

    def test_an_ordinary_user_starts_it(self, tmp_path: Path) -> None:
        """Run by root, this becomes user nobody first, who may still read this checkout and its Python."""
        home = tmp_path / "home"
        home.mkdir()
        program = (
            "import os, sys; from pathlib import Path; from extract.core.embedded_server import *; assert os.geteuid() != 0;"
            "server = ensure_running(Path(sys.argv[1]));"
            "assert server.data.stat().st_uid == os.geteuid(); server.stop(); print('stopped')"
        )
        prefix = []
        if os.geteuid() == 0:
            shutil.chown(home, "nobody")
            capability = "+dac_read_search"
            prefix = ["setpriv", "--reuid=nobody", "--clear-groups"]
            prefix += [f"--inh-caps={capability}", f"--ambient-caps={capability}"]
        result = subprocess.run(
            [*prefix, sys.executable, "-c", program, str(home / "postgres")],
            cwd=ROOT, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert result.stdout.strip() == "stopped", result.stderr


class TestAccidents:
    def test_killed_it_starts_again_with_its_data(self, new_server: Server) -> None:
        ensure_running(new_server.home)
        with psycopg.connect(new_server.dsn()) as connection:
            connection.execute("create table kept as select * from generate_series(1, 1000) as number")
        port = new_server.port
        postmaster = int((new_server.data / "postmaster.pid").read_text().split()[0])
        os.kill(postmaster, signal.SIGKILL)
        wait_for(lambda: not new_server.is_running())
        ensure_running(new_server.home)
        assert value(new_server, "select sum(number) from kept") == 500_500
        assert new_server.port == port

    def test_a_set_up_that_was_killed_is_begun_again(self, new_server: Server) -> None:
        """initdb writes PG_VERSION first, so a half-made directory looks like a whole one."""
        unfinished = new_server.home / "data.unfinished"
        unfinished.mkdir(parents=True)
        (unfinished / "PG_VERSION").write_text("18\n")
        new_server.passfile.write_text("127.0.0.1:*:*:postgres:of-the-killed-one\n")
        ensure_running(new_server.home)
        assert value(new_server, "select 1") == 1
        assert not unfinished.exists()

    def test_a_spoilt_data_directory_is_named_and_left_alone(self, new_server: Server) -> None:
        new_server.data.mkdir(parents=True, mode=0o700)
        (new_server.data / "precious").write_text("data")
        with pytest.raises(PostgresError, match="did not start"):
            new_server.start()
        assert (new_server.data / "precious").read_text() == "data"

    def test_its_port_taken_meanwhile_it_takes_another(self, new_server: Server) -> None:
        ensure_running(new_server.home)
        first = new_server.port
        with psycopg.connect(new_server.dsn()) as connection:
            connection.execute("create table kept as select 7 as number")
        new_server.stop()
        with socket.create_server(("127.0.0.1", first)):
            ensure_running(new_server.home)
            assert new_server.port != first
            assert value(new_server, "select number from kept") == 7

    def test_two_programs_start_it_at_once(self, new_server: Server) -> None:
        failures: list[Exception] = []

        def start() -> None:
            try:
                new_server.start()
            except Exception as error:
                failures.append(error)

        threads = [threading.Thread(target=start) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        new_server.create_database()
        assert value(new_server, "select 1") == 1


class TestChoice:
    @pytest.mark.skipif(not DEBIAN_15.exists(), reason="needs Debian's PostgreSQL 15")
    def test_other_binaries_by_pg_bin(self, new_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PG_BIN", str(DEBIAN_15))
        ensure_running(new_server.home)
        assert str(value(new_server, "show server_version")).startswith("15.")
        new_server.stop()

    def test_the_memory_settings_are_in_force(self, server: Server) -> None:
        for name, expected in postgres.SETTINGS.items():
            assert value(server, f"show {name}") == expected

    @pytest.mark.parametrize("where", ["environment", ".env"])
    @pytest.mark.parametrize("action", ["up", "down", "status"])
    def test_pghost_set_means_hands_off(self, checkout: Path, where: str, action: str) -> None:
        if where == ".env":
            (checkout / ".env").write_text("PGHOST=db.example.com\n")
            result = run_script(checkout, action)
        else:
            result = run_script(checkout, action, PGHOST="db.example.com")
        assert result.returncode == 0
        assert "db.example.com" in result.stdout
        assert "nothing to do" in result.stdout
        assert not (checkout / ".warehouse").exists()

    def test_pghost_set_leads_psql_to_that_server(self, checkout: Path, server: Server) -> None:
        result = run_script(checkout, "psql", "-Atc", "show port", **server.environment())
        assert result.stdout.strip() == str(server.port), result.stderr
        assert not (checkout / ".warehouse").exists()

    def test_up_psql_down(self, checkout: Path) -> None:
        try:
            assert "127.0.0.1" in run_script(checkout, "up").stdout
            assert "running" in run_script(checkout, "status").stdout
            result = run_script(checkout, "psql", "-Atc", "select current_user || ' in ' || current_database()")
            assert result.stdout.strip() == "postgres in market", result.stderr
        finally:
            assert "stopped" in run_script(checkout, "down").stdout
        assert "not running" in run_script(checkout, "status").stdout

    def test_an_unknown_action_is_refused(self, checkout: Path) -> None:
        assert run_script(checkout, "restart").returncode == 2


def test_two_that_want_the_same_database_at_once_get_it(server: Server) -> None:
    """As the first two commands of a fresh clone, typed side by side: one ended in a traceback (DuplicateDatabase)."""
    failed: list[psycopg.Error] = []
    together = threading.Barrier(6)

    def make(name: str) -> None:
        together.wait()
        try:
            server.create_database(name)
        except psycopg.Error as error:
            failed.append(error)

    threads = [threading.Thread(target=make, args=("wanted_by_many",)) for _ in range(together.parties)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


def test_a_server_that_was_killed_and_never_reaped_is_no_running_one(new_server: Server) -> None:
    """Its first process is ours, and we do not reap it: what a container's does that was not made to."""
    ensure_running(new_server.home)
    new_server.stop()
    zombie = subprocess.Popen(["true"])
    os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
    (new_server.data / "postmaster.pid").write_text(f"{zombie.pid}\n{new_server.data}\n")
    ensure_running(new_server.home)
    assert new_server.is_running() and value(new_server, "select 1") == 1
    zombie.wait()


def test_after_a_restart_of_the_machine_its_number_may_be_another_ones(new_server: Server) -> None:
    """Of a program, or of another server, which is left alone."""
    ensure_running(new_server.home)
    new_server.stop()
    pid_file = new_server.data / "postmaster.pid"
    with subprocess.Popen(["sleep", "600"]) as program, postgres.temporary_postgres() as another:
        for pid in (str(program.pid), (another.data / "postmaster.pid").read_text().split()[0]):
            pid_file.write_text(f"{pid}\n{new_server.data}\n")
            assert not new_server.is_running()
            new_server.stop()
            ensure_running(new_server.home)
            assert new_server.is_running() and value(new_server, "select 1") == 1
            new_server.stop()
        assert value(another, "select 1") == 1 and program.poll() is None
        program.kill()


@only_root
def test_started_by_root_it_has_no_rights_of_roots_where_it_needs_none() -> None:
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        Path(directory).chmod(0o755)
        server = Server(Path(directory) / "postgres")
        reachable = all(map(postgres._everybody_may_pass, (Path(directory), postgres.binaries())))
        try:
            ensure_running(server.home)
            pid = (server.data / "postmaster.pid").read_text().split()[0]
            status = Path(f"/proc/{pid}/status").read_text()
            (effective,) = re.findall(r"^CapEff:\s*(\w+)$", status, re.M)
            assert (int(effective, 16) == 0) == reachable
        finally:
            server.stop()
