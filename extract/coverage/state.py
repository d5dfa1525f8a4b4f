"""What is loaded, and what was looked at in vain: read from the committed rows, so it cannot disagree with them.

Data flow: ops.coverage and ops.looks, brought up to date (folding.py) -> `Known`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from extract.calendar import calendars
from extract.calendar.calendars import Calendar
from extract.calendar.timeframes import DAY
from extract.calendar.windows import Window, merged
from extract.core import clock, database
from extract.coverage.folding import fold
from extract.coverage.looks import Look, resting

Key = tuple[str, str | None, str | None]


@dataclass(frozen=True)
class Known:
    """What a source has answered on one question: the covered windows, and the looks at what else was asked for."""

    covered: list[Window] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)
    # The end of the newest window that was answered, None before the first answer.
    asked_until: datetime | None = None

    def settled(self, now: datetime) -> list[Window]:
        """What need not be asked for now: it came, or was looked at in vain and is not due."""
        return merged([*self.covered, *resting(self.covered, self.looks, now)]) if self.looks else self.covered

    def answered(self) -> list[Window]:
        """All that was answered, with rows or without."""
        return merged([*self.covered, *(window for look in self.looks for window in look.windows)])


@dataclass(frozen=True)
class Loaded:
    """What a source has answered, and when it was last asked, per (endpoint, symbol, timeframe)."""

    known: dict[Key, Known] = field(default_factory=dict)
    asked: dict[Key, datetime] = field(default_factory=dict)

    def covered(self, endpoint: str, symbol: str | None = None, timeframe: str | None = None) -> list[Window]:
        """What need not be asked for now; disjoint and in order."""
        return self.known.get((endpoint, symbol, timeframe), Known()).settled(clock.now())

    def bars(self, symbol: str, market: Calendar, timeframe: str) -> Known:
        """What is known of the bars of a series; a day of the whole market (grouped_daily) holds every stock's of its zone."""
        own = self.known.get(("bars", symbol, timeframe), Known())
        if timeframe != DAY or market.zone != calendars.of(None, "stock").zone:
            return own
        whole = self.known.get(("grouped_daily", None, DAY), Known())
        asked_until = max((one.asked_until for one in (own, whole) if one.asked_until), default=None)
        return Known(merged([*own.covered, *whole.covered]), [*own.looks, *whole.looks], asked_until)

    def without_windows(self) -> Loaded:
        """When each question was last asked, and nothing of what was answered: for those who want it all again."""
        return Loaded({}, self.asked)


def loaded(source: str) -> Loaded:
    """The state of a source.

    It is a function of the committed loads, each of which never changes: their sum is stored in `ops`, new loads are
    added to it here, and where one of those in it is no longer committed it is computed again.
    """
    covered: dict[Key, list[Window]] = {}
    asked_until: dict[Key, datetime | None] = {}
    looks: dict[Key, list[Look]] = {}
    asked: dict[Key, datetime] = {}
    with database.pool().connection() as connection:
        fold(connection, source)
        for endpoint, symbol, timeframe, windows, until, at in connection.execute(
            "select endpoint, symbol, timeframe, windows, asked_until, asked_at from ops.coverage where source = %s",
            (source,),
        ):
            key = (endpoint, symbol, timeframe)
            covered[key] = [(window.lower, window.upper) for window in windows]
            asked_until[key] = until
            if at:
                asked[key] = at
        for endpoint, symbol, timeframe, windows, times, first_at, last_at in connection.execute(
            "select endpoint, symbol, timeframe, windows, times, first_at, last_at from ops.looks where source = %s"
            " order by looked_at",
            (source,),
        ):
            found = tuple((window.lower, window.upper) for window in windows)
            looks.setdefault((endpoint, symbol, timeframe), []).append(Look(found, times, first_at, last_at))
    known = {key: Known(windows, looks.get(key, []), asked_until[key]) for key, windows in covered.items()}
    return Loaded(known, asked)
