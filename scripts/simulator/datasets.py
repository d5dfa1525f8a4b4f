"""What the simulator serves: a Dataset holds the instruments of each provider and all else that it publishes.

``demo``: real daily stocks (the bokeh-sampledata wheel) and synthetic crypto. ``shared``: recorded market data in a
folder. ``synthetic``: generated stocks and crypto. ``load``: many symbols for load tests. Nothing generated goes
unmarked: names say "(synthetic)" and answers carry the header ``X-Simulator: synthetic``.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
import math
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

from scripts.simulator.bars import DAY, day_ms
from scripts.simulator.derivatives import Derivatives, Inflow
from scripts.simulator.files import (
    DAILY,
    HOURLY,
    MINUTELY,
    RecordedChart,
    basana_days,
    binance_minutes,
    bokeh_stocks,
    kline_csv,
    lean_stock,
    next_session,
    recorded_chart,
)
from scripts.simulator.instruments import Dividend, Instrument, Recorded, Source, Split
from scripts.simulator.synthetic import RegularDays, SyntheticMarket, SyntheticStock

DEMO_CLOCK = "2013-03-02T02:00:00Z"


@dataclasses.dataclass
class Dataset:
    """Instruments by provider and provider symbol; ``clock`` is the instant at which the data is meant to be seen."""

    name: str
    clock: str | None = None
    polygon: dict[str, Instrument] = dataclasses.field(default_factory=dict)
    spot: dict[str, Instrument] = dataclasses.field(default_factory=dict)
    futures: dict[str, Instrument] = dataclasses.field(default_factory=dict)
    yahoo: dict[str, Instrument] = dataclasses.field(default_factory=dict)
    inflow: dict[str, Inflow] = dataclasses.field(default_factory=dict)
    files: dict[str, Path] = dataclasses.field(default_factory=dict)  # archive files as published, by their path
    charts: list[RecordedChart] = dataclasses.field(default_factory=list)
    unlimited: bool = False  # a load test: no weight limits, no compression

    def instruments(self, provider: str) -> dict[str, Instrument]:
        """The instruments of a provider by its symbols; empty for one that has none."""
        return {
            "polygon": self.polygon, "yahoo": self.yahoo, "binance-spot": self.spot, "binance-data-api": self.spot,
            "binance-futures": self.futures, "binance-archive": self.futures | self.spot,
            "binance-stream": self.futures,
        }.get(provider, {})  # fmt: skip


@functools.cache
def demo() -> Dataset:
    """The offline demo: AAPL, IBM, MSFT, GOOG, FB as they traded 2000-2013, and synthetic BTC, ETH, SOL."""
    dataset = Dataset("demo", DEMO_CLOCK)
    for stock in bokeh_stocks():
        dataset.polygon[stock.symbol] = dataset.yahoo[stock.symbol] = stock
    for coin, price, volume in (("BTC", 30_000.0, 9_000.0), ("ETH", 1_900.0, 90_000.0), ("SOL", 40.0, 900_000.0)):
        add_coin(dataset, coin, price, volume, funding_hours=4 if coin == "SOL" else 8)
    return dataset


def add_coin(dataset: Dataset, coin: str, price: float, volume: float, seed: int = 1, funding_hours: int = 8) -> None:
    """A synthetic coin at all venues, with prices that differ as docs/reference/providers.md measures; ``volume`` is a day's."""
    tick = 10**6 if price > 500 else 10**4 if price > 5 else 10**3
    name = f"{coin} / US dollar (synthetic)"

    def market(venue: str, noise: float, share: float) -> SyntheticMarket:
        return SyntheticMarket(coin, price, volume * share, venue, noise, seed, tick)

    def instrument(symbol: str, venue: str, noise: float, share: float, exchange: str, places: int = 8) -> Instrument:
        return Instrument(
            symbol, name, "crypto", (market(venue, noise, share),),
            synthetic=True, exchange=exchange, base=coin, price_decimals=places,
        )  # fmt: skip

    dataset.spot[f"{coin}USDT"] = instrument(f"{coin}USDT", "spot", 0.0, 1.0, "Binance")
    perpetual = instrument(f"{coin}USDT", "futures", 0.0002, 3.0, "Binance", {10**6: 2, 10**4: 4}.get(tick, 5))
    extras = Derivatives(market("futures", 0.0002, 3.0), funding_hours, contracts=volume * 6)
    dataset.futures[f"{coin}USDT"] = dataclasses.replace(perpetual, derivatives=extras)
    dataset.inflow[coin.lower()] = Inflow(coin.lower(), volume * 0.4, price, seed)
    dataset.polygon[f"X:{coin}USD"] = instrument(f"X:{coin}USD", "polygon", 0.0004, 0.127, "Crypto")
    dataset.yahoo[f"{coin}-USD"] = instrument(f"{coin}-USD", "yahoo", 0.0007, 14.9, "CCC")


@functools.cache
def shared(folder: Path) -> Dataset:
    """Recorded data in ``folder`` (its README lists the licences): Lean stocks, Binance archives, Yahoo charts."""
    if not (folder / "INDEX.csv").exists():
        raise FileNotFoundError(f"{folder} has no INDEX.csv: pass the folder of recorded market data")
    dataset = Dataset("shared")
    lean = folder / "lean/equity/usa"
    for symbol, name, security in (
        ("AAPL", "Apple Inc.", "CS"),
        ("SPY", "SPDR S&P 500 ETF Trust", "ETF"),
        ("SHY", "iShares 1-3 Year Treasury Bond ETF", "ETF"),
    ):
        stock = lean_stock(lean, symbol, name, security)
        dataset.polygon[symbol] = dataset.yahoo[symbol] = stock
    spot: list[Source] = [
        Recorded(MINUTELY, binance_minutes(folder / "binance/vision_spot_1m_lostleaf"), "vision:BTCUSDT:1m"),
        Recorded(DAILY, basana_days(folder / "binance/basana/binance_btcusdt_day_2020.csv"), "basana:BTCUSDT:1d"),
    ]
    dataset.spot["BTCUSDT"] = Instrument("BTCUSDT", "BTC / USDT", "crypto", tuple(spot), exchange="Binance", base="BTC")
    hours = kline_csv((folder / "binance/um_klines_flukedev/BTCUSDT_1h.csv").read_text().splitlines()[1:], 2, 3, 5)
    dataset.futures["BTCUSDT"] = Instrument(
        "BTCUSDT", "BTC / USDT perpetual", "crypto", (Recorded(HOURLY, hours, "um:BTCUSDT:1h"),),
        exchange="Binance", base="BTC", price_decimals=2,
    )  # fmt: skip
    for path in sorted((folder / "binance/vision_spot_1m_lostleaf").glob("*.zip")):
        dataset.files[f"/data/spot/daily/klines/BTCUSDT/1m/{path.name}"] = path
    for path in sorted((folder / "yahoo/recorded_http_yahoo_finance2").glob("*chart-*.json")):
        dataset.charts.extend(recorded_chart(path))
    return dataset


@functools.cache
def synthetic() -> Dataset:
    """Made-up stocks with intraday bars, splits both ways and a delisting, and five coins; follows the real time."""
    dataset = Dataset("synthetic")
    stocks = (
        ("SIMA", 120.0, 4e6, (Split(dt.date(2024, 6, 10), 1, 4),), None),
        ("SIMB", 45.0, 1e6, (Split(dt.date(2025, 3, 17), 10, 1),), None),
        ("SIMC", 300.0, 9e6, (), None),
        ("SIMD", 20.0, 5e5, (), dt.date(2026, 2, 27)),
    )
    for symbol, price, volume, splits, delisted in stocks:
        tape = SyntheticStock(
            symbol, price, volume, tuple((day_ms(s.effective), s.new / s.old) for s in splits),
            last_day=day_ms(delisted) // DAY if delisted else None,
        )  # fmt: skip
        # 0.3% of the price a quarter, in the shares of the day.
        quarters = [next_session(dt.date(year, month, 9)) for year in range(2018, 2027) for month in (2, 5, 8, 11)]
        dividends = tuple(
            Dividend(
                day, Decimal(f"{price * 0.003 / math.prod(float(s.ratio) for s in splits if s.effective <= day):.4f}")
            )
            for day in quarters
            if symbol == "SIMA"
        )
        stock = Instrument(
            symbol, f"Simulated {symbol[-1]} Inc. (synthetic)", "stock", (tape, RegularDays(tape)), splits, dividends,
            synthetic=True, exchange="XNAS", delisted=delisted,
        )  # fmt: skip
        dataset.polygon[symbol] = dataset.yahoo[symbol] = stock
    for coin, price, volume in (
        ("BTC", 60_000.0, 9_000.0), ("ETH", 2_500.0, 90_000.0), ("SOL", 120.0, 900_000.0), ("DOGE", 0.12, 4e8),
        ("ADA", 0.6, 2e7),
    ):  # fmt: skip
        add_coin(dataset, coin, price, volume, funding_hours=4 if coin in ("SOL", "DOGE") else 8)
    return dataset


def load(symbols: int = 100) -> Dataset:
    """Many symbols on four price paths, for load tests: SYM000USDT, X:SYM000USD, SYM000-USD, stock STK000."""
    dataset = Dataset("load", unlimited=True)
    for number in range(symbols):
        scratch = Dataset("scratch")
        add_coin(scratch, f"LOAD{number % 4}", 100.0 * (1 + number % 4), 50_000.0)
        coin = f"SYM{number:03d}"
        for mine, theirs, symbol in (
            (dataset.spot, scratch.spot, f"{coin}USDT"),
            (dataset.futures, scratch.futures, f"{coin}USDT"),
            (dataset.polygon, scratch.polygon, f"X:{coin}USD"),
            (dataset.yahoo, scratch.yahoo, f"{coin}-USD"),
        ):
            only = next(iter(theirs.values()))
            mine[symbol] = dataclasses.replace(only, symbol=symbol, base=coin, name=f"{coin} / US dollar (synthetic)")
        tape, name = SyntheticStock(f"LOAD{number % 4}", 50.0 * (1 + number % 4), 2e6), f"STK{number:03d}"
        dataset.polygon[name] = dataset.yahoo[name] = Instrument(
            name,
            f"Simulated {name} Inc. (synthetic)",
            "stock",
            (tape, RegularDays(tape)),
            synthetic=True,
            exchange="XNAS",
        )
    return dataset


def named(name: str, folder: Path | None = None) -> Dataset:
    """A data set by its name on the command line."""
    if name == "shared":
        return shared(folder or Path("../shared/data"))
    makers: dict[str, Callable[[], Dataset]] = {"demo": demo, "synthetic": synthetic, "load": load}
    if name not in makers:
        raise ValueError(f"there is no data set {name!r}: choose demo, shared, synthetic or load")
    return makers[name]()
