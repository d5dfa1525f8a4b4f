"""When bars are expected: the seeds `calendars.csv` and `session_exceptions.csv`, read by extract and dbt alike.

Data flow: calendar + exceptions -> sessions -> whether a bar may begin in a window. Every instant is an aware UTC datetime.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from zoneinfo import ZoneInfo

from extract.calendar import seeds
from extract.calendar.timeframes import A_DAY, DAY, STEPS, WEEK, day_start, floor, week_start
from extract.calendar.windows import Window
from extract.core.settings import ConfigurationError

# How long before the open and after the close a market may trade: New York's extended hours are 04:00 to 20:00.
BEFORE_OPEN, AFTER_CLOSE = timedelta(hours=5, minutes=30), timedelta(hours=4)


@dataclass(frozen=True)
class Calendar:
    """The sessions of a market; hours are local, as time since midnight."""

    name: str
    zone: ZoneInfo
    weekdays: frozenset[int]
    opens: timedelta
    closes: timedelta
    # day -> its hours, None where it is closed
    exceptions: dict[date, tuple[timedelta, timedelta] | None]
    # What prices are in; None where the pair says it.
    currency: str | None = None

    @property
    def never_closes(self) -> bool:
        return len(self.weekdays) == 7 and self.closes - self.opens == A_DAY

    def hours(self, day: date) -> tuple[timedelta, timedelta] | None:
        """The opening hours of a local day; None if there is no session."""
        if day.isoweekday() not in self.weekdays:
            return None
        return self.exceptions.get(day, (self.opens, self.closes))

    def closed_until(self, now: datetime, timeframe: str) -> datetime:
        """The end of the newest closed bar. A day and a week close with their last session, which may be hours before
        midnight."""
        boundary = floor(now, timeframe, self.zone)
        if timeframe == DAY:
            return day_start(now, self.zone, 1) if self._is_over(boundary, 1, now) else boundary
        if timeframe == WEEK:
            return day_start(boundary, self.zone, 7) if self._is_over(boundary, 7, now) else boundary
        return boundary

    def _is_over(self, midnight: datetime, days: int, now: datetime) -> bool:
        """Whether the days from that midnight on have sessions, and the last of them has closed."""
        first = midnight.astimezone(self.zone).date()
        sessions = [(day, hours) for n in range(days) if (hours := self.hours(day := first + timedelta(days=n)))]
        return bool(sessions) and self.instant(sessions[-1][0], sessions[-1][1][1]) <= now

    def may_trade_between(self, start: datetime, end: datetime) -> bool:
        """Whether a bar can begin in [start, end), extended hours included.

        Holidays are not asked for here: a request on one costs a single empty answer.
        """
        if self.never_closes:
            return start < end
        opens, closes = max(self.opens - BEFORE_OPEN, timedelta()), min(self.closes + AFTER_CLOSE, A_DAY)
        day = start.astimezone(self.zone).date()
        while (begins := max(self.instant(day, opens), start)) < end:
            if day.isoweekday() in self.weekdays and begins < self.instant(day, closes):
                return True
            day += timedelta(days=1)
        return False

    def expects(self, start: datetime, end: datetime, timeframe: str) -> bool:
        """Whether a bar is expected to begin in [start, end)."""
        return next(self._beginnings(start, end, timeframe), None) is not None

    def expected(self, windows: list[Window], timeframe: str) -> list[Window]:
        """Those of the windows in which a bar is expected to begin."""
        return [window for window in windows if self.expects(*window, timeframe)]

    def _beginnings(self, start: datetime, end: datetime, timeframe: str) -> Iterator[datetime]:
        """The first moment in each session (for days and weeks: of each) of [start, end) at which a bar may begin."""
        if start >= end:
            return
        step = STEPS[timeframe]
        day = start.astimezone(self.zone).date()
        if timeframe == WEEK:
            day = week_start(start, self.zone).astimezone(self.zone).date()
        while (midnight := self.instant(day, timedelta())) < end:
            if timeframe == WEEK:
                week = [day + timedelta(days=number) for number in range(7)]
                if midnight >= start and any(self.hours(one) for one in week):
                    yield midnight
                day += timedelta(days=7)
                continue
            hours = self.hours(day)
            if hours and timeframe == DAY:
                if midnight >= start:
                    yield midnight
            elif hours:
                opens, closes = self.instant(day, hours[0]), self.instant(day, hours[1])
                # The bar that holds the open may begin before it: Polygon's hours lie on the clock.
                opens -= (opens - datetime(1970, 1, 1, tzinfo=UTC)) % min(step, timedelta(hours=1))
                begins = max(opens, start)
                if begins < min(closes, end):
                    yield begins
            day += timedelta(days=1)

    def instant(self, day: date, after_midnight: timedelta) -> datetime:
        """A clock time of a local day, UTC; a day and more after midnight is on the next one."""
        if after_midnight >= timedelta(days=1):
            day, after_midnight = day + timedelta(days=1), after_midnight - timedelta(days=1)
        local = datetime.combine(day, (datetime.min + after_midnight).time(), self.zone)
        return local.astimezone(UTC)


def of(name: str | None, asset_class: str) -> Calendar:
    """The calendar an asset names, or the usual one of its class. Raises ConfigurationError where the seed lacks it."""
    found = _load(seeds.path("calendars.csv"), seeds.path("session_exceptions.csv"))
    if name:
        if name in found.by_name:
            return found.by_name[name]
        raise ConfigurationError(f"calendar {name!r} of the registry is not in {seeds.SEEDS / 'calendars.csv'}")
    if asset_class in found.usual:
        return found.usual[asset_class]
    raise ConfigurationError(f"no calendar of {seeds.SEEDS / 'calendars.csv'} is usual_for {asset_class}")


def in_zone(time_zone: object) -> Calendar | None:
    """The calendar whose days are those of an IANA zone and that closes at times; the first of several."""
    found = _load(seeds.path("calendars.csv"), seeds.path("session_exceptions.csv"))
    return next((one for one in found.by_name.values() if one.zone.key == time_zone and not one.never_closes), None)


@dataclass(frozen=True)
class _Calendars:
    """All of the seed: by name, and those of an asset whose row names none, by its class."""

    by_name: dict[str, Calendar]
    usual: dict[str, Calendar]


@lru_cache(maxsize=4)
def _load(calendars: Path, exceptions: Path) -> _Calendars:
    hours: dict[str, dict[date, tuple[timedelta, timedelta] | None]] = {}
    for row in seeds.rows(exceptions):
        day = date.fromisoformat(row["session_date"])
        open_hours = (_hours(row["opens"]), _hours(row["closes"])) if row["opens"] else None
        hours.setdefault(row["calendar"], {})[day] = open_hours
    rows = seeds.rows(calendars)
    by_name = {
        row["calendar"]: Calendar(
            row["calendar"],
            ZoneInfo(row["time_zone"]),
            frozenset(int(digit) for digit in row["weekdays"]),
            _hours(row["opens"]),
            _hours(row["closes"]),
            hours.get(row["calendar"], {}),
            row.get("currency") or None,
        )
        for row in rows
    }
    return _Calendars(
        by_name, {name: by_name[row["calendar"]] for row in rows for name in (row.get("usual_for") or "").split()}
    )


def _hours(text: str) -> timedelta:
    hours, minutes = text.split(":")[:2]
    return timedelta(hours=int(hours), minutes=int(minutes))
