"""A bare `dbt` finds the warehouse that `market` uses."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from extract.core import embedded_server as embedded
from extract.core import places, provenance, session
from scripts import environment
from scripts.postgres import Server

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, postgres: Server) -> Path:
    """A checkout whose embedded server is the suite's, and an environment without PG* variables."""
    monkeypatch.setattr(places, "ROOT", tmp_path)
    monkeypatch.setattr(embedded, "HOME", postgres.home)
    for name in list(os.environ):
        if name.startswith("PG"):
            monkeypatch.delenv(name)
    # What the code under test sets goes away with the test.
    for name in ("PGHOST", "PGPORT", "PGUSER", "PGPASSWORD", "PGDATABASE", "PGPASSFILE", "PGOPTIONS", "WAREHOUSE_NOW"):
        monkeypatch.setenv(name, "")
    return tmp_path


def test_the_embedded_server_without_its_password(home: Path, postgres: Server) -> None:
    environment.configure_environment()
    found = {name: value for name, value in os.environ.items() if name.startswith("PG")}
    assert found == {
        "PGHOST": "127.0.0.1", "PGPORT": str(postgres.port), "PGUSER": "postgres", "PGDATABASE": "market",
        "PGPASSWORD": "", "PGPASSFILE": str(postgres.passfile), "PGOPTIONS": session.options(),
    }  # fmt: skip
    assert postgres.password not in " ".join(os.environ.values())


def test_a_server_of_the_environment_is_kept(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGHOST", "db.example.com")
    environment.configure_environment()
    assert os.environ["PGHOST"] == "db.example.com"
    assert os.environ["PGPORT"] == ""


def test_a_server_of_the_settings_file_is_taken(home: Path) -> None:
    (home / ".env").write_text("# ours\nPGHOST=db.example.com\nexport PGPASSWORD='a b#c'\nWAREHOUSE_NOW=2024-01-01\n")
    environment.configure_environment()
    assert os.environ["PGHOST"] == "db.example.com"
    assert os.environ["PGPASSWORD"] == "a b#c"
    assert os.environ["WAREHOUSE_NOW"] == "2024-01-01"


def test_the_environment_outranks_the_settings_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / ".env").write_text("WAREHOUSE_NOW=2024-01-01\nPGHOST=\n")
    monkeypatch.setenv("WAREHOUSE_NOW", "2025-01-01")
    environment.configure_environment()
    assert os.environ["WAREHOUSE_NOW"] == "2025-01-01"
    assert os.environ["PGHOST"] == "127.0.0.1"


def test_dbt_logs_in_the_form_that_is_asked_for(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBT_LOG_FORMAT", "")
    monkeypatch.delenv("DBT_LOG_FORMAT")
    environment.configure_environment()
    assert "DBT_LOG_FORMAT" not in os.environ
    (home / ".env").write_text("LOG_FORMAT=json\n")
    monkeypatch.setenv("LOG_FORMAT", "")
    environment.configure_environment()
    assert os.environ["DBT_LOG_FORMAT"] == "json"


def test_a_checkout_without_a_server_yet_is_left_as_it_is(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "HOME", home / "nothing")
    environment.configure_environment()
    assert os.environ["PGHOST"] == ""


@pytest.mark.parametrize(
    ("command", "is_led"),
    [
        (["dbt", "build"], True),
        ([".venv/bin/sqlfluff", "lint"], True),
        (["python", "/somewhere/.venv/bin/dbt", "build"], True),
        (["python", "-m", "dbt.cli.main"], True),
        (["python", "-m", "pytest"], False),
        (["python", "-c", "print('dbt')"], False),
        (["market", "extract"], False),
    ],
)
def test_the_hook_acts_for_dbt_and_sqlfluff_alone(command: list[str], is_led: bool) -> None:
    program = f"import sys; sys.orig_argv = {command!r}\n{environment.HOOK}print('scripts.environment' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True,
        env={"PATH": os.environ["PATH"], "PGHOST": "db.example.com"},
    )  # fmt: skip
    assert result.stdout.strip() == str(is_led), result.stderr


def test_set_up_left_the_hook() -> None:
    assert environment.hook_file().read_text() == environment.HOOK


def test_dbt_gets_in_by_the_password_file(home: Path, postgres: Server, tmp_path: Path) -> None:
    """The profile hands dbt an empty password; libpq then reads the file, and only with the right one it gets in."""
    environment.configure_environment()
    command = [sys.executable, "-m", "dbt.cli.main", "debug", "--connection", "--log-path", str(tmp_path)]

    def debug() -> str:
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout

    assert "connection ok" in debug()
    wrong = tmp_path / "pgpass"
    wrong.write_text("127.0.0.1:*:*:postgres:wrong\n")
    wrong.chmod(0o600)
    os.environ["PGPASSFILE"] = str(wrong)
    assert "password authentication failed" in debug()


def test_a_build_in_the_demos_database_keeps_the_demos_clock(
    home: Path, postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    postgres.create_database("demo_clock")
    monkeypatch.setenv("PGDATABASE", "demo_clock")
    environment.configure_environment()
    assert os.environ["WAREHOUSE_NOW"] == "", "no demo was here"
    with psycopg.connect(postgres.dsn("demo_clock"), autocommit=True) as connection:
        connection.execute(provenance.CREATE)
        provenance.set_clock(connection, "2013-03-02T02:00:00Z")
    environment.configure_environment()
    assert os.environ["WAREHOUSE_NOW"] == "2013-03-02T02:00:00Z"
    monkeypatch.setenv("WAREHOUSE_NOW", "2014-01-01")
    environment.configure_environment()
    assert os.environ["WAREHOUSE_NOW"] == "2014-01-01"
    # A server that is down is dbt's to tell.
    monkeypatch.setenv("WAREHOUSE_NOW", "")
    monkeypatch.setenv("PGHOST", "127.0.0.1")
    monkeypatch.setenv("PGPORT", "1")
    environment.configure_environment()
    assert os.environ["WAREHOUSE_NOW"] == ""
