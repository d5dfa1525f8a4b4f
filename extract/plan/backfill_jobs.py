"""Backfill jobs: what was asked for, and how far it is. Imports neither dlt nor a provider, so that it answers at once.

A job is only what was asked for (series and window, in `ops`). How far it is comes from the committed rows themselves, so that a
killed job goes on where its data end, and its state cannot lie.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

import orjson

from extract.calendar.windows import Window, merged, missing
from extract.core import clock, database, sources
from extract.coverage import state
from extract.coverage.looks import seen
from extract.symbols import registry

# A series that failed in so many runs is left alone until somebody asks for the backfill again.
MAX_RETRIES = 3


@dataclass(frozen=True)
class Job:
    job_id: int
    start: datetime
    end: datetime
    source: str | None
    state: str
    asked_at: datetime
    # (symbol, timeframe) of every series
    series: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class SeriesStatus:
    """How far one series of a job is."""

    symbol: str
    timeframe: str
    status: str  # pending, in_progress, completed, failed
    last_successful_date: datetime | None
    retry_count: int
    share_done: float


def find_or_create(
    window_start: datetime, window_end: datetime, source: str | None, series: dict[tuple[str, str], str]
) -> Job:
    """The job of exactly these series and this window, asked for now; `series` maps (symbol, timeframe) to the asset class."""
    for job in jobs():
        same = (job.start, job.end, job.source) == (window_start, window_end, source) and set(job.series) == set(series)
        if same:
            with database.pool().connection() as connection:
                connection.execute(
                    "update ops.backfill_jobs set state = 'running', asked_at = now(), changed_at = now()"
                    " where job_id = %s",
                    (job.job_id,),
                )
            return next(found for found in jobs() if found.job_id == job.job_id)
    with database.pool().connection() as connection:
        row = connection.execute(
            "insert into ops.backfill_jobs (source, window_start, window_end) values (%s, %s, %s)"
            " returning job_id, asked_at",
            (source, window_start, window_end),
        ).fetchone()
        assert row is not None
        connection.cursor().executemany(
            "insert into ops.backfill_series (job_id, symbol, asset_class, timeframe) values (%s, %s, %s, %s)",
            [(row[0], symbol, asset_class, timeframe) for (symbol, timeframe), asset_class in series.items()],
        )
    return Job(row[0], window_start, window_end, source, "running", row[1], tuple(series))


def jobs() -> list[Job]:
    """All jobs, oldest first."""
    with database.pool().connection() as connection:
        rows = connection.execute(
            """
            select
                jobs.job_id, jobs.window_start, jobs.window_end, jobs.source, jobs.state, jobs.asked_at,
                array_agg(array[series.symbol, series.timeframe] order by series.symbol, series.timeframe)
            from ops.backfill_jobs as jobs
            inner join ops.backfill_series as series using (job_id)
            group by jobs.job_id
            order by jobs.job_id
            """
        ).fetchall()
    return [
        Job(job_id, start, end, source, job_state, asked_at, tuple((symbol, timeframe) for symbol, timeframe in series))
        for job_id, start, end, source, job_state, asked_at, series in rows
    ]


def pause() -> int:
    """Ask running jobs to stop after the package they are loading; returns how many there are."""
    database.migrate()
    with database.pool().connection() as connection:
        return connection.execute(
            "update ops.backfill_jobs set state = 'paused', changed_at = now() where state = 'running'"
        ).rowcount


def state_of(job: Job) -> str:
    with database.pool().connection() as connection:
        row = connection.execute("select state from ops.backfill_jobs where job_id = %s", (job.job_id,)).fetchone()
    return str(row[0]) if row else "finished"


def set_state(job: Job, job_state: str) -> None:
    with database.pool().connection() as connection:
        connection.execute(
            "update ops.backfill_jobs set state = %s, changed_at = now() where job_id = %s", (job_state, job.job_id)
        )


def status(job: Job) -> list[SeriesStatus]:
    """How far each series of a job is, from the rows its sources have committed."""
    loaded = [state.loaded(source) for source in ((job.source,) if job.source else sources.with_bars())]
    failed = failures(job)
    assets: dict[str, list[registry.Asset]] = defaultdict(list)
    for asset in registry.load():
        assets[asset.symbol].append(asset)
    return [
        _series_status(job, assets[symbol], timeframe, loaded, failed.get((symbol, timeframe), 0))
        for symbol, timeframe in job.series
        if symbol in assets
    ]


def _series_status(
    job: Job, rows: Sequence[registry.Asset], timeframe: str, loaded: Sequence[state.Loaded], retries: int
) -> SeriesStatus:
    symbol, market = rows[0].symbol, rows[0].market
    start = max(job.start, min(row.active_window()[0] for row in rows))
    end = min(job.end, market.closed_until(clock.now(), timeframe), max(row.active_window()[1] for row in rows))
    known = [one.bars(symbol, market, timeframe) for one in loaded]
    gaps = market.expected(missing(start, end, done(known)), timeframe)
    left = sum((stop - begin for begin, stop in gaps), timedelta())
    share = 1 - left / (end - start) if end > start else 1.0
    if not gaps:
        series_state = "completed"
    elif retries >= MAX_RETRIES:
        series_state = "failed"
    else:
        series_state = "in_progress" if share > 0 else "pending"
    loaded_until = gaps[0][0] if gaps else end
    last = loaded_until - timedelta(microseconds=1) if loaded_until > start else None
    return SeriesStatus(symbol, timeframe, series_state, last, min(retries, MAX_RETRIES), share)


def done(known: Sequence[state.Known]) -> list[Window]:
    """What a backfill need not ask for any more: what came, and what was answered without rows twice or before the
    first bar that is known."""
    first = min((one.covered[0][0] for one in known if one.covered), default=None)
    windows = [window for one in known for window in one.covered]
    for one in known:
        vain = [gap for look in one.looks for window in look.windows for gap in missing(*window, one.covered)]
        windows += [part.window for part in seen(merged(vain), one.looks) if part.times > 1]
        if first:
            windows += [(start, min(end, first)) for start, end in vain if start < first]
    return merged(windows)


def failures(job: Job) -> dict[tuple[str, str], int]:
    """How many runs since the job was asked for failed on each series."""
    counts: dict[tuple[str, str], set[str]] = {}
    with database.pool().connection() as connection:
        for source in (job.source,) if job.source else sources.with_bars():
            for symbol, timeframe, run_id in connection.execute(
                f"""
                select distinct symbol, timeframe, run_id from raw_{source}.responses
                where endpoint = 'bars' and status in ('failed', 'quarantined') and http_status is not null
                    and cast(_dlt_load_id as numeric) >= extract(epoch from %s)
                    and window_start < %s and window_end > %s
                """,
                (job.asked_at, job.end, job.start),
            ):
                counts.setdefault((symbol, timeframe), set()).add(run_id)
    return {key: len(runs) for key, runs in counts.items()}


def show(as_json: bool = False) -> None:
    """Print the state of every job."""
    database.migrate()
    found = [(job, status(job)) for job in jobs()]
    if as_json:
        print(orjson.dumps([{**asdict(job), "series": series} for job, series in found]).decode())
        return
    if not found:
        print("no backfill was ever asked for (start one: market backfill --start 2024-01-01 --end 2024-12-31)")
        return
    if not sys.stdout.isatty():
        # For other programs, as the reading commands: a header, then a line a series, parted by tabs.
        print("backfill\tstate\tsymbol\ttimeframe\tstatus\tdone\tloaded_until\tretries")
        for job, series in found:
            for one in series:
                until = one.last_successful_date.isoformat() if one.last_successful_date else ""
                share = f"{one.share_done:.1%}"
                print(
                    job.job_id,
                    job.state,
                    one.symbol,
                    one.timeframe,
                    one.status,
                    share,
                    until,
                    one.retry_count,
                    sep="\t",
                )
        return
    from rich.console import Console
    from rich.table import Table

    for job, series in found:
        table = Table(
            "series", "status", "done", "loaded until", "retries", title=f"backfill {job.job_id}: {job.state}"
        )
        for one in series:
            last = one.last_successful_date
            until = f"{last:%Y-%m-%d %H:%M}" if last else "-"
            name = f"{one.symbol} {one.timeframe}"
            table.add_row(name, one.status, f"{one.share_done:.1%}", until, str(one.retry_count))
        Console().print(table)
