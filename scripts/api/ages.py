"""How old a series was at a moment of the past: the age of an answer as of then is that of its moment.

As marts.enrichment_status counts for the present: age from the close of the newest bar that was known, lateness from the
close of the first bar expected after it. Sessions are those of the calendar as it is today.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache

from extract.calendar import seeds
from extract.calendar.calendars import Calendar
from extract.calendar.timeframes import A_DAY, STEPS
from extract.symbols import registry


@dataclass(frozen=True)
class Age:
    """Seconds since the newest bar closed (None without one), and whether its successor was later than allowed."""

    seconds: int | None
    is_stale: bool


def at(
    moment: datetime, symbol: str, asset_class: str, timeframe: str, newest: datetime | None, source: str | None
) -> Age:
    """The age at `moment` of a series whose newest bar then began at `newest`. Aware instants."""
    if newest is None:
        return Age(None, True)
    calendar = registry.market_of(symbol, asset_class)
    closed, due = _closes(calendar, newest, STEPS[timeframe])
    stale_after = _seconds("freshness_sla.csv", "stale_seconds").get((asset_class,), 0)
    delay = _seconds("source_delays.csv", "delay_seconds", "source", "asset_class").get((source or "", asset_class), 0)
    late = (moment - due).total_seconds() - delay
    return Age(int((moment - closed).total_seconds()), late > stale_after)


def _closes(calendar: Calendar, newest: datetime, step: timedelta) -> tuple[datetime, datetime]:
    """When the bar that began at `newest` closed, and when the next expected one closes."""
    day = newest.astimezone(calendar.zone).date()
    if step > A_DAY:
        weeks = [max(_session(calendar, day + timedelta(days=n + 7 * week)) for n in range(7)) for week in (0, 1)]
        return weeks[0][1], weeks[1][1]
    opened, closes = _session(calendar, day)
    following = next(one for n in range(1, 30) if (one := _session(calendar, day + n * A_DAY))[1] > closes)
    if step == A_DAY:
        return closes, following[1]
    closed = min(newest + step, closes)
    if closed < closes:
        return closed, min(closed + step, closes)
    # Bars lie on the session or on the clock: where they did today, the next session's first one does.
    before_open = -((newest - opened) // timedelta(seconds=1)) % int(step.total_seconds())
    first = following[0] - timedelta(seconds=before_open) if not calendar.never_closes else following[0]
    return closed, min(first + step, following[1])


def _session(calendar: Calendar, day: date) -> tuple[datetime, datetime]:
    """When the session of a local day opens and closes; before all time where there is none."""
    hours = calendar.hours(day)
    if hours is None:
        never = datetime.min.replace(tzinfo=UTC)
        return never, never
    return calendar.instant(day, hours[0]), calendar.instant(day, hours[1])


@lru_cache(maxsize=4)
def _seconds(seed: str, column: str, *key: str) -> dict[tuple[str, ...], int]:
    rows = seeds.rows(seeds.path(seed))
    return {tuple(row[name] for name in key or ("asset_class",)): int(row[column]) for row in rows}
