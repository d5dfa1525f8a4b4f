"""What every provider of the simulator shares: the data set, the clock, the faults and the cache of encoded bars."""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import time
from collections.abc import Callable, Hashable, Mapping
from typing import Generic, Protocol, TypeVar

import numpy as np
import orjson

from scripts.simulator.bars import Bars, Interval, Ints
from scripts.simulator.datasets import Dataset
from scripts.simulator.encode import Text
from scripts.simulator.faults import BAR_KINDS, Fault, Faults, spoil_bars
from scripts.simulator.instruments import Grid, Instrument

Encoder = Callable[[Instrument, Bars], Text]
Value = TypeVar("Value")
BLOCK_ROWS = 2048
CACHE_BYTES = 300_000_000


@dataclasses.dataclass
class Call:
    """A request as a provider sees it; ``path`` is without the provider's prefix, ``base`` is where it was reached."""

    provider: str
    endpoint: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    base: str
    parameters: Mapping[str, str]
    symbol: str | None = None
    timeframe: str | None = None
    faults: list[Fault] = dataclasses.field(default_factory=list)

    @property
    def bar_faults(self) -> list[Fault]:
        return [fault for fault in self.faults if fault.kind in BAR_KINDS]


@dataclasses.dataclass
class Reply:
    """An answer: status, body and headers."""

    status: int
    body: bytes
    headers: dict[str, str] = dataclasses.field(default_factory=dict)
    content_type: str = "application/json"

    @staticmethod
    def json(status: int, body: object, **headers: str) -> Reply:
        return Reply(status, orjson.dumps(body), {name.replace("_", "-"): value for name, value in headers.items()})


class Recording(Protocol):
    """Recorded answers (scripts/simulator/replay.py)."""

    def answer(self, call: Call, clock: int, error: Callable[..., Reply]) -> Reply | None:
        """The recorded answer to a request up to the clock (Unix ms); None where it was never asked."""


class Cache(Generic[Value]):
    """The most recently used values, together at most so many bytes."""

    def __init__(self, capacity: int) -> None:
        self.capacity, self.used = capacity, 0
        self._values: collections.OrderedDict[Hashable, tuple[Value, int]] = collections.OrderedDict()

    def get(self, key: Hashable) -> Value | None:
        if key not in self._values:
            return None
        self._values.move_to_end(key)
        return self._values[key][0]

    def put(self, key: Hashable, value: Value, size: int) -> None:
        self._values[key] = (value, size)
        self.used += size
        while self.used > self.capacity:
            _, (_, dropped) = self._values.popitem(last=False)
            self.used -= dropped


class Budget:
    """What was spent in the current real window of ``seconds``; the simulator's own clock may stand still.

    Who goes on asking after ``refusals_before_ban`` refusals is banned for two minutes, as Binance does it.
    """

    def __init__(self, limit: int | None, seconds: int = 60, refusals_before_ban: int | None = None) -> None:
        self.limit, self.seconds, self.refusals_before_ban = limit, seconds, refusals_before_ban
        self._window, self.used, self.refused, self.banned_until = 0, 0, 0, 0.0

    def spend(self, weight: int) -> bool:
        """Count it; False when the window's budget is over."""
        window = int(time.time() // self.seconds)
        if window != self._window:
            self._window, self.used, self.refused = window, 0, 0
        self.used += weight
        if self.limit is None or self.used <= self.limit:
            return True
        self.refused += 1
        if self.refusals_before_ban is not None and self.refused > self.refusals_before_ban:
            self.banned_until = time.time() + 120
        return False

    @property
    def banned(self) -> bool:
        return time.time() < self.banned_until

    def seconds_left(self) -> int:
        """Until the next window begins, or until the ban ends."""
        until = max(self.banned_until, (self._window + 1) * self.seconds)
        return max(int(until - time.time()) + 1, 1)


@dataclasses.dataclass
class World:
    """One running simulator's state. ``fixed_clock`` is Unix ms, None = real time."""

    dataset: Dataset
    fixed_clock: int | None = None
    polygon_keys: frozenset[str] = frozenset({"simulator"})
    polygon_per_minute: int | None = None
    faults: Faults = dataclasses.field(default_factory=Faults)
    # Recorded answers that come before the data set's.
    recording: Recording | None = None

    def __post_init__(self) -> None:
        self.clear_budgets()
        self.files: Cache[bytes] = Cache(CACHE_BYTES // 3)
        self._blocks: Cache[tuple[Ints, Text]] = Cache(CACHE_BYTES)

    def clear_budgets(self) -> None:
        """As if nobody had asked yet: nothing is spent, nobody is banned."""
        limited = not self.dataset.unlimited
        self.polygon_budget = Budget(self.polygon_per_minute)
        self.weights = {
            "binance-spot": Budget(6000 if limited else None, refusals_before_ban=20),
            "binance-data-api": Budget(6000 if limited else None, refusals_before_ban=20),
            "binance-futures": Budget(2400 if limited else None, refusals_before_ban=20),
        }
        self.funding_budget = Budget(500 if limited else None, 300)
        self.ratio_budget = Budget(1000 if limited else None, 300)
        self.coinmetrics_budget = Budget(10 if limited else None, 6)

    def clock(self) -> int:
        """The provider's present, Unix ms."""
        return self.fixed_clock if self.fixed_clock is not None else int(time.time() * 1000)

    def now(self) -> dt.datetime:
        return dt.datetime.fromtimestamp(self.clock() / 1000, dt.UTC)

    def rows(
        self,
        call: Call,
        instrument: Instrument,
        interval: Interval,
        grid: Grid,
        style: str,
        encoder: Encoder,
        start: int,
        end: int,
        limit: int,
        *,
        newest: bool = False,
    ) -> tuple[Ints, list[memoryview]]:
        """Times and pieces of text of at most ``limit`` bars in [start, end): the oldest ones, or the newest."""
        source = instrument.source(interval)
        clock = self.clock()
        if source is None:
            return np.empty(0, np.int64), []
        length = interval.milliseconds or 31 * 86_400_000
        # One window earlier than the first bar: a day or week may begin before the data does.
        start = max(start, source.first - length - 86_400_000)
        end = min(end, clock + 1, (source.last + length if source.last is not None else clock) + 1)
        if start >= end or limit <= 0:
            return np.empty(0, np.int64), []
        if call.bar_faults:
            return self._spoiled(call, instrument, interval, grid, encoder, (start, end), limit, newest)
        span = length * BLOCK_ROWS if interval.milliseconds else 2**61
        numbers = range(start // span, (end - 1) // span + 1)
        pages: list[tuple[Ints, memoryview]] = []
        for number in reversed(numbers) if newest else numbers:
            times, text = self._block(instrument, interval, grid, style, encoder, number, span, clock)
            first, last = (int(i) for i in np.searchsorted(times, [start, end]))
            if newest:
                first = max(first, last - limit)
            else:
                last = min(last, first + limit)
            pages.append((times[first:last], text.rows(first, last)))
            limit -= last - first
            if limit <= 0:
                break
        if newest:
            pages.reverse()
        return np.concatenate([page[0] for page in pages]), [page[1] for page in pages]

    def _block(
        self, instrument: Instrument, interval: Interval, grid: Grid, style: str, encoder: Encoder,
        number: int, span: int, clock: int,
    ) -> tuple[Ints, Text]:  # fmt: skip
        source = instrument.source(interval)
        assert source is not None
        begin, finish = number * span, (number + 1) * span
        splits = len(instrument.effective_splits(clock))
        seen = min(clock, finish + (interval.milliseconds or 0))
        key = (source.identity, interval, grid, style, instrument.price_decimals, splits, number, seen)
        if known := self._blocks.get(key):
            return known
        begin = max(begin, source.first - 40 * 86_400_000)
        bars = instrument.bars(interval, begin, min(finish, clock + 1), clock, grid)
        assert bars is not None
        block = (bars.time, encoder(instrument, bars))
        self._blocks.put(key, block, len(block[1].data))
        return block

    def _spoiled(
        self, call: Call, instrument: Instrument, interval: Interval, grid: Grid, encoder: Encoder,
        window: tuple[int, int], limit: int, newest: bool,
    ) -> tuple[Ints, list[memoryview]]:  # fmt: skip
        step = interval.milliseconds or 31 * 86_400_000
        start, end = window
        if newest:
            start = max(start, end - (limit + 64) * step)
        bars = instrument.bars(interval, start, end, self.clock(), grid)
        assert bars is not None
        bars = spoil_bars(bars, step, call.bar_faults, self.clock())
        bars = bars.take(slice(-limit, None) if newest else slice(0, limit))
        return bars.time, [memoryview(encoder(instrument, bars).data)]
