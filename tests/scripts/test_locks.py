"""Locks have names, and nobody who only reads can stop a run, knowingly or not.

Data flow: one built warehouse; sessions of readers, collectors and administrators get in the way of commands and builds.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from functools import partial
from typing import Any

import psycopg
import pytest
from psycopg.errors import CheckViolation, InsufficientPrivilege
from typer.testing import CliRunner

from extract import migrations
from extract.core import database, locks, refusal, session
from extract.core.locks import Lock, LockHeld, LockLost
from scripts.cli import app
from scripts.monitoring import alerts
from scripts.pipeline import build, run
from scripts.postgres import roles
from tests import dbt_process
from tests.conftest import ROOT
from tests.dbt.test_bars import run_of
from tests.extract.conftest import forget
from tests.scripts.conftest import MARCH
from tests.warehouse import ISO_DATES, Database, MakeWarehouse, Warehouse, crypto

HOURS = run_of(MARCH, 60, "1h")
VIEW = "dbt_project/models/marts/operations/pipeline_runs.sql"


@pytest.fixture(scope="module")
def built(make_warehouse: MakeWarehouse) -> Warehouse:
    warehouse = make_warehouse("warehouse")
    warehouse.assets([crypto("BTC", "1h", binance_futures="")])
    warehouse.now = HOURS[-1].timestamp + timedelta(hours=1)
    warehouse.load_bars("binance", "BTC", "1h", HOURS)
    warehouse.build()
    return warehouse


@pytest.fixture
def here(built: Warehouse, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """This process, led to that warehouse."""
    monkeypatch.chdir(built.project.directory)
    for name, value in {**built.database.environment, "WAREHOUSE_NOW": built.now.isoformat()}.items():
        monkeypatch.setenv(name, value)
    forget()
    with dbt_process.parsed_once(keeps_connections=False):
        yield monkeypatch
    forget()


@contextmanager
def reading(built: Warehouse, *relations: str) -> Iterator[psycopg.Connection]:
    """An analyst's open transaction that has read these relations, as a notebook leaves it."""
    with psycopg.connect(built.database.dsn, application_name="a notebook", options=ISO_DATES) as reader:
        reader.execute("set transaction isolation level repeatable read")
        for relation in relations:
            reader.execute(f"select * from {relation} limit 1".encode()).fetchall()
        yield reader


def amend(built: Warehouse, place: int) -> None:
    bar = HOURS[place]
    built.load_bars("binance", "BTC", "1h", [replace(bar, close=bar.close + Decimal("0.01"), high=bar.high + 1)])


# ---------------------------------------------------------------- names


def test_every_lock_is_a_name_of_one_enum_and_no_other_is_taken_anywhere(here: None) -> None:
    with psycopg.connect(database.url(), autocommit=True) as connection:
        for lock in Lock:
            locks.take_within(connection, lock)
        names = connection.execute("select name from ops.locks").fetchall()
        assert {name for (name,) in names} == set(Lock)
        with pytest.raises(CheckViolation):
            connection.execute("insert into ops.locks (name) values ('another')")
    files = [file for place in ("extract", "scripts", "dbt_project") for file in (ROOT / place).rglob("*.*")]
    texts = {file: file.read_text() for file in files if file.suffix in (".py", ".sql", ".yml")}
    taking = {file.name for file, text in texts.items() if re.search(r"advisory_(xact_)?lock\(", text)}
    assert taking == {"locks.py"}


def test_the_collector_the_alerts_and_a_run_go_side_by_side(here: pytest.MonkeyPatch) -> None:
    # Two of them had one number once, and every run waited for the collector, which runs for weeks.
    here.setenv("PGOPTIONS", "-c lock_timeout=5s")
    forget()
    with database.held(Lock.COLLECTOR, "collect-liquidations"), database.run_lock("run"):
        alerts.evaluate()
        roles.create()
        with pytest.raises(LockHeld, match="another run holds the lock: market run"), database.run_lock("extract"):
            raise AssertionError
        with pytest.raises(LockHeld, match="another collector"), database.held(Lock.COLLECTOR, "again"):
            raise AssertionError
    with database.run_lock("extract"):
        pass


def test_a_lock_given_back_is_free_at_once(here: None) -> None:
    # The server ends a closed session when it gets to it: the next command found a holder that was done.
    for number in range(200):
        with database.run_lock(f"extract {number}"):
            pass
    with suppress(ZeroDivisionError), database.run_lock("fails"):
        raise ZeroDivisionError
    with database.run_lock("extract"):
        pass


def test_two_first_commands_at_once_make_the_tables_once(database: Database) -> None:
    def first(_: int) -> int:
        with psycopg.connect(database.dsn) as connection:
            return len(migrations.migrate(connection))

    with ThreadPoolExecutor(4) as pool:
        made = sorted(pool.map(first, range(4)))
    assert made == [0, 0, 0, len(migrations.migrations())]


# ---------------------------------------------------------------- readers


def test_no_reader_can_take_the_run_lock_or_keep_it_from_being_taken(built: Warehouse, here: None) -> None:
    roles.create()
    with psycopg.connect(built.database.dsn, autocommit=True) as reader:
        with database.run_lock("run"):
            numbers = reader.execute("select classid, objid from pg_locks where locktype = 'advisory'").fetchall()
        # As where the administrator is no superuser, who could not revoke it.
        reader.execute(
            "grant execute on function pg_advisory_lock(integer, integer), pg_advisory_lock(bigint) to market_read"
        )
        reader.execute("set session authorization market_read")
        assert numbers
        for one, other in numbers:
            reader.execute("select pg_advisory_lock(%s, %s)", (one, other))
        reader.execute("select pg_advisory_lock(7421), pg_advisory_lock(74210001)")
        for statement in (
            "select from ops.locks where name = 'run' for update",
            "select from ops.locks where name = 'run' for key share",
            "lock table ops.locks in share mode",
            "update ops.locks set pid = pg_backend_pid()",
            "select ops.evaluate_alerts(now())",
        ):
            with pytest.raises(InsufficientPrivilege), reader.transaction():
                reader.execute(statement.encode())
        with database.run_lock("run"):
            assert locks.holder_of(reader, Lock.RUN), "a reader may see who holds it"


def test_readers_with_open_transactions_stop_no_build_and_see_none_of_it(built: Warehouse, here: None) -> None:
    marts = [
        row["name"]
        for row in built.query(
            "select table_schema || '.' || table_name as name from information_schema.tables"
            " where table_schema in ('marts', 'snapshots') order by 1"
        )
    ]
    counted = " union all ".join(
        f"select '{mart}', md5(coalesce(string_agg(kept::text, '' order by kept::text), '')) from {mart} as kept"
        for mart in marts
    )
    assert len(marts) > 30
    with reading(built, *marts) as reader:
        before = reader.execute(counted.encode()).fetchall()
        amend(built, 50)
        # Seeds and staging, too: their tables are behind the views.
        for made in (built._staged, built._seeded, built._viewed):
            made.clear()
        built.environment = {"PGOPTIONS": "-c lock_timeout=2s"}
        messages = built.build()
        assert any("INSERT" in messages[seed] for seed in ("assets", "timeframes"))
        assert reader.execute(counted.encode()).fetchall() == before, "a reader sees what it saw"
    close = built.query(
        f"select close from marts.market_data_v2 where timeframe = '1h' and timestamp = '{HOURS[50].timestamp}'"
    )
    assert close == [{"close": HOURS[50].close + Decimal("0.01")}]


def test_a_lock_that_is_not_to_be_had_names_the_session_in_the_way(
    built: Warehouse, here: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    here.setenv("PGOPTIONS", "-c lock_timeout=300ms")
    forget()
    view = built.project.directory / VIEW
    text = view.read_text()
    changed = text.replace("run_id,", "cast(run_id as varchar(90)) as run_id,", 1)
    assert changed != text
    with reading(built, "marts.pipeline_runs", "ops.pipeline_runs") as reader:
        pid = reader.info.backend_pid
        # A view that gets another definition has to wait: for a while.
        view.write_text(changed)
        outcome = build.build_turn()
        named = rf"session {pid} \(postgres, a notebook, idle in transaction\).*pg_terminate_backend\({pid}\)"
        words = re.escape(database.words_of_lock_timeout())
        assert re.search(rf"pipeline_runs: .*{words}.*{named}", "; ".join(outcome.failures)), outcome.failures
        # So does a build by hand.
        said = _by_hand("run", "--select", "pipeline_runs")
        assert re.search(rf"no lock in time for pipeline_runs: {named}.*dbt retry", said), said
        with psycopg.connect(built.database.dsn, options=ISO_DATES) as other:
            other.execute("select * from marts.pipeline_runs").fetchall()
        # So does a migration.
        here.setattr(migrations, "migrations", lambda: (*_applied(), _ALTERING))
        refused = CliRunner().invoke(app, ["migrate"])
        assert refused.exit_code == 1 and re.search(named, refused.output), refused.output
    view.write_text(text)
    assert not build.build_turn().failures


def _by_hand(*words: str) -> str:
    """What a dbt command says, on one line."""
    from dbt.cli.main import dbtRunner

    said: list[str] = []

    def note(event: Any) -> None:
        said.append(event.info.msg)

    with build._environment():
        dbtRunner(callbacks=[note]).invoke([*words, "--log-level", "none"])
    return " ".join(" ".join(said).split())


_applied = migrations.migrations
_ALTERING = migrations.Migration(9999, "altering", "alter table ops.pipeline_runs add column made integer")


# ---------------------------------------------------------------- servers that are full, impatient or restarted


@pytest.mark.parametrize("is_english", [True, False], ids=["English", "another language"])
def test_a_server_without_a_free_connection_is_one_line(
    built: Warehouse, here: pytest.MonkeyPatch, is_english: bool
) -> None:
    if not is_english:
        here.setattr(refusal, "_FULL", re.compile("zu viele Verbindungen"))
    with ExitStack() as stack:
        with suppress(psycopg.OperationalError):
            while True:
                stack.enter_context(psycopg.connect(built.database.dsn))
        for command in ("extract", "run", "status"):
            result = CliRunner().invoke(app, [command])
            assert result.exit_code == 1 and "Traceback" not in result.output, result.output
            assert result.output.count("\n") == 1 and "max_connections" in result.output, result.output


def test_a_server_without_a_free_lock_is_one_line_and_names_who_has_them(built: Warehouse, here: None) -> None:
    take = "select pg_advisory_lock(7, number) from generate_series(1, %s) as number"
    full = "max_locks_per_transaction"
    with psycopg.connect(built.database.dsn, autocommit=True, application_name="a hoarder") as hoarder:
        hoarder.execute(take, (database.MANY_LOCKS,))
        meant = str(database.meaning_of(psycopg.errors.OutOfMemory(f"out of shared memory: raise {full}")))
        of_a_build = build._told("a model", f"Database Error: raise {full}")
        for told in (meant, of_a_build):
            assert re.search(rf"a hoarder.*pg_terminate_backend\({hoarder.info.backend_pid}\)", told), told
        with suppress(psycopg.errors.OutOfMemory):
            hoarder.execute(take, (1_000_000,))
        for command in ("extract", "run", "status"):
            result = CliRunner().invoke(app, [command])
            assert result.exit_code == 1 and "Traceback" not in result.output, result.output
            assert result.output.count("\n") == 1 and full in result.output, result.output


def test_a_build_with_few_connections_left_says_so_and_the_next_one_makes_up_for_it(
    built: Warehouse, here: pytest.MonkeyPatch
) -> None:
    amend(built, 45)
    here.setenv("FEATURE_COMPUTATION_WORKERS", "8")
    forget()
    with ExitStack() as stack:
        held = []
        with suppress(psycopg.OperationalError):
            while True:
                held.append(stack.enter_context(psycopg.connect(built.database.dsn)))
        for connection in held[:2]:
            connection.close()
        outcome = build.build_turn()
        assert all("max_connections" in failure for failure in outcome.failures), outcome.failures
    assert not build.build_turn().failures
    bars = built.query(
        f"select close from marts.market_data_v2 where timeframe = '1h' and timestamp = '{HOURS[45].timestamp}'"
    )
    assert bars == [{"close": HOURS[45].close + Decimal("0.01")}]


def test_time_limits_of_the_role_are_for_others(built: Warehouse, here: pytest.MonkeyPatch) -> None:
    built.execute(
        "drop role if exists impatient; create role impatient superuser login password 'x'; "
        "alter role impatient set statement_timeout = 1; alter role impatient set lock_timeout = 1;"
        "alter role impatient set idle_session_timeout = 1"
    )
    here.setenv("PGUSER", "impatient")
    here.setenv("PGPASSWORD", "x")
    forget()
    with database.run_lock("run") as lock:
        with psycopg.connect(database.url()) as connection:
            connection.execute("select pg_sleep(0.05)")
        with database.pool().connection() as connection:
            connection.execute("select pg_sleep(0.05)")
        outcome = build.build_turn()
        assert not outcome.failures
        lock.require()
    assert "statement_timeout=0" in session.options()


def test_sessions_that_are_terminated_cost_one_run(built: Warehouse, here: pytest.MonkeyPatch) -> None:
    # Of the pool, while it waits.
    with database.pool().connection() as connection:
        pool_pid = connection.info.backend_pid
    _terminate(built, f"pid = {pool_pid}")
    with database.pool().connection() as connection:
        assert connection.info.backend_pid != pool_pid
    # Of a build, while it works.
    amend(built, 40)
    stopped = threading.Event()
    victims: list[int] = []

    def kill() -> None:
        while not stopped.is_set() and len(victims) < 2:
            victims.extend(_terminate(built, "application_name = 'market_warehouse_dbt' and state = 'active'"))

    killer = threading.Thread(target=kill)
    killer.start()
    build.build_turn()
    stopped.set()
    killer.join()
    assert victims
    assert not build.build_turn().failures
    bars = built.query(
        f"select * from marts.market_data_v2 where timeframe = '1h' and timestamp = '{HOURS[40].timestamp}'"
    )
    assert [bar["close"] for bar in bars] == [HOURS[40].close + Decimal("0.01")], bars


def test_a_run_whose_lock_is_lost_stops_and_the_next_one_goes(built: Warehouse, here: pytest.MonkeyPatch) -> None:
    done = []

    def extract(*_: object) -> run.Outcome:
        done.append("extract")
        if len(done) == 1:
            assert len(_terminate(built, "application_name like 'market run (process%'")) == 1
        return run.DONE, "fine"

    here.setattr(run, "_extract", extract)

    def stand_in(name: str, *_: object, **__: object) -> run.Outcome:
        done.append(name)
        return run.DONE, "fine"

    for name in ("build", "alerts", "metrics", "site"):
        here.setattr(run, f"_{name}", partial(stand_in, name))
    assert run.run() == 1 and done == ["extract"], "another run may have begun meanwhile"
    (last,) = built.query("select status, error from ops.pipeline_runs order by started_at desc limit 1")
    assert last["status"] == "failed" and "the session that held the lock run has ended" in last["error"]
    assert run.run() == 0, built.query("select error from ops.pipeline_runs where status = 'failed'")
    assert done == ["extract", "extract", "build", "alerts", "metrics", "site"]
    with database.run_lock("prune") as lock:
        _terminate(built, "application_name like 'market prune%'")
        with pytest.raises(LockLost):
            lock.require()
        assert locks.holder_of(_connection(built), Lock.RUN) is None


def _connection(built: Warehouse) -> psycopg.Connection:
    return psycopg.connect(built.database.dsn)


def _terminate(built: Warehouse, which: str) -> list[int]:
    found = built.query(
        f"select pid from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid() and {which}"
    )
    for row in found:
        built.query(f"select pg_terminate_backend({row['pid']})")
    return [row["pid"] for row in found]
