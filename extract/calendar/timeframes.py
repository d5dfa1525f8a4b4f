"""Bar lengths (the seed `timeframes.csv`) and the boundaries bars lie on. Every instant is an aware UTC datetime.

A zone is that of the asset's calendar: its midnight starts a trading day (extract/calendar/calendars.py).
"""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta, tzinfo
from functools import cache
from pathlib import Path

from extract.calendar import seeds
from extract.core.settings import ConfigurationError

A_DAY, A_WEEK = timedelta(days=1), timedelta(weeks=1)
# How far back the first plain extract goes for bars of up to a length: finer ones cost more requests.
_REACHES = {
    timedelta(minutes=5): timedelta(days=30),
    timedelta(minutes=59): timedelta(days=60),
    timedelta(hours=23): timedelta(days=365),
    A_WEEK: timedelta(days=730),
}


def _steps() -> dict[str, timedelta]:
    """timeframe -> its length, the shortest first. Raises ConfigurationError where the seed has another kind of line."""
    file = seeds.path("timeframes.csv")
    steps: dict[str, timedelta] = {}
    for row in seeds.rows(file):
        name, minutes = row.get("timeframe") or "", row.get("step_minutes") or ""
        step = timedelta(minutes=int(minutes)) if minutes.isascii() and minutes.isdigit() else timedelta()
        if not name or name in steps or not step or (step not in (A_DAY, A_WEEK) and (step > A_DAY or A_DAY % step)):
            raise ConfigurationError(
                f"{file}: {name!r} of {minutes!r} minutes is no timeframe: each once, a part of the day, a day or a week"
            )
        steps[name] = step
    if not {A_DAY, A_WEEK} <= set(steps.values()):
        raise ConfigurationError(f"{file}: a timeframe of 1440 minutes and one of 10080 are needed")
    return dict(sorted(steps.items(), key=lambda one: one[1]))


STEPS = _steps()
# The names of the day and the week, which end with a session and not after so many hours.
DAY, WEEK = (next(name for name, step in STEPS.items() if step == length) for length in (A_DAY, A_WEEK))
# How far back the first plain extract of a series goes.
FIRST_REACH = {
    name: next(reach for longest, reach in _REACHES.items() if step <= longest) for name, step in STEPS.items()
}


def native(source: str) -> dict[str, str]:
    """timeframe -> what a source calls it, of those it serves (the seed `source_timeframes.csv`), the shortest first.
    All others are resampled. Raises ConfigurationError for a timeframe that is not in `timeframes.csv`."""
    return _native(seeds.path("source_timeframes.csv"), source)


@cache
def _native(file: Path, source: str) -> dict[str, str]:
    names = {row["timeframe"]: row["name"] for row in seeds.rows(file) if row["source"] == source}
    if unknown := [name for name in names if name not in STEPS]:
        raise ConfigurationError(f"{file}: {source} {unknown[0]}: timeframes.csv has no such timeframe")
    return {name: names[name] for name in STEPS if name in names}


def day_start(instant: datetime, zone: tzinfo, days: int = 0) -> datetime:
    """Midnight in the zone of the day that holds the instant, moved by whole local days."""
    local = instant.astimezone(zone)
    midnight = datetime.combine(local.date() + timedelta(days=days), time(), zone)
    return midnight.astimezone(UTC)


def week_start(instant: datetime, zone: tzinfo) -> datetime:
    """Midnight of the Monday of the week that holds the instant."""
    return day_start(instant, zone, -instant.astimezone(zone).weekday())


def floor(instant: datetime, timeframe: str, zone: tzinfo) -> datetime:
    """The start of the bar that holds the instant; bars of less than a day lie on the UTC clock."""
    if timeframe == WEEK:
        return week_start(instant, zone)
    if timeframe == DAY:
        return day_start(instant, zone)
    return instant - (instant - datetime(1970, 1, 1, tzinfo=UTC)) % STEPS[timeframe]


def following(opened: datetime, timeframe: str, zone: tzinfo) -> datetime:
    """When the bar after this one opens: a local day has 23 to 25 hours."""
    if timeframe in (DAY, WEEK):
        return day_start(opened, zone, STEPS[timeframe] // A_DAY)
    return opened + STEPS[timeframe]
