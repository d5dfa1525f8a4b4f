"""`market backfill`: a resumable load of history, in packages that are committed one by one."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import datetime

from extract.calendar.windows import Window
from extract.commands.extraction import Plan, extra_tasks, load_series
from extract.commands.running import Run, open_providers, prepare_warehouse, provider_classes
from extract.core import database
from extract.core.locks import Holder
from extract.core.settings import ConfigurationError
from extract.load.outcomes import Report
from extract.plan import backfill_jobs as jobs
from extract.plan import planner
from extract.plan.backfill_jobs import MAX_RETRIES, Job
from extract.plan.planner import Planned, Series
from extract.symbols import registry


def backfill(
    start: datetime,
    end: datetime,
    symbols: Sequence[str] = (),
    timeframes: Sequence[str] = (),
    source: str | None = None,
) -> Report:
    """Load [start, end); the same call again continues the unfinished job."""
    if end <= start:
        raise ConfigurationError("the end of a backfill must lie after its start")
    if source and not provider_classes()[source].TIMEFRAMES:
        raise ConfigurationError(
            f"{source} has no bars to backfill; ask it with: market extract --source {source} --start …"
        )
    assets = registry.select(registry.load(), symbols)
    with database.run_lock("backfill") as lock:
        prepare_warehouse()
        series = {
            (asset.symbol, timeframe): asset.asset_class
            for asset in assets
            for timeframe in timeframes or asset.fetched
        }
        return _run(jobs.find_or_create(start, end, source, series), lock)


def resume() -> Report:
    """Continue every job that is not finished."""
    with database.run_lock("backfill") as lock:
        prepare_warehouse()
        report = Report()
        for job in jobs.jobs():
            if job.state != "finished":
                jobs.set_state(job, "running")
                part = _run(job, lock)
                report.outcomes += part.outcomes
                report.failed += part.failed
                report.done += part.done
        return report


def _run(job: Job, lock: Holder) -> Report:
    given_up = {key for key, failed in jobs.failures(job).items() if failed >= MAX_RETRIES}
    chosen = set(job.series)
    assets = [asset for asset in registry.load() if asset.symbol in {symbol for symbol, _ in chosen}]
    timeframes = list(dict.fromkeys(timeframe for _, timeframe in job.series))
    with ExitStack() as stack:
        run_id = uuid.uuid4().hex
        run = Run(open_providers(stack, job.source, run_id=run_id), run_id)
        # History keeps: better an hour for the best source's than the second best's at once.
        run.is_patient = True
        run.require_lock = lock.require
        run.is_stopped = lambda: jobs.state_of(job) == "paused"
        wanted = [
            series
            for series in planner.series_of(assets, run.providers, timeframes, job.source)
            if series.key in chosen - given_up
        ]
        window = (job.start, job.end)
        load_series(run, wanted, backfill_plan(run, window), extra_tasks(run, assets, wanted, window))
        if not run.is_stopped():
            _look_again(run, wanted, window)
        # What came is in the sum of what is loaded from here on: `backfill-status` on a standby cannot add it.
        run.read_state()
    run.report.failed += [f"{' '.join(key)} (given up after {MAX_RETRIES} retries)" for key in sorted(given_up)]
    if jobs.state_of(job) == "running" and not run.report.failed:
        jobs.set_state(job, "finished")
    return run.report


def _look_again(run: Run, wanted: Sequence[Series], window: Window) -> None:
    """Ask once more for what was answered without rows: one empty answer is no proof that there are none."""
    run.read_state()

    def plan(series: Series, source: str, left: planner.Left) -> Planned:
        return planner.plan_second_look(series, run.providers[source], run.known(series, source), window, run.now)

    due = [series for series in wanted if series.sources and plan(series, series.sources[0], None).tasks]
    load_series(run, due, plan, {})


def backfill_plan(run: Run, window: Window) -> Plan:
    """What a series asks of a source in `market backfill`: what is not loaded yet."""

    def plan(series: Series, source: str, left: planner.Left) -> Planned:
        known = run.known(series, source)
        return planner.plan_missing(series, run.providers[source], known, window, run.now, left)

    return plan
