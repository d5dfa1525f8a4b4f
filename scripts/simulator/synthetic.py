"""Deterministic bars that look like a market and are not one: five-minute bars from a seed, never a wall clock.

Any day can be made without the days before it: day boundaries lie on a fixed curve of the day's number, the
five-minute closes are a Brownian bridge between them. So the history is the same whenever, and in whatever order, it is
asked for.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import zlib

import numpy as np

from scripts.simulator.bars import DAY, MINUTE, NEW_YORK, Bars, Interval, Ints, aggregate, to_local, to_utc
from scripts.simulator.calendar import CLOSES, OPENS, early_closes, nyse

STEPS = 288
FIVE_MINUTES = 5 * MINUTE
PRICE_SCALE = VOLUME_SCALE = 8


def seed_of(*parts: object) -> int:
    """A stable seed of anything printable (Python's own hash changes with every process)."""
    return zlib.crc32("|".join(map(str, parts)).encode())


@dataclasses.dataclass(frozen=True)
class SyntheticMarket:
    """Five-minute bars of one coin at one venue.

    Venues of one coin share the path of its price and differ by ``noise`` (relative, one standard deviation of a close)
    and by ``volume`` (base units a day), as real venues do: docs/reference/providers.md.
    """

    coin: str
    price: float
    volume: float
    venue: str = "spot"
    noise: float = 0.0
    seed: int = 1
    tick: int = 10**6  # smallest price step in units of 1e-8
    first: int = 14_610 * DAY  # 2010-01-01

    interval = Interval(5, "minute")
    last = None

    @property
    def identity(self) -> str:
        return f"synthetic:{self.seed}:{self.coin}:{self.venue}"

    def bars(self, start: int, end: int) -> Bars:
        first_day, last_day = max(start, self.first) // DAY, max(end - 1, self.first) // DAY
        days = [self._day(day) for day in range(first_day, last_day + 1)]
        return Bars.concatenate(days).between(max(start, self.first), end)

    def _boundary(self, day: int) -> float:
        """The logarithm of the price at the start of a day."""
        phase = seed_of(self.seed, self.coin)
        waves = sum(
            size * math.sin(2 * math.pi * (day / length + (phase % prime) / prime))
            for size, length, prime in ((0.35, 731, 101), (0.18, 173, 103), (0.09, 41, 107), (0.04, 11, 109))
        )
        jump = np.random.Generator(np.random.PCG64([phase, day])).normal(0, 0.012)
        return math.log(self.price) + waves + float(jump)

    @functools.lru_cache(maxsize=4_000)  # noqa: B019 - about 25 kB a day; markets live as long as the process
    def _day(self, day: int) -> Bars:
        phase = seed_of(self.seed, self.coin)
        shared = np.random.Generator(np.random.PCG64([phase, day, 1]))
        steps = shared.normal(0, 0.0016, STEPS) * (1 + 0.5 * math.sin(day / 17))
        bridge = np.cumsum(steps)
        along = np.arange(1, STEPS + 1) / STEPS
        start, end = self._boundary(day), self._boundary(day + 1)
        path = start + bridge + along * (end - start - bridge[-1])
        wicks = np.abs(shared.normal(0, 0.0007, (2, STEPS)))
        flow = shared.lognormal(0, 0.5, STEPS) * (1 + 0.6 * np.cos(2 * np.pi * (np.arange(STEPS) / STEPS - 0.62)))
        pressure = np.clip(0.5 + 40 * steps + shared.normal(0, 0.06, STEPS), 0.05, 0.95)
        own = np.random.Generator(np.random.PCG64([phase, day, seed_of(self.venue)]))
        path = path + own.normal(0, 1, STEPS) * self.noise
        opened = start + self._opening_noise(day)
        closes = self._to_ticks(np.exp(path))
        opens = np.concatenate((self._to_ticks(np.exp([opened])), closes[:-1]))
        # The day's last close is the next day's first open: a continuous market has no gap at midnight.
        closes[-1] = self._to_ticks(np.exp([end + self._opening_noise(day + 1)]))[0]
        highs = self._to_ticks(np.maximum(opens, closes) * (1 + wicks[0]) / 10**PRICE_SCALE)
        lows = self._to_ticks(np.minimum(opens, closes) * (1 - wicks[1]) / 10**PRICE_SCALE)
        highs, lows = np.maximum(highs, np.maximum(opens, closes)), np.minimum(lows, np.minimum(opens, closes))
        volume = np.maximum((flow * self.volume / STEPS * 1e5).astype(np.int64), 1)  # steps of 0.00001 base units
        taker = (volume * pressure).astype(np.int64)
        typical = (opens + highs + lows + closes) // 4 // self.tick * self.tick
        return Bars(
            time=day * DAY + np.arange(STEPS) * FIVE_MINUTES,
            open=opens,
            high=highs,
            low=lows,
            close=closes,
            volume=volume * 1000,
            price_scale=PRICE_SCALE,
            volume_scale=VOLUME_SCALE,
            quote=_times(volume, typical),
            trades=np.maximum((flow * 900).astype(np.int64), 1),
            taker_base=taker * 1000,
            taker_quote=_times(taker, typical),
        )

    def _opening_noise(self, day: int) -> float:
        own = np.random.Generator(np.random.PCG64([seed_of(self.seed, self.coin, self.venue), day]))
        return float(own.normal(0, 1)) * self.noise

    def _to_ticks(self, prices: np.ndarray) -> Ints:
        return np.maximum(np.rint(np.asarray(prices) * 10**PRICE_SCALE / self.tick).astype(np.int64), 1) * self.tick


def _times(volume: Ints, price: Ints) -> Ints:
    """Volume in steps of 1e-5 times a price in 1e-8, at scale 8."""
    return volume * (price // 100) // 1000


@dataclasses.dataclass(frozen=True)
class SyntheticStock:
    """Five-minute bars of a made-up stock in New York: regular sessions and thin extended hours, as traded.

    ``splits`` are (first day in Unix ms at 00:00 UTC of the calendar date, new shares per old share): from that day on
    the price is divided by the ratio and the volume multiplied, as on a real tape. Prices have 4 decimal places.
    """

    symbol: str
    price: float
    volume: float
    splits: tuple[tuple[int, float], ...] = ()
    seed: int = 1
    first_day: int = 16_436  # 2015-01-01
    last_day: int | None = None

    interval = Interval(5, "minute")

    @property
    def identity(self) -> str:
        return f"synthetic:{self.seed}:{self.symbol}:stock"

    @property
    def first(self) -> int:
        return self.first_day * DAY

    @property
    def last(self) -> int | None:
        return None if self.last_day is None else (self.last_day + 1) * DAY

    def bars(self, start: int, end: int) -> Bars:
        begin, finish = max(start // DAY - 1, self.first_day), (end - 1) // DAY
        if self.last_day is not None:
            finish = min(finish, self.last_day)
        days = [bars for day in range(begin, finish + 1) if (bars := self._day(day)) is not None]
        if not days:
            days = [_NO_BARS]
        return Bars.concatenate(days).between(start, end)

    @functools.lru_cache(maxsize=4_000)  # noqa: B019 - about 25 kB a day; markets live as long as the process
    def _day(self, day: int) -> Bars | None:
        """A session's bars, None on a day without one."""
        close = session_closes().get(day)
        if close is None:
            return None
        phase = seed_of(self.seed, self.symbol)
        random = np.random.Generator(np.random.PCG64([phase, day]))
        wall = np.arange(8 * 12, 18 * 12) * FIVE_MINUTES  # 08:00 .. 18:00
        regular = (wall >= OPENS) & (wall < close)
        traded = regular | (random.random(len(wall)) < 0.6)  # outside the session some windows see no trade
        steps = random.normal(0, 0.0011, len(wall)) * np.where(regular, 1.0, 0.3)
        level = sum(
            size * math.sin(2 * math.pi * (day / length + (phase % prime) / prime))
            for size, length, prime in ((0.30, 911, 101), (0.12, 199, 103), (0.05, 37, 107))
        )
        ratio = math.prod(new for at, new in self.splits if at <= day * DAY)
        path = math.log(self.price / ratio) + level + float(random.normal(0, 0.01)) + np.cumsum(steps)
        closes = np.maximum(np.rint(np.exp(path) * 100).astype(np.int64), 1) * 100
        opens = np.concatenate(([closes[0]], closes[:-1]))
        wicks = np.abs(random.normal(0, 0.0006, (2, len(wall))))
        highs = np.rint(np.maximum(opens, closes) * (1 + wicks[0]) / 100).astype(np.int64) * 100
        lows = np.maximum(np.rint(np.minimum(opens, closes) * (1 - wicks[1]) / 100).astype(np.int64), 1) * 100
        highs, lows = np.maximum(highs, np.maximum(opens, closes)), np.minimum(lows, np.minimum(opens, closes))
        flow = random.lognormal(0, 0.4, len(wall)) * np.where(regular, 1.0, 0.01)
        volume = np.maximum((flow * self.volume * ratio / 78).astype(np.int64), 1)
        bars = Bars(
            time=to_utc(day * DAY + wall, NEW_YORK),
            open=opens,
            high=highs,
            low=lows,
            close=closes,
            volume=volume,
            price_scale=4,
            volume_scale=0,
            quote=volume * ((opens + highs + lows + closes) // 4),
            trades=np.maximum(volume // 90, 1),
            quote_scale=4,
        )
        return bars.take(traded)


@dataclasses.dataclass(frozen=True)
class RegularDays:
    """Daily bars of a synthetic stock: its regular sessions, stamped at 00:00 New York."""

    stock: SyntheticStock

    interval = Interval(1, "day")

    @property
    def identity(self) -> str:
        return f"{self.stock.identity}:days"

    @property
    def first(self) -> int:
        return self.stock.first

    @property
    def last(self) -> int | None:
        return self.stock.last

    def bars(self, start: int, end: int) -> Bars:
        rows = self.stock.bars(start, end + DAY)
        wall = to_local(rows.time, NEW_YORK)
        closes = session_closes()
        days = wall // DAY
        ends = np.array([closes.get(day, 0) for day in days.tolist()], np.int64)
        regular = (wall % DAY >= OPENS) & (wall % DAY < ends)
        kept = rows.take(regular)
        return aggregate(kept, to_utc(days[regular] * DAY, NEW_YORK)).between(start, end)


@functools.cache
def session_closes() -> dict[int, int]:
    """Sessions of the New York Stock Exchange: day number since 1970 -> wall-clock ms of the close."""
    sessions = nyse().sessions
    early = early_closes()
    return {int(session.value // 86_400_000_000_000): early.get(session.date(), CLOSES) for session in sessions}


_NONE = np.empty(0, np.int64)
_NO_BARS = Bars(_NONE, _NONE, _NONE, _NONE, _NONE, _NONE, 4, 0, quote=_NONE, trades=_NONE, quote_scale=4)
