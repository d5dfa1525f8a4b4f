"""An instrument as one provider knows it: the source of its bars, its splits and dividends, what is visible when."""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from scripts.simulator.bars import (
    DAY,
    NEW_YORK,
    Bars,
    Interval,
    Ints,
    aggregate,
    date_of,
    local_midnight,
    partial,
    split_adjusted,
    to_local,
    window_end,
    window_starts,
)
from scripts.simulator.calendar import CLOSES, OPENS, early_closes

if TYPE_CHECKING:
    from scripts.simulator.derivatives import Derivatives


class Source(Protocol):
    """Raw, as-traded bars of one length, in order of time."""

    @property
    def interval(self) -> Interval: ...

    @property
    def first(self) -> int: ...

    @property
    def last(self) -> int | None:
        """The start of the newest bar; None where bars go on for ever."""

    @property
    def identity(self) -> str:
        """Equal for sources with equal bars, so that encoded pages are shared between symbols."""

    def bars(self, start: int, end: int) -> Bars:
        """Bars that start in [start, end)."""


@dataclasses.dataclass(frozen=True, eq=False)
class Recorded:
    """A source held in memory."""

    interval: Interval
    rows: Bars
    identity: str

    @property
    def first(self) -> int:
        return int(self.rows.time[0])

    @property
    def last(self) -> int:
        return int(self.rows.time[-1])

    def bars(self, start: int, end: int) -> Bars:
        return self.rows.between(start, end)


@dataclasses.dataclass(frozen=True)
class Split:
    effective: dt.date
    old: int
    new: int

    @property
    def ratio(self) -> Fraction:
        """New shares per old share."""
        return Fraction(self.new, self.old)


@dataclasses.dataclass(frozen=True)
class Dividend:
    ex_date: dt.date
    amount: Decimal  # per share as traded on the ex-date, USD


@dataclasses.dataclass(frozen=True)
class Grid:
    """How a provider lays its windows: weeks from Sunday or Monday, intraday windows shifted, regular hours only."""

    sunday_weeks: bool = False
    offset: int = 0
    regular_hours: bool = False


@dataclasses.dataclass(frozen=True, eq=False)
class Instrument:
    """One symbol at one provider; ``kind`` decides its sessions: a stock's (New York) or all hours (UTC)."""

    symbol: str
    name: str
    kind: Literal["stock", "crypto"]
    sources: tuple[Source, ...]
    splits: tuple[Split, ...] = ()
    dividends: tuple[Dividend, ...] = ()
    # What a fund's own sales earned, paid out.
    capital_gains: tuple[Dividend, ...] = ()
    synthetic: bool = False
    exchange: str = ""
    security: str = "CS"
    base: str = ""
    delisted: dt.date | None = None
    price_decimals: int = 8
    derivatives: Derivatives | None = None

    @property
    def zone(self) -> str:
        return NEW_YORK if self.kind == "stock" else "UTC"

    @functools.cached_property
    def first(self) -> int:
        """The start of the oldest bar."""
        return min(source.first for source in self.sources)

    @functools.cached_property
    def last(self) -> int | None:
        """The start of the newest bar; None where bars go on for ever."""
        ends = [source.last for source in self.sources]
        return None if None in ends else max(end for end in ends if end is not None)

    def source(self, interval: Interval) -> Source | None:
        """The coarsest source that gives bars of this length by whole multiples."""
        wanted = interval.milliseconds or 28 * DAY

        def fits(length: int) -> bool:
            return length <= wanted and (interval.milliseconds is None or wanted % length == 0)

        usable = [s for s in self.sources if fits(s.interval.milliseconds or 0)]
        return max(usable, key=lambda s: s.interval.milliseconds or 0, default=None)

    def bars(self, interval: Interval, start: int, end: int, clock: int, grid: Grid) -> Bars | None:
        """As-traded bars that start in [start, end), as they look at ``clock``: the running one only so far as it got.

        None: there is no source for this length.
        """
        source = self.source(interval)
        if source is None:
            return None
        offset = grid.offset if interval.unit in ("hour", "minute") else 0
        first = int(
            window_starts(np.array([start]), interval, self.zone, sunday_weeks=grid.sunday_weeks, offset=offset)[0]
        )
        last = int(
            window_starts(
                np.array([max(end - 1, start)]), interval, self.zone, sunday_weeks=grid.sunday_weeks, offset=offset
            )[0]
        )
        stop = window_end(last, interval, self.zone, sunday_weeks=grid.sunday_weeks, offset=offset)
        rows = self._visible(source.bars(first, stop), source.interval, clock)
        if grid.regular_hours and self.kind == "stock" and source.interval.unit not in ("day", "week"):
            wall = to_local(rows.time, self.zone) % DAY
            rows = rows.take((wall >= OPENS) & (wall < CLOSES))
        if source.interval != interval or offset:
            starts = window_starts(rows.time, interval, self.zone, sunday_weeks=grid.sunday_weeks, offset=offset)
            rows = aggregate(rows, starts)
        return rows.between(start, end)

    def _visible(self, rows: Bars, interval: Interval, clock: int) -> Bars:
        opened, closed = rows.time, rows.time + (interval.milliseconds or 0)
        if self.kind == "stock" and interval.unit == "day":
            opened = rows.time + OPENS  # no session begins on the day of a clock change, so wall time is linear here
            closed = rows.time + CLOSES
        count = int(np.searchsorted(opened, clock, side="left"))
        rows = rows.take(slice(0, count))
        if count and closed[count - 1] > clock:
            begin, finish = int(opened[count - 1]), int(closed[count - 1])
            if self.kind == "stock" and interval.unit == "day":
                finish = self.session_close(int(rows.time[-1]))
            if finish > clock:
                running = partial(rows.take(slice(count - 1, count)), (clock - begin) / (finish - begin))
                rows = Bars.concatenate([rows.take(slice(0, count - 1)), running])
        return rows

    def session_close(self, midnight: int) -> int:
        """When the session of the stock day that starts at ``midnight`` closes (half days included)."""
        early = early_closes().get(date_of(midnight, NEW_YORK))
        return midnight + (early if early is not None else CLOSES)

    def effective_splits(self, clock: int) -> list[tuple[int, Fraction]]:
        """Splits known and effective at ``clock``: (instant, new shares per old)."""
        out = [(local_midnight(s.effective, self.zone), s.ratio) for s in self.splits]
        return [(at, ratio) for at, ratio in out if at <= clock]

    def adjusted(self, rows: Bars, clock: int) -> Bars:
        """Bars in today's shares, today being ``clock``."""
        splits = self.effective_splits(clock)
        return split_adjusted(rows, splits) if splits and len(rows) else rows

    def dividend_factors(self, times: Ints, clock: int) -> np.ndarray:
        """What Yahoo multiplies a split-adjusted close with: products of 1 - dividend / close before."""
        factors = np.ones(len(times))
        daily = Interval(1, "day")
        for dividend in (*self.dividends, *self.capital_gains):
            at = local_midnight(dividend.ex_date, self.zone)
            if at + OPENS > clock:
                continue
            before = self.bars(daily, at - 14 * DAY, at, clock, Grid())
            if before is None or not len(before):
                continue
            previous = float(before.close[-1]) / 10**before.price_scale
            factors[times < at] *= 1 - float(dividend.amount) / previous
        return factors
