"""When bars are expected: the seeds `calendars.csv` and `session_exceptions.csv`, read by extract and dbt alike.

Data flow: calendar + exceptions -> sessions -> whether a bar may begin in a window. Every instant is an aware UTC datetime.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from zoneinfo import ZoneInfo

from extract.calendar.timeframes import STEPS
from extract.calendar.windows import Window
from extract.core.settings import ConfigurationError, project_directory

SEEDS = Path("dbt_project") / "seeds"
# The calendar of an asset whose row names none.
USUAL = {"crypto": "24/7", "stock": "XNYS", "etf": "XNYS"}


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

    def hours(self, day: date) -> tuple[timedelta, timedelta] | None:
        """The opening hours of a local day; None if there is no session."""
        if day.isoweekday() not in self.weekdays:
            return None
        return self.exceptions.get(day, (self.opens, self.closes))

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
        if timeframe == "1w":
            day -= timedelta(days=day.weekday())
        while (midnight := self._at(day, timedelta())) < end:
            if timeframe == "1w":
                week = [day + timedelta(days=number) for number in range(7)]
                if midnight >= start and any(self.hours(one) for one in week):
                    yield midnight
                day += timedelta(days=7)
                continue
            hours = self.hours(day)
            if hours and timeframe == "1d":
                if midnight >= start:
                    yield midnight
            elif hours:
                opens, closes = self._at(day, hours[0]), self._at(day, hours[1])
                # The bar that holds the open may begin before it: Polygon's hours lie on the clock.
                opens -= (opens - datetime(1970, 1, 1, tzinfo=UTC)) % min(step, timedelta(hours=1))
                begins = max(opens, start)
                if begins < min(closes, end):
                    yield begins
            day += timedelta(days=1)

    def _at(self, day: date, after_midnight: timedelta) -> datetime:
        if after_midnight >= timedelta(days=1):
            day, after_midnight = day + timedelta(days=1), after_midnight - timedelta(days=1)
        local = datetime.combine(day, (datetime.min + after_midnight).time(), self.zone)
        return local.astimezone(UTC)


def of(name: str | None, asset_class: str) -> Calendar:
    """The calendar an asset names, or the usual one of its class. Raises ConfigurationError where the seed lacks it."""
    found = _load(_seed("calendars.csv"), _seed("session_exceptions.csv")).get(name or USUAL[asset_class])
    if found is None:
        raise ConfigurationError(f"calendar {name!r} of the registry is not in {SEEDS / 'calendars.csv'}")
    return found


def _seed(name: str) -> Path:
    own = project_directory() / SEEDS / name
    return own if own.exists() else Path(__file__).resolve().parents[2] / SEEDS / name


@lru_cache(maxsize=4)
def _load(calendars: Path, exceptions: Path) -> dict[str, Calendar]:
    hours: dict[str, dict[date, tuple[timedelta, timedelta] | None]] = {}
    with exceptions.open(newline="") as file:
        for row in csv.DictReader(file):
            day = date.fromisoformat(row["session_date"])
            open_hours = (_hours(row["opens"]), _hours(row["closes"])) if row["opens"] else None
            hours.setdefault(row["calendar"], {})[day] = open_hours
    with calendars.open(newline="") as file:
        return {
            row["calendar"]: Calendar(
                row["calendar"],
                ZoneInfo(row["time_zone"]),
                frozenset(int(digit) for digit in row["weekdays"]),
                _hours(row["opens"]),
                _hours(row["closes"]),
                hours.get(row["calendar"], {}),
            )
            for row in csv.DictReader(file)
        }


def _hours(text: str) -> timedelta:
    hours, minutes = text.split(":")[:2]
    return timedelta(hours=int(hours), minutes=int(minutes))
