"""The run around its steps: the lock, what is on record, what goes on after a failure, and how it is stopped.

The steps themselves are stood in for; with the real ones the run is tested in tests/end_to_end/test_week.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from dbt.cli.main import dbtRunner, dbtRunnerResult
from psycopg.rows import dict_row
from typer.testing import CliRunner

from extract.core import database as warehouse
from extract.core import provenance
from extract.core.locks import LockLost
from extract.core.settings import ConfigurationError
from scripts.cli import app
from scripts.monitoring import dead_runs
from scripts.pipeline import build, run
from tests.extract.conftest import forget
from tests.warehouse import Database

STEPS = ("extract", "build", "alerts", "metrics", "site")


class Bench:
    """A database, and steps that do as told."""

    def __init__(self, database: Database, patch: pytest.MonkeyPatch) -> None:
        self.database, self.patch = database, patch
        self.done: list[str] = []
        self.real_build = run._build
        for name in STEPS:
            self.step(name)

    def step(self, name: str, work: Callable[[], run.Outcome] = lambda: (run.DONE, "fine")) -> None:
        def stand_in(*_: Any, **__: Any) -> run.Outcome:
            self.done.append(name)
            return work()

        self.patch.setattr(run, f"_{name}", stand_in)

    def fail(self, name: str, problem: BaseException) -> None:
        def work() -> run.Outcome:
            raise problem

        self.step(name, work)

    def market_run(self, *options: str) -> int:
        return CliRunner().invoke(app, ["run", *options]).exit_code

    def query(self, statement: str) -> list[dict[str, Any]]:
        with psycopg.connect(self.database.dsn, row_factory=dict_row) as connection:
            return connection.execute(statement.encode()).fetchall()

    def last(self) -> tuple[Any, ...]:
        (row,) = self.query("select * from ops.pipeline_runs order by started_at desc limit 1")
        assert row["ended_at"] >= row["started_at"]
        return row["status"], row["exit_code"], row["failed_step"], row["error"]


@pytest.fixture
def bench(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    for name, value in database.environment.items():
        monkeypatch.setenv(name, value)
    # A handler that outlived the test would be pytest's.
    monkeypatch.setattr("signal.signal", lambda *_: None)
    forget()
    yield Bench(database, monkeypatch)
    forget()


def test_a_run_does_all_steps_in_order_and_is_on_record(bench: Bench) -> None:
    assert bench.market_run("--run-id", "mine", "--started-by", "api") == 0
    assert bench.done == list(STEPS) and bench.last() == ("succeeded", 0, None, None)
    (row,) = bench.query("select run_id, started_by from ops.pipeline_runs")
    assert row == {"run_id": "mine", "started_by": "api"}
    steps = bench.query("select step, status, exit_code, detail from ops.pipeline_steps order by started_at")
    assert [tuple(step.values()) for step in steps] == [(name, "succeeded", 0, "fine") for name in STEPS]


def test_partly_loaded_series_make_a_run_partly_done(bench: Bench) -> None:
    bench.step("extract", lambda: (run.PARTLY, "SOL 1h failed"))
    assert bench.market_run() == 3
    assert bench.done == list(STEPS) and bench.last() == ("partly", 3, "extract", "SOL 1h failed")


@pytest.mark.parametrize("failing", ["extract", "build"])
def test_a_failed_step_stops_none_after_it(bench: Bench, failing: str) -> None:
    bench.fail(failing, run.StepFailed("it broke"))
    assert bench.market_run() == 1
    assert bench.done == list(STEPS) and bench.last() == ("failed", 1, failing, "it broke")


def _wrapped(cause: Exception) -> Exception:
    """As dlt hands on what the server said."""
    problem = RuntimeError("a step of a pipeline failed")
    problem.__cause__ = cause
    return problem


@pytest.mark.parametrize(
    ("problem", "told"),
    [
        (ConfigurationError("SYMBOLS: missing"), "SYMBOLS: missing"),
        (_wrapped(psycopg.errors.AdminShutdown("terminating connection")), "the warehouse does not answer"),
    ],
)
def test_a_step_without_its_settings_or_its_server_is_a_line(bench: Bench, problem: Exception, told: str) -> None:
    bench.fail("build", problem)
    result = CliRunner().invoke(app, ["run"])
    assert result.exit_code == 1 and told in result.output and "Traceback" not in result.output
    assert told in bench.last()[3]


def test_a_lock_that_is_lost_within_a_step_ends_the_run(bench: Bench) -> None:
    bench.fail("extract", LockLost("the session that held the lock run has ended"))
    assert bench.market_run() == 1
    assert bench.done == ["extract"]
    assert bench.last() == ("failed", 1, "extract", "the session that held the lock run has ended")


def test_a_run_in_the_demos_database_does_nothing(bench: Bench) -> None:
    warehouse.migrate()
    with psycopg.connect(bench.database.dsn) as connection:
        connection.execute(provenance.CREATE)
    assert bench.market_run() == 78
    assert bench.done == [] and bench.query("select * from ops.pipeline_runs") == []


def test_a_failure_outranks_what_is_partly_done(bench: Bench) -> None:
    bench.step("extract", lambda: (run.PARTLY, "SOL 1h failed"))
    bench.fail("build", ValueError("odd"))
    assert bench.market_run() == 1 and bench.last() == ("failed", 1, "build", "ValueError: odd")


def test_what_fails_after_the_alerts_is_told_too(bench: Bench) -> None:
    bench.fail("site", run.StepFailed("no room"))
    assert bench.market_run() == 1
    assert bench.done == [*STEPS, "alerts"] and bench.last()[2] == "site"


def test_the_alerts_of_a_run_know_how_its_build_went(bench: Bench) -> None:
    bench.fail("build", run.StepFailed("it broke"))
    seen = []

    def look() -> run.Outcome:
        seen.extend(bench.query("select status, exit_code, failed_step from ops.pipeline_runs"))
        return run.DONE, "fine"

    bench.step("alerts", look)
    bench.market_run()
    assert seen == [{"status": "running", "exit_code": 1, "failed_step": "build"}]


def test_an_interrupted_run_says_so(bench: Bench) -> None:
    bench.fail("build", KeyboardInterrupt())
    assert bench.market_run() == 130
    assert bench.done == ["extract", "build"] and bench.last() == ("failed", 130, "build", "interrupted")


def test_a_run_that_is_stopped_while_dbt_builds_ends_there(bench: Bench) -> None:
    bench.patch.setattr(run, "_build", bench.real_build)

    def stopped(*_: object) -> dbtRunnerResult:
        # What dbt makes of the KeyboardInterrupt.
        return dbtRunnerResult(success=False, exception=KeyboardInterrupt())

    bench.patch.setattr(dbtRunner, "invoke", stopped)
    assert bench.market_run() == 130
    assert bench.done == ["extract"] and bench.last() == ("failed", 130, "build", "interrupted")


def test_a_stop_is_obeyed_between_two_steps(bench: Bench) -> None:
    with pytest.raises(KeyboardInterrupt):
        run.run(is_stopped=lambda: True)
    assert bench.done == ["extract"] and bench.last()[:2] == ("failed", 130)


def test_a_second_run_leaves_with_75_and_says_who_holds_the_lock(bench: Bench) -> None:
    with warehouse.run_lock("backfill"):
        refused = CliRunner().invoke(app, ["run"])
    assert refused.exit_code == 75 and "market backfill (process" in refused.output and bench.done == []


def test_a_run_that_was_killed_is_put_on_record_by_the_next_one(bench: Bench) -> None:
    warehouse.migrate()
    with psycopg.connect(bench.database.dsn) as connection:
        connection.execute("insert into ops.pipeline_runs values ('dead', 'command', now() - interval '1 hour')")
        connection.execute("insert into ops.pipeline_steps values ('dead', 'build', now() - interval '1 hour')")
    with warehouse.run_lock("run"):
        dead_runs.close()
    assert bench.query("select status from ops.pipeline_runs") == [{"status": "running"}], "it may hold the lock"
    assert bench.market_run() == 0
    (dead,) = bench.query("select * from ops.pipeline_runs where run_id = 'dead'")
    assert (dead["status"], dead["failed_step"], dead["error"]) == ("failed", "build", dead_runs.DIED)
    assert bench.query("select status from ops.pipeline_steps where run_id = 'dead'") == [{"status": "failed"}]


def test_what_ended_in_an_error_is_built_once_more_and_a_failing_test_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    good = build.Built({"success": 3}, ())
    broken = build.Built({"error": 1}, ("int_bars: deadlock detected",), has_errors=True)
    failing = build.Built({"fail": 1}, ("a_promise: 1 row",))
    for first, commands, end in ((broken, ["build", "retry"], good), (failing, ["build"], failing)):
        asked: list[str] = []

        def invoke(
            command: str, *_: str, asked: list[str] = asked, first: build.Built = first, **__: object
        ) -> build.Built:
            asked.append(command)
            return first if command == "build" else good

        monkeypatch.setattr(build, "_invoke", invoke)
        monkeypatch.setattr(build, "_remember", lambda _: None)
        assert build.build() == end and asked == commands


@pytest.mark.parametrize(
    ("parts", "commands", "is_remembered"),
    [
        ([build.Built({"success": 3}, ()), build.Built({"success": 2}, ())], ["mart", "rest"], True),
        # Its second part would build what reads the failed node.
        ([build.Built({"error": 1}, ("int_bars: no",), has_errors=True), build.Built({"success": 5}, ())],
         ["mart", "all"], True),
        ([build.Built({"success": 3}, ()), build.Built({"error": 1}, ("alerts: no",), has_errors=True),
          build.Built({"success": 5}, ())], ["mart", "rest", "all"], True),
        # It was refused: nothing was made, so nothing is as this project has it.
        ([build.Built({}, ("dbt build: a newer version",)), build.Built({}, ("dbt build: a newer version",))],
         ["mart", "all"], False),
    ],
)  # fmt: skip
def test_a_turn_builds_in_two_parts_and_in_one_go_where_one_fails(
    monkeypatch: pytest.MonkeyPatch, parts: list[build.Built], commands: list[str], is_remembered: bool
) -> None:
    asked: list[str] = []
    remembered: list[str] = []
    left = list(parts)

    def invoke(_: str, *__: str, select: Any = (), exclude: Any = (), without_unchanged: bool = False) -> build.Built:
        asked.append("mart" if select else "rest" if exclude else "all")
        return left.pop(0)

    monkeypatch.setattr(build, "_invoke", invoke)
    monkeypatch.setattr(build, "_remembered", lambda: None)
    monkeypatch.setattr(build, "_remember", remembered.append)
    built = build.build_turn()
    assert asked == commands and bool(remembered) is is_remembered
    assert built.failures == (() if is_remembered else parts[-1].failures)


def test_a_turn_leaves_out_seeds_and_views_but_those_with_work_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def node(name: str, kind: str, reads: tuple[str, ...] = (), hooks: tuple[str, ...] = ()) -> SimpleNamespace:
        config = SimpleNamespace(materialized=kind, pre_hook=[], post_hook=list(hooks))
        return SimpleNamespace(
            schema="marts",
            alias=name,
            fqn=["project", name],
            config=config,
            depends_on=SimpleNamespace(nodes=list(reads)),
        )

    nodes = {
        "seed": node("seed", "seed"),
        "mart": node("mart", "incremental"),
        "table": node("table", "table"),
        "view": node("view", "view", ("mart",)),
        "with_a_hook": node("with_a_hook", "view", ("mart",), ("write_old_table()",)),
        "of_a_table": node("of_a_table", "view", ("table",)),
        "new": node("new", "view"),
    }
    found = SimpleNamespace(execute=lambda _: [("marts", name) for name in ("view", "with_a_hook", "of_a_table")])
    monkeypatch.setattr(warehouse, "pool", lambda: SimpleNamespace(connection=lambda: nullcontext(found)))
    assert build._unchanged(SimpleNamespace(nodes=nodes)) == ["project.seed", "project.view"]


def test_a_build_that_left_something_out_is_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """A failing data test has what reads its model skipped: those views may be of the version before."""
    remembered: list[str] = []
    monkeypatch.setattr(build, "_remember", remembered.append)
    for counts in ({"success": 3, "fail": 1, "skipped": 2}, {}):
        monkeypatch.setattr(
            build, "_invoke", lambda *_, counts=counts, **__: build.Built(counts, ("a_promise: 1 row",))
        )
        build.build()
    assert remembered == []
    monkeypatch.setattr(
        build, "_invoke", lambda *_, **__: build.Built({"success": 3, "fail": 1}, ("a_promise: 1 row",))
    )
    build.build()
    assert len(remembered) == 1
