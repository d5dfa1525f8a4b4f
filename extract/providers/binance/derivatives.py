"""Which settlements, samples and metrics files to ask of Binance, besides the bars of an asset.

Data flow: registry + what is loaded + clock -> `Task`s: files for whole months of funding and for days of statistics,
REST for the rest.

A window here holds stamps, [first, last + a period). What is stamped exactly at the close of a bar belongs to that bar, so
a window of bars that ends at `end` asks for the stamp `end`, too, and a plain run for the stamp of this very moment: a bar
loaded live must see what the same bar loaded later sees. Before `start` it asks for what may still be the sample of the first
bar: an hour of samples, and the settlements among which a rate is ranked.

A metrics file's name is not its data's date. Until 2024-03-03 the file of a day runs 00:00..23:55, then 00:05..00:00 of the
next day, since 2026-06-25 again 00:00..23:55 (and labels the start of a period; macros/features/samples.sql). So wherever
files and REST meet, or days that are there and days that are not, the stamp at the seam is asked of both sides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import reduce

from extract.calendar.timeframes import STEPS, day_start, floor
from extract.calendar.windows import Window, chunks, common, merged, missing
from extract.coverage import attempts
from extract.coverage.state import Loaded
from extract.load.responses import Task
from extract.providers.binance import archive
from extract.providers.binance.settings import (
    ARCHIVE_AGE,
    FILE_REVISED_FOR,
    FILES_A_RUN,
    FIRST_FUNDING_REACH,
    FIRST_STATISTICS_REACH,
    RANKED_FUNDING,
    STATISTICS,
    STATISTICS_PERIOD,
    STATISTICS_REACH,
    STATISTICS_ROWS,
    STATISTICS_USABLE,
)
from extract.symbols.registry import Asset

STEP, HOUR = STEPS[STATISTICS_PERIOD], timedelta(hours=1)


def tasks(
    source: str, assets: Sequence[Asset], loaded: Loaded, now: datetime, window: Window | None = None
) -> list[Task]:
    """What to ask about the futures of these assets: for bars that open in the window, or what a plain run lacks."""
    found: list[Task] = []
    for asset in assets:
        if not asset.names.get("binance_futures"):
            continue
        base = Task(source, "", now, now, asset.symbol, asset.asset_class, asset.names.get("binance_futures"))
        found += _funding(replace(base, endpoint="funding"), loaded, now, _stamps(asset, assets, HOUR), window)
        found += _statistics(base, loaded, now, _stamps(asset, assets, STEP), window)
        if not window and asset.is_active(now.date()):
            found.append(replace(base, endpoint="open_interest_now"))
    return found if window else found + _revisions(source, assets, now)


def from_archive(task: Task, window: Window) -> Task:
    """The task for a file; it takes the checksum's request and its own."""
    return replace(task, start=window[0], end=window[1], origin="archive", requests=2)


def over_rest(file: Task, now: datetime) -> list[Task]:
    """The REST tasks for the day of a metrics file that is not there, as far back as REST reaches.

    The stamp at the day's end is in them: it may be in this file alone.
    """
    rest = replace(file, origin="rest", requests=1, timeframe=STATISTICS_PERIOD)
    start = max(file.start, _earliest(now))
    return [
        replace(rest, endpoint=endpoint).part(*window)
        for endpoint in STATISTICS
        for window in chunks(start, file.end + STEP, STATISTICS_ROWS * STEP)
    ]


def _stamps(asset: Asset, assets: Sequence[Asset], period: timedelta) -> Window:
    """The time of the stamps that are this row's of the registry. That at its end is its last bar's, unless another row goes
    on with the symbol there: one stamp of two contracts would be one too many."""
    start, end = asset.active_window()
    goes_on = any(
        other.symbol == asset.symbol and other.names.get("binance_futures") and other.active_window()[0] == end
        for other in assets
    )
    return start, end if goes_on else end + period


def _funding(task: Task, loaded: Loaded, now: datetime, active: Window, window: Window | None) -> list[Task]:
    """Settled rates: files for whole months, REST for the rest. They settle on whole hours, some milliseconds late."""
    end = _hour(now) + HOUR
    covered = loaded.covered("funding", task.symbol)
    if window:
        gaps = missing(window[0] - RANKED_FUNDING, min(_hour(window[1]) + HOUR, end), covered)
    else:
        start = day_start(now - FIRST_FUNDING_REACH, UTC)
        newest = max((stop for _, stop in covered), default=start)
        reread = day_start(min(newest, end) - ARCHIVE_AGE, UTC) if covered else start
        gaps = merged([*missing(start, reread, covered), (reread, end)])
    found = []
    for begin, stop in common(gaps, [active]):
        horizon = min(stop, day_start(now - ARCHIVE_AGE, UTC))
        files = [month for month in archive.months(begin, horizon) if archive.month_is_published(month[0], now)]
        found += [from_archive(task, month) for month in files]
        found += [task.part(*gap) for gap in missing(begin, stop, files)]
    return found


def _statistics(base: Task, loaded: Loaded, now: datetime, active: Window, window: Window | None) -> list[Task]:
    """Open interest and ratios: a metrics file holds all of them for a day, REST reaches 30 days back.

    Always every five minutes, as the files: samples an hour apart would be used for longer than those of the files do.
    """
    assert base.symbol is not None
    end = floor(now, STATISTICS_PERIOD, UTC) + STEP
    start = day_start(now - FIRST_STATISTICS_REACH, UTC)
    if window:
        start = floor(window[0], STATISTICS_PERIOD, UTC) - STATISTICS_USABLE
        end = min(floor(window[1], STATISTICS_PERIOD, UTC) + STEP, end)
    start, end = max(start, active[0]), min(end, active[1])
    in_files = loaded.covered("metrics", base.symbol)
    over_rest = {name: loaded.covered(name, base.symbol, STATISTICS_PERIOD) for name in STATISTICS}

    horizon = day_start(now - ARCHIVE_AGE, UTC)
    covered = merged([*in_files, *reduce(common, over_rest.values())])
    days = [
        day
        for begin, stop in missing(start, min(horizon, end), covered)
        for day in archive.days(day_start(begin, UTC), _next_midnight(stop))
    ]
    days = list(dict.fromkeys(days))
    found = [from_archive(replace(base, endpoint="metrics"), day) for day in days]

    earliest = _earliest(now)
    for endpoint, covered in over_rest.items():
        task = replace(base, endpoint=endpoint, timeframe=STATISTICS_PERIOD)
        # The stamp after a gap may be missing in the file that goes on there.
        gaps = [(begin, stop + STEP) for begin, stop in missing(start, end, merged([*days, *in_files, *covered]))]
        if covered and not window:
            # A sample may come late: the last ones are asked again in the same request as the new one.
            gaps.append((covered[-1][1] - STATISTICS_USABLE, end))
        found += [
            replace(task.part(*part), expires_in=part[0] - earliest)
            for begin, stop in common(merged(gaps), [(max(start, earliest), end)])
            for part in chunks(floor(begin, STATISTICS_PERIOD, UTC), stop, STATISTICS_ROWS * STEP)
        ]
    return found


def _earliest(now: datetime) -> datetime:
    """The first stamp that REST surely serves."""
    return floor(now - STATISTICS_REACH, STATISTICS_PERIOD, UTC) + STEP


def _hour(instant: datetime) -> datetime:
    """The start of the hour that holds the instant."""
    return instant.replace(minute=0, second=0, microsecond=0)


def _next_midnight(instant: datetime) -> datetime:
    """The end of the UTC day of which the instant is the end or a part."""
    return day_start(instant - timedelta(microseconds=1), UTC, 1)


def _revisions(source: str, assets: Sequence[Asset], now: datetime) -> list[Task]:
    """Files that are loaded and may have been replaced since: their CHECKSUM is looked at again."""
    found = []
    due = attempts.files_due(source, [asset.symbol for asset in assets], now, FILE_REVISED_FOR, FILES_A_RUN)
    for asset in assets:
        for file in due:
            names = map(asset.names.get, ("binance", "binance_futures"))
            if file.symbol != asset.symbol or file.provider_symbol not in names:
                continue
            via = "spot" if file.endpoint == "bars" and asset.names.get("binance") else ""
            about = (asset.symbol, asset.asset_class, file.provider_symbol, file.timeframe)
            found.append(
                Task(source, file.endpoint, *file.window, *about, origin="archive", via=via, purpose="revision")
            )
    return found
