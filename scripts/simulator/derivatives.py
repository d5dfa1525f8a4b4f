"""Synthetic funding, open interest, account ratios, liquidations and inflow: from a seed, any day on its own."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import numpy as np

from scripts.simulator.bars import DAY, HOUR, MINUTE, SECOND, Ints
from scripts.simulator.synthetic import STEPS, SyntheticMarket, seed_of

FIVE_MINUTES = 5 * MINUTE
# Until then Binance gave no mark price with a funding rate (docs/reference/providers.md).
MARK_PRICES_FROM = 1_698_739_200_000  # 2023-10-31 08:00
# From then on the label of a sample is the start of its period, in files and over REST (docs/reference/providers.md).
LABELS_START_FROM = 1_782_345_600_000  # 2026-06-25


@dataclasses.dataclass(frozen=True)
class Derivatives:
    """What Binance publishes about a perpetual besides candles. Ratios have 4 decimal places, contracts 3, rates 8."""

    market: SyntheticMarket
    interval_hours: int = 8
    contracts: float = 60_000.0

    def _random(self, *tags: int) -> np.random.Generator:
        return np.random.Generator(np.random.PCG64([seed_of(self.market.seed, self.market.coin), *tags]))

    def funding(self, start: int, end: int) -> list[dict[str, Any]]:
        """Settlements in [start, end): fundingTime (up to 47 ms late on 46% of them), fundingRate, markPrice."""
        step = self.interval_hours * HOUR
        first = max(start - 50, self.market.first) // step
        rows = []
        for number in range(first, (end - 1) // step + 1):
            random = self._random(number, 11)
            late = int(random.integers(1, 48)) if random.random() < 0.458 else 0
            at = number * step + late
            if not max(start, self.market.first) <= at < end:
                continue
            rate = float(np.clip(random.normal(0.00009, 0.00009) + 0.00005 * math.sin(number / 40), -0.00119, 0.00099))
            mark = ""
            if at >= MARK_PRICES_FROM:
                before = self.market.bars(number * step - FIVE_MINUTES, number * step)
                mark = _places(int(before.close[-1]), 8) if len(before) else ""
            rows.append({"fundingTime": at, "fundingRate": f"{rate:.8f}", "markPrice": mark})
        return rows

    @functools.lru_cache(maxsize=4_000)  # noqa: B019 - about 25 kB a day; markets live as long as the process
    def _day(self, day: int) -> dict[str, Ints]:
        """A day's 288 samples at 00:00, 00:05 ..: open interest in 0.001 contracts and shares of accounts in 0.0001."""
        random = self._random(day, 12)
        wave = 1 + 0.25 * math.sin(day / 29) + 0.1 * math.sin(day / 5)
        following = 1 + 0.25 * math.sin((day + 1) / 29) + 0.1 * math.sin((day + 1) / 5)
        along = np.arange(STEPS) / STEPS
        level = self.contracts * (wave + (following - wave) * along) * (1 + random.normal(0, 0.0012, STEPS))

        def accounts(center: float, tag: float) -> Ints:
            share = center + 0.06 * np.sin((day + along) / (3.0 + tag)) + random.normal(0, 0.002, STEPS)
            return np.rint(np.clip(share, 0.05, 0.95) * 10_000).astype(np.int64)

        return {
            "open_interest": np.rint(level * 1000).astype(np.int64),
            "global": accounts(0.60, 1.0),
            "top_accounts": accounts(0.58, 2.0),
            "top_positions": accounts(0.54, 3.0),
        }

    def samples(self, name: str, times: Ints) -> Ints:
        """Values of open_interest, global, top_accounts or top_positions at instants on the five-minute grid."""
        days = times // DAY
        out = np.empty(len(times), np.int64)
        for day in np.unique(days).tolist():
            here = days == day
            out[here] = self._day(day)[name][(times[here] - day * DAY) // FIVE_MINUTES]
        return out

    def liquidations(self, start: int, end: int) -> list[dict[str, Any]]:
        """forceOrder events with trade time in [start, end), at most one a second, as the stream gives them."""
        rows: list[dict[str, Any]] = []
        for hour in range(max(start, self.market.first) // HOUR, (end - 1) // HOUR + 1):
            random = self._random(hour, 13)
            for second in sorted(set(random.integers(0, 3600, int(random.poisson(6))).tolist())):
                at = hour * HOUR + second * SECOND + int(random.integers(0, 1000))
                side, size = ("SELL", "BUY")[int(random.random() < 0.45)], float(random.lognormal(0, 1.0))
                if not start <= at < end:
                    continue
                bars = self.market.bars(at - at % FIVE_MINUTES, at + 1)
                price = int(bars.low[0] if side == "SELL" else bars.high[0])
                quantity = max(round(size * self.market.volume / STEPS / 50, 3), 0.001)
                rows.append(force_order(f"{self.market.coin}USDT", side, f"{quantity:.3f}", _places(price, 8), at))
        return rows


def force_order(symbol: str, side: str, quantity: str, price: str, at: int) -> dict[str, Any]:
    """A forceOrder event as the stream sends it; SELL means that a long was liquidated."""
    order = {
        "s": symbol, "S": side, "o": "LIMIT", "f": "IOC", "q": quantity, "p": price, "ap": price, "X": "FILLED",
        "l": quantity, "z": quantity, "T": at,
    }  # fmt: skip
    return {"e": "forceOrder", "E": at + 4, "o": order}


def _places(value: int, places: int) -> str:
    return f"{value // 10**places}.{value % 10**places:0{places}d}"


@dataclasses.dataclass(frozen=True)
class Inflow:
    """Coin Metrics' FlowInExNtv of one asset: published six hours after the day, revised a day later."""

    asset: str
    native: float
    price: float
    seed: int = 1
    first: int = 14_610 * DAY
    publication: int = 6 * HOUR

    def value(self, day: int, clock: int) -> tuple[str, str] | None:
        """(native units, US dollars) of the UTC day that starts at ``day`` (ms), as known at ``clock``; None if not."""
        published = day + DAY + self.publication
        if day < self.first or clock < published:
            return None
        random = np.random.Generator(np.random.PCG64([seed_of(self.seed, self.asset, "inflow"), day // DAY]))
        native = self.native * float(random.lognormal(0, 0.25)) * (1 + 0.2 * math.sin(day / DAY / 9))
        if clock < published + DAY:
            native *= 0.985  # the first figure misses late attributions of addresses
        return f"{native:.8f}", f"{native * self.price:.4f}"
