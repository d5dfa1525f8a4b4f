"""`market run`: the whole pipeline once, under one lock, on record.

Data flow: lock -> extract -> dbt build -> alerts -> metrics -> site; each step's outcome ->
ops.pipeline_runs, ops.pipeline_steps.

A step that fails stops none after it: the build shows what the extract did load, the alerts report what failed. Nothing
has to be cleaned up afterwards: raw rows count once their load is committed, each model keeps in its own transaction how
far it has come, and the lock goes with its connection. So the next run repairs what this one left.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import datetime, timedelta

import psycopg

from extract.calendar.timeframes import STEPS
from extract.core import clock, database, logs, provenance, settings
from extract.core.embedded_server import PostgresError
from extract.core.locks import Holder, LockLost
from extract.core.redaction import redact
from extract.core.settings import ConfigurationError
from scripts.monitoring import dead_runs

log = logging.getLogger(__name__)

DONE, FAILED, PARTLY, INTERRUPTED = 0, 1, 3, 130
WORDS = {DONE: "succeeded", PARTLY: "partly"}
DAY = timedelta(days=1)

# What a step did, and the exit code that says how it went.
Outcome = tuple[int, str]


class StepFailed(Exception):
    """A step did not do its work; the message says why."""


class Record:
    """The lines of one run in ops.pipeline_runs and ops.pipeline_steps.

    Times are the pipeline's clock plus the time that has really passed, so that a step has a length under WAREHOUSE_NOW.
    """

    def __init__(self, run_id: str, started_by: str) -> None:
        self.run_id = run_id
        self.exit_code = DONE
        self.failed_step: str | None = None
        self.error: str | None = None
        self._started_at, self._started = clock.now(), time.monotonic()
        _execute(
            "insert into ops.pipeline_runs (run_id, started_by, started_at) values (%s, %s, %s)",
            run_id, started_by, self._started_at,
        )  # fmt: skip

    def now(self) -> datetime:
        return self._started_at + timedelta(seconds=time.monotonic() - self._started)

    def step(self, name: str, work: Callable[[], Outcome]) -> None:
        """Do one step; an error of it is on record, not an exception."""
        _execute(
            "insert into ops.pipeline_steps (run_id, step, started_at) values (%s, %s, %s)",
            self.run_id, name, self.now(),
        )  # fmt: skip
        log.info("%s: begins", name, extra={"step": name})
        try:
            code, detail = work()
        except (StepFailed, ConfigurationError) as problem:
            code, detail = FAILED, str(problem)
        except LockLost as problem:
            self._close_step(name, FAILED, str(problem))
            raise
        except KeyboardInterrupt:
            self._close_step(name, INTERRUPTED, "interrupted")
            raise
        except Exception as problem:
            # The server's trouble has a plain meaning, also where dlt has wrapped it up.
            meant = database.meaning_of(problem)
            if meant is None:
                log.exception("%s failed", name)
            code, detail = FAILED, str(meant or f"{type(problem).__name__}: {problem}")
        self._close_step(name, code, redact(detail))
        (log.info if code == DONE else log.error)("%s: %s", name, detail, extra={"step": name})

    def _close_step(self, name: str, code: int, detail: str) -> None:
        _execute(
            "update ops.pipeline_steps set ended_at = %s, status = %s, exit_code = %s, detail = %s"
            " where run_id = %s and step = %s",
            self.now(), WORDS.get(code, "failed"), code, detail, self.run_id, name,
        )  # fmt: skip
        # A failure outranks a step that is partly done.
        if code != DONE and (self.exit_code == DONE or self.exit_code == PARTLY != code):
            self.exit_code, self.failed_step, self.error = code, name, detail

    def note(self) -> None:
        """Write down how the run stands, for the alert rules."""
        _execute(
            "update ops.pipeline_runs set exit_code = %s, failed_step = %s, error = %s where run_id = %s",
            self.exit_code, self.failed_step, self.error, self.run_id,
        )  # fmt: skip

    def note_latencies(self, mart_written: float, is_turn: bool) -> None:
        """Write down the newest bar shorter than a day that this run brought of each class and source, and when it was in
        the mart. mart_written: by time.monotonic()."""
        written_at = self._started_at + timedelta(seconds=mart_written - self._started)
        _execute(
            """
            insert into ops.run_latencies (run_id, asset_class, source, newest_bar_closed_at, in_mart_at, is_turn)
            select %(run)s, bars.asset_class, bars.source, max(bars.timestamp + steps.step), %(written)s, %(is_turn)s
            from marts.market_data_v2 as bars
            inner join unnest(%(names)s::text[], %(steps)s::interval[]) as steps (timeframe, step)
                on steps.timeframe = bars.timeframe
            where bars.updated_at >= %(started)s and bars.timestamp + steps.step <= %(written)s
            group by bars.asset_class, bars.source
            """,
            run=self.run_id, written=written_at, is_turn=is_turn, started=self._started_at,
            names=[name for name, step in STEPS.items() if step < DAY],
            steps=[step for step in STEPS.values() if step < DAY],
        )  # fmt: skip

    def interrupt(self) -> None:
        self.exit_code, self.error = INTERRUPTED, self.error or "stopped between two steps; the next run goes on"

    def give_up(self, reason: str) -> None:
        log.error("%s", reason)
        self.exit_code, self.error = FAILED, self.error or reason

    def close(self) -> None:
        self.note()
        _execute(
            "update ops.pipeline_runs set ended_at = %s, status = %s where run_id = %s",
            self.now(), WORDS.get(self.exit_code, "failed"), self.run_id,
        )  # fmt: skip


def run(
    run_id: str | None = None,
    started_by: str = "command",
    symbols: Sequence[str] = (),
    shorter_than: timedelta | None = None,
    is_stopped: Callable[[], bool] = lambda: False,
) -> int:
    """Run all steps and return the exit code. `symbols` and `shorter_than` narrow the extract, and leave the data tests
    to a run of everything; `is_stopped` is asked between the steps.

    Raises LockHeld, ConfigurationError before anything is done, Unreachable where the server goes away, and PostgresError
    where the embedded one does not start; of all but LockHeld people are told.
    """
    from scripts.monitoring import alerts

    if not settings.load().data_enrichment_enabled:
        log.warning("DATA_ENRICHMENT_ENABLED=false: nothing is done")
        return DONE
    try:
        return _run(run_id, started_by, symbols, shorter_than, is_stopped)
    except (psycopg.Error, PostgresError, ConfigurationError) as problem:
        meant = database.meaning_of(problem) if isinstance(problem, psycopg.Error) else problem
        if meant is None:
            raise
        # The warehouse keeps the record of alerts, so this one goes past it. A migration that the user may not make, or an
        # embedded server that does not start, ends every night's run before it begins, and nobody heard of it.
        alerts.ping("fail")
        alerts.tell_of_the_warehouse(str(meant))
        raise meant from None


def _run(
    run_id: str | None,
    started_by: str,
    symbols: Sequence[str],
    shorter_than: timedelta | None,
    is_stopped: Callable[[], bool],
) -> int:
    from extract.commands.running import urls
    from scripts.monitoring import alerts

    # Before anything is done: half a run of the demo's database would call itself failed, in the record and in an alert.
    provenance.refuse_mixing(urls())
    with database.run_lock("run") as lock, ExitStack() as stack:
        database.migrate()
        alerts.tell_of_the_warehouse(None)
        dead_runs.close(holds_lock=True)
        record = Record(run_id or uuid.uuid4().hex, started_by)
        stack.enter_context(logs.of_run(record.run_id))
        alerts.ping("start")

        def step(name: str, work: Callable[[], Outcome]) -> None:
            lock.require()
            record.step(name, work)

        try:
            step("extract", lambda: _extract(lock, record.run_id, symbols, shorter_than))
            if is_stopped():
                raise KeyboardInterrupt
            step("build", lambda: _build(record, is_turn=bool(shorter_than)))
            record.note()
            step("alerts", _alerts)
            step("metrics", _metrics)
            # The page shows this very run, as far as it is.
            record.note()
            if not shorter_than or _site_is_old():
                step("site", _site)
            if record.failed_step in ("metrics", "site"):
                # The alerts had been looked at before.
                record.note()
                step("alerts of late steps", _alerts)
        except LockLost as lost:
            record.give_up(str(lost))
        except KeyboardInterrupt:
            record.interrupt()
            _end(record)
            raise
        _end(record)
    return record.exit_code


def _end(record: Record) -> None:
    from scripts.monitoring import alerts

    record.close()
    alerts.ping("success" if record.exit_code in WORDS else "fail")


def _extract(lock: Holder, run_id: str, symbols: Sequence[str], shorter_than: timedelta | None) -> Outcome:
    from extract.commands import extraction

    report = extraction.extract(symbols, within=run_id, held=lock, shorter_than=shorter_than)
    if report.failed:
        return report.exit_code, f"{report.done} done, {len(report.failed)} failed: {', '.join(report.failed)}"
    return DONE, f"all {report.done} done"


def _build(record: Record, is_turn: bool) -> Outcome:
    from scripts.pipeline import build

    built = build.build_turn() if is_turn else build.build()
    if built.mart_written is not None:
        record.note_latencies(built.mart_written, is_turn)
    if built.failures:
        raise StepFailed("; ".join(built.failures))
    return DONE, str(built)


def _alerts() -> Outcome:
    from scripts.monitoring import alerts

    fired, resolved = alerts.evaluate()
    try:
        sent = alerts.send()
    except (alerts.NotSent, ConfigurationError) as problem:
        raise StepFailed(str(problem)) from None
    return DONE, f"{fired} fired, {resolved} resolved, {sent} sent"


def _metrics() -> Outcome:
    from scripts.monitoring import metrics

    return DONE, f"written to {metrics.write()}"


def _site_is_old() -> bool:
    from scripts import site

    return site.is_old()


def _site() -> Outcome:
    from scripts import site

    try:
        return DONE, str(site.build())
    except LookupError as problem:
        raise StepFailed(str(problem)) from None


def _execute(statement: str, *values: object, **named: object) -> None:
    with database.pool().connection() as connection:
        connection.execute(statement.encode(), named or values)
