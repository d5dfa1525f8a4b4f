"""A server that is down, refuses, is read-only or speaks another language: one line with the fix and the right exit code."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from typer.testing import CliRunner

from extract import migrations
from extract.core import database as warehouse
from extract.core.settings import ConfigurationError
from scripts.cli import app
from scripts.monitoring import alerts
from scripts.pipeline import run, schedule
from scripts.postgres import PostgresError
from tests.extract.conftest import forget
from tests.receiver import receiving
from tests.warehouse import Database

NOBODY_LISTENS = "1"
COMMANDS = [
    command.split()
    for command in (
        "extract", "extract --dry-run", "run", "migrate", "prune --older-than 90", "alerts --send", "backfill-resume",
        "backfill-status", "collect-liquidations", "status --json", "metrics", "roles", "quarantine", "backup",
        "leakage-check", "site",
    )
]  # fmt: skip


@pytest.fixture
def shell(database: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[pytest.MonkeyPatch]:
    """A shell that leads to an empty database, in a directory of its own."""
    monkeypatch.chdir(tmp_path)
    for name, value in database.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(alerts, "_is_down_sent", False)
    forget()
    yield monkeypatch
    forget()


def market(*words: str) -> tuple[int, str]:
    """The exit code of a command, and the lines it printed that are no log lines."""
    result = CliRunner().invoke(app, list(words))
    return result.exit_code, result.output


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_server_that_is_down_is_one_line_and_exit_1(shell: pytest.MonkeyPatch, command: list[str]) -> None:
    shell.setenv("PGPORT", NOBODY_LISTENS)
    forget()
    code, output = market(*command)
    assert code == 1 and "Traceback" not in output
    assert output.count("\n") == 1 and "does not answer" in output and "PGHOST and PGPORT" in output


def test_a_server_that_says_nothing_is_given_up(shell: pytest.MonkeyPatch) -> None:
    # As behind a firewall that drops what comes, or stopped: `status` and `alerts` waited for ever.
    shell.setattr(warehouse, "CONNECT_SECONDS", 2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        shell.setenv("PGPORT", str(silent.getsockname()[1]))
        for command in (["status"], ["alerts", "--send"]):
            forget()
            code, output = market(*command)
            assert code == 1 and "timeout expired" in output and output.count("\n") == 1, output


def test_where_the_log_is_json_so_is_that_line(shell: pytest.MonkeyPatch) -> None:
    shell.setenv("PGPORT", NOBODY_LISTENS)
    shell.setenv("LOG_FORMAT", "json")
    forget()
    code, output = market("status")
    line = json.loads(output)
    assert code == 1 and line["level"] == "ERROR" and "does not answer" in line["message"]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [({"PGPASSWORD": "canary-4711"}, "PGPASSWORD"), ({"PGDATABASE": "no such one"}, "createdb 'no such one'")],
)
@pytest.mark.parametrize("command", [["extract"], ["run"], ["status"]])
def test_a_server_that_refuses_us_is_a_bad_setting(
    shell: pytest.MonkeyPatch, command: list[str], wrong: dict[str, str], told: str
) -> None:
    for name, value in wrong.items():
        shell.setenv(name, value)
    forget()
    code, output = market(*command)
    assert code == 78 and "Traceback" not in output and "canary" not in output
    assert told in output and "refuses user postgres" in output and output.count("\n") == 1


def test_a_user_without_rights_hears_who_gives_them(shell: pytest.MonkeyPatch, database: Database) -> None:
    with psycopg.connect(database.dsn, autocommit=True) as administrator:
        migrations.migrate(administrator)
        administrator.execute("drop role if exists stranger; create role stranger login password 'canary-4711'")
    shell.setenv("PGUSER", "stranger")
    shell.setenv("PGPASSWORD", "canary-4711")
    forget()
    for command in (["extract"], ["run"], ["migrate"], ["quarantine"]):
        code, output = market(*command)
        assert code == 78 and "Traceback" not in output, output
        assert "`market roles`" in output and "stranger" in output and output.count("\n") == 1, output


def test_a_server_that_wants_a_password_gets_none(shell: pytest.MonkeyPatch) -> None:
    shell.setenv("PGPASSWORD", "")
    for command in (["extract"], ["run"], ["status"]):
        forget()
        code, output = market(*command)
        assert code == 78 and "PGPASSWORD" in output and output.count("\n") == 1, output


def test_every_bad_setting_is_named_in_one_line(shell: pytest.MonkeyPatch) -> None:
    shell.setenv("PGPORT", "abc")
    shell.setenv("MIN_QUALITY_SCORE", "much")
    forget()
    code, output = market("status")
    assert code == 78 and "PGPORT" in output and "MIN_QUALITY_SCORE" in output and output.count("\n") == 1


def test_a_server_that_lets_nobody_write_is_a_bad_setting(shell: pytest.MonkeyPatch, database: Database) -> None:
    statement = sql.SQL("alter database {} set default_transaction_read_only = on")
    with psycopg.connect(database.server.dsn("postgres"), autocommit=True) as connection:
        connection.execute(statement.format(sql.Identifier(database.name)))
    forget()
    for command in (["extract"], ["run"]):
        code, output = market(*command)
        assert code == 78 and "Traceback" not in output
        assert "lets nobody write" in output and "point PGHOST at the primary" in output


@pytest.mark.parametrize(
    "message",
    [
        "connection failed: FATAL:  the database system is starting up",
        "connection failed: FATAL:  sorry, too many clients already",
        "connection failed: Connection refused",
        "could not translate host name",
        # Asked once more the server takes us: what it was has passed.
        "connection failed: ВАЖНО:  извините, уже слишком много клиентов",
    ],
)
def test_what_a_refused_connection_means(shell: pytest.MonkeyPatch, message: str) -> None:
    assert isinstance(warehouse.meaning_of(psycopg.OperationalError(message)), warehouse.Unreachable)
    late = psycopg.errors.ConnectionTimeout("connection timeout expired")
    assert isinstance(warehouse.meaning_of(late), warehouse.Unreachable)
    assert warehouse.meaning_of(ValueError("no matter of the server")) is None
    wrapped = RuntimeError("a pipeline step failed")
    wrapped.__cause__ = psycopg.errors.AdminShutdown("terminating connection due to administrator command")
    assert isinstance(warehouse.meaning_of(wrapped), warehouse.Unreachable)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"PGPASSWORD": "canary-4711"}, "FATAL:  Passwort-Authentifizierung für Benutzer »postgres« fehlgeschlagen"),
        ({"PGDATABASE": "no such one"}, "ВАЖНО:  база данных не существует"),
    ],
)
def test_a_setting_that_a_server_of_another_language_refuses(
    shell: pytest.MonkeyPatch, wrong: dict[str, str], message: str
) -> None:
    for name, value in wrong.items():
        shell.setenv(name, value)
    forget()
    refused = psycopg.OperationalError(f'connection to server at "127.0.0.1", port 5432 failed: {message}')
    assert isinstance(warehouse.meaning_of(refused), ConfigurationError)


def test_the_dead_mans_switch_and_people_are_told_once(shell: pytest.MonkeyPatch) -> None:
    with receiving() as receiver:
        shell.setenv("HEALTHCHECK_URL", receiver.url(path="/check"))
        shell.setenv("ALERT_URLS", receiver.url("json", "/alert"))
        shell.setenv("PGPORT", NOBODY_LISTENS)
        forget()
        for _ in range(2):
            with pytest.raises(warehouse.Unreachable, match="does not answer"):
                run.run()
        assert receiver.asked == ["/check/fail"] * 2
        (told,) = receiver.take()
        assert "run_failed" in told["message"] and "does not answer" in told["message"]


@pytest.mark.parametrize(
    "problem",
    [PostgresError("the embedded Postgres did not start"), ConfigurationError("the warehouse needs migrations")],
)
def test_people_are_told_of_whatever_keeps_a_run_from_its_beginning(
    shell: pytest.MonkeyPatch, problem: Exception
) -> None:
    def fails() -> None:
        raise problem

    with receiving() as receiver:
        shell.setenv("HEALTHCHECK_URL", receiver.url(path="/check"))
        shell.setenv("ALERT_URLS", receiver.url("json", "/alert"))
        shell.setattr(warehouse, "migrate", fails)
        forget()
        for _ in range(2):
            with pytest.raises(type(problem), match=str(problem)):
                run.run()
        assert receiver.asked == ["/check/fail"] * 2
        (told,) = receiver.take()
        assert "run_failed" in told["message"] and str(problem) in told["message"]


def test_the_scheduler_waits_for_the_server_and_makes_up_for_the_run(
    shell: pytest.MonkeyPatch, database: Database
) -> None:
    done: list[str] = []
    port = database.environment["PGPORT"]
    shell.setenv("PGPORT", NOBODY_LISTENS)
    forget()
    scheduler = schedule.make(None, threading.Event())
    job = scheduler.get_job("daily")
    daily = job.func
    assert isinstance(daily, schedule.DailyTurn) and daily.is_waiting
    daily()
    daily.make_up()
    assert daily.is_waiting
    shell.setenv("PGPORT", port)
    forget()
    shell.setattr(run, "run", lambda **_: done.append("run"))
    daily.make_up()
    assert done == ["run"] and not daily.is_waiting
    daily.make_up()
    assert done == ["run"]


def test_the_pool_gets_over_a_server_that_closed_its_connections(shell: pytest.MonkeyPatch, database: Database) -> None:
    with warehouse.pool().connection() as connection:
        (own,) = connection.execute("select pg_backend_pid()").fetchone() or (0,)
    with psycopg.connect(database.dsn, autocommit=True) as other:
        other.execute("select pg_terminate_backend(%s)", (own,))
    with warehouse.pool().connection() as connection:
        assert connection.execute("select 1").fetchone() == (1,)
