"""Bars as exact decimals in numpy columns: time windows, aggregation, splits, the bar that is still running.

Prices and volumes are scaled integers (a price of 12.5 at scale 4 is 125000), so that every aggregate is exact and
every text that leaves the simulator is the decimal itself. All instants are Unix milliseconds UTC.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

SECOND = 1_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
UNIT_MS = {"second": SECOND, "minute": MINUTE, "hour": HOUR, "day": DAY, "week": 7 * DAY}
NEW_YORK = "America/New_York"


@dataclasses.dataclass(frozen=True)
class Bars:
    """Columns of equal length in order of time; the optional columns are None where a source does not know them."""

    time: Ints
    open: Ints
    high: Ints
    low: Ints
    close: Ints
    volume: Ints
    price_scale: int
    volume_scale: int
    quote: Ints | None = None
    trades: Ints | None = None
    taker_base: Ints | None = None
    taker_quote: Ints | None = None
    quote_scale: int = 8

    def __len__(self) -> int:
        return len(self.time)

    def take(self, index: Any) -> Bars:
        """Rows by slice, mask or positions."""
        return self.with_columns({name: column[index] for name, column in self.columns().items()})

    def with_columns(self, columns: dict[str, Any]) -> Bars:
        """The same bars with these columns replaced."""
        return dataclasses.replace(self, **columns)

    def between(self, start: int, end: int) -> Bars:
        """Rows whose time is in [start, end)."""
        first, last = np.searchsorted(self.time, [start, end])
        return self.take(slice(int(first), int(last)))

    def columns(self) -> dict[str, Ints]:
        return {name: value for name, value in vars(self).items() if isinstance(value, np.ndarray)}

    @staticmethod
    def concatenate(parts: Sequence[Bars]) -> Bars:
        first = parts[0]
        if len(parts) == 1:
            return first
        names = first.columns()
        return first.with_columns({n: np.concatenate([getattr(part, n) for part in parts]) for n in names})


@dataclasses.dataclass(frozen=True)
class Interval:
    """A bar length: 5 minutes, 1 hour, 1 day, 1 month."""

    count: int
    unit: str  # second minute hour day week month quarter year

    @property
    def milliseconds(self) -> int | None:
        """None for the calendar units, whose length varies."""
        return self.count * UNIT_MS[self.unit] if self.unit in UNIT_MS else None


@functools.cache
def _utc_offsets(zone: str) -> tuple[Ints, Ints]:
    """Instants where a zone's UTC offset changes (1900..2100) and the offset in ms from there on."""
    if zone == "UTC":
        return np.array([-(2**62)]), np.array([0])
    info = ZoneInfo(zone)
    times, offsets = [-(2**62)], [-5 * HOUR]

    def offset(at: int) -> int:
        moment = dt.datetime.fromtimestamp(at / 1000, dt.UTC).astimezone(info).utcoffset()
        assert moment is not None
        return int(moment.total_seconds()) * 1000

    offsets[0] = previous = offset(0)
    for week in range(-3650, 6780):
        at = week * 7 * DAY
        if (now := offset(at)) != previous:
            low, high = at - 7 * DAY, at
            while high - low > MINUTE:
                middle = (low + high) // 2 // MINUTE * MINUTE
                low, high = (low, middle) if offset(middle) == now else (middle, high)
            times.append(high)
            offsets.append(now)
            previous = now
    return np.array(times), np.array(offsets)


def to_local(times: Ints, zone: str) -> Ints:
    """Wall-clock milliseconds (as if UTC) of instants."""
    at, offsets = _utc_offsets(zone)
    return times + offsets[np.searchsorted(at, times, side="right") - 1]


def to_utc(local: Ints, zone: str) -> Ints:
    """Instants of wall-clock milliseconds; no bar starts inside the hour that a clock change skips or repeats."""
    at, offsets = _utc_offsets(zone)
    guess = local - offsets[np.searchsorted(at, local, side="right") - 1]
    return local - offsets[np.searchsorted(at, guess, side="right") - 1]


def local_midnight(day: dt.date, zone: str) -> int:
    """The instant at which a calendar day begins in a zone."""
    return int(to_utc(np.array([day_ms(day)]), zone)[0])


def day_ms(day: dt.date) -> int:
    return (day.toordinal() - 719_163) * DAY


def date_of(time: int, zone: str) -> dt.date:
    """The calendar day of an instant in a zone."""
    return dt.date.fromordinal(719_163 + int(to_local(np.array([time]), zone)[0]) // DAY)


def window_starts(times: Ints, interval: Interval, zone: str, *, sunday_weeks: bool = False, offset: int = 0) -> Ints:
    """The start of each instant's window; days, weeks and months are those of the zone.

    ``offset`` shifts the windows inside a day (Yahoo's hours of a stock begin at 09:30).
    """
    local = to_local(times, zone) - offset
    if interval.unit in ("month", "quarter", "year"):
        months = interval.count * {"month": 1, "quarter": 3, "year": 12}[interval.unit]
        month = local.astype("datetime64[ms]").astype("datetime64[M]").astype(np.int64)
        start = (month // months * months).astype("datetime64[M]").astype("datetime64[ms]").astype(np.int64)
    elif interval.unit == "week":
        # 1970-01-01 was a Thursday: Monday 1970-01-05 is day 4, Sunday 1970-01-04 is day 3.
        anchor = (3 if sunday_weeks else 4) * DAY
        start = (local - anchor) // (7 * DAY * interval.count) * (7 * DAY * interval.count) + anchor
    else:
        step = interval.milliseconds
        assert step is not None
        start = local // step * step
    return to_utc(start + offset, zone)


def window_end(start: int, interval: Interval, zone: str, *, sunday_weeks: bool = False, offset: int = 0) -> int:
    """The start of the window after the one that starts at ``start``."""
    if interval.unit in ("second", "minute", "hour"):
        assert interval.milliseconds is not None
        return start + interval.milliseconds
    days = {"day": 1, "week": 7, "month": 31, "quarter": 93, "year": 366}[interval.unit] * interval.count
    probe = np.array([start + days * DAY + 12 * HOUR])
    return int(window_starts(probe, interval, zone, sunday_weeks=sunday_weeks, offset=offset)[0])


def aggregate(bars: Bars, starts: Ints) -> Bars:
    """Bars grouped by equal, ascending window starts: first, max, min, last, sums."""
    if not len(bars):
        return bars
    firsts = np.flatnonzero(np.concatenate(([True], starts[1:] != starts[:-1])))
    lasts = np.concatenate((firsts[1:], [len(bars)])) - 1
    sums = {
        name: np.add.reduceat(column, firsts)
        for name, column in bars.columns().items()
        if name in ("volume", "quote", "trades", "taker_base", "taker_quote")
    }
    extremes = {"high": np.maximum.reduceat(bars.high, firsts), "low": np.minimum.reduceat(bars.low, firsts)}
    return bars.with_columns(
        {"time": starts[firsts], "open": bars.open[firsts], "close": bars.close[lasts], **extremes, **sums}
    )


def partial(bars: Bars, share: float) -> Bars:
    """Bars as they looked when ``share`` of their window had passed: same open, part of the way, part of the volume."""
    part = int(share * 1_000_000)

    def along(column: Ints) -> Ints:
        return bars.open + (column - bars.open) * part // 1_000_000

    close = along(bars.close)
    sums = {
        name: column * part // 1_000_000 if int(column.max(initial=0)) < 2**42 else column // 1_000_000 * part
        for name, column in bars.columns().items()
        if name in ("volume", "quote", "trades", "taker_base", "taker_quote")
    }
    high = np.maximum(along(bars.high), np.maximum(bars.open, close))
    low = np.minimum(along(bars.low), np.minimum(bars.open, close))
    return bars.with_columns({"high": high, "low": low, "close": close, **sums})


def scale(column: Ints, factor: Fraction) -> Ints:
    """A column times an exact fraction, rounded half up to its own scale."""
    return (column * (2 * factor.numerator) + factor.denominator) // (2 * factor.denominator)


def split_adjusted(bars: Bars, splits: Iterable[tuple[int, Fraction]]) -> Bars:
    """Prices divided and volumes multiplied by every split that became effective after a bar.

    ``splits`` are (instant from which it is effective, new shares per old share).
    """
    prices = {name: getattr(bars, name).copy() for name in ("open", "high", "low", "close")}
    volume = bars.volume.copy()
    groups: dict[int, Fraction] = {}
    for effective, ratio in splits:
        before = int(np.searchsorted(bars.time, effective))
        groups[before] = groups.get(before, Fraction(1)) * ratio
    total, last = Fraction(1), len(bars)
    # From the newest split backwards, so that each bar is scaled once by one exact factor and rounded once.
    for before in [*sorted(groups, reverse=True), 0]:
        if total != 1:
            for column in prices.values():
                column[before:last] = scale(column[before:last], 1 / total)
            volume[before:last] = scale(volume[before:last], total)
        total *= groups.get(before, Fraction(1))
        last = before
    return bars.with_columns({**prices, "volume": volume})
