"""What the simulator serves: a Dataset holds the instruments of each provider and all else that it publishes.

``demo``: real daily stocks (the bokeh-sampledata wheel) and synthetic crypto. ``shared``: recorded market data in a
folder. ``synthetic``: generated stocks and crypto. ``load``: many symbols for load tests. Nothing generated goes
unmarked: names say "(synthetic)" and answers carry the header ``X-Simulator: synthetic``.
"""

from __future__ import annotations

import csv
import dataclasses
import datetime as dt
import functools
import gzip
import importlib.resources
import io
import itertools
import math
import zipfile
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from scripts.simulator.bars import DAY, HOUR, MINUTE, NEW_YORK, Bars, Interval, day_ms, to_utc
from scripts.simulator.calendar import nyse
from scripts.simulator.derivatives import Derivatives, Inflow
from scripts.simulator.instruments import Dividend, Instrument, Recorded, Source, Split
from scripts.simulator.synthetic import RegularDays, SyntheticMarket, SyntheticStock

DAILY, HOURLY, MINUTELY = Interval(1, "day"), Interval(1, "hour"), Interval(1, "minute")
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


@dataclasses.dataclass(frozen=True)
class RecordedChart:
    """A Yahoo chart answer as somebody received it."""

    symbol: str
    interval: str
    period1: int
    period2: int
    body: dict[str, Any]


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


def bokeh_stocks() -> Iterator[Instrument]:
    """Real daily stocks of the bokeh-sampledata wheel (BSD-3); splits and dividends follow from its Adj Close."""
    names = {
        "AAPL": "Apple Inc.", "IBM": "International Business Machines", "MSFT": "Microsoft Corp",
        "GOOG": "Google Inc.", "FB": "Facebook, Inc.",
    }  # fmt: skip
    packed = importlib.resources.files("bokeh_sampledata").joinpath("_data/stocks.csv.gz").read_bytes()
    rows = csv.DictReader(io.StringIO(gzip.decompress(packed).decode()))
    for symbol, group in itertools.groupby(rows, key=lambda row: row["Ticker"]):
        days = list(group)
        bars = stock_days(
            [(dt.date.fromisoformat(r["Date"]), r["Open"], r["High"], r["Low"], r["Close"], r["Volume"]) for r in days]
        )
        splits, dividends = [], []
        for before, day in itertools.pairwise(days):
            step = (float(day["Adj Close"]) / float(day["Close"])) / (
                float(before["Adj Close"]) / float(before["Close"])
            )
            date = dt.date.fromisoformat(day["Date"])
            if step > 1.4:
                splits.append(Split(date, 1, round(step)))
            elif step > 1.0002:
                amount = round(float(before["Close"]) * (1 - 1 / step), 2)
                dividends.append(Dividend(date, Decimal(f"{amount:.2f}")))
        yield Instrument(
            symbol, names[symbol], "stock", (Recorded(DAILY, bars, f"bokeh:{symbol}"),),
            tuple(splits), tuple(dividends), exchange="XNYS" if symbol == "IBM" else "XNAS",
        )  # fmt: skip


def stock_days(rows: Iterable[tuple[dt.date, str, str, str, str, str]]) -> Bars:
    """Daily bars of a stock, stamped at 00:00 New York, from decimal texts (at most 4 places; volume in shares)."""
    days = list(rows)
    dates = np.array([day_ms(row[0]) for row in days])
    opened, high, low, close = (np.array([_scaled(str(row[i]), 4) for row in days]) for i in range(1, 5))
    volume = np.array([_scaled(row[5], 0) for row in days])
    return Bars(to_utc(dates, NEW_YORK), opened, high, low, close, volume, price_scale=4, volume_scale=0)


def _scaled(text: str, places: int) -> int:
    value = Decimal(text).scaleb(places)
    if value != int(value):
        raise ValueError(f"{text} has more than {places} decimal places")
    return int(value)


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


def lean_stock(folder: Path, symbol: str, name: str, security: str) -> Instrument:
    """As-traded bars in Lean's format (price x 10000, New York time), splits and dividends from its factor file."""
    lower = symbol.lower()
    sources: list[Source] = []
    for directory, interval in (("daily", DAILY), ("hour", HOURLY)):
        if (path := folder / directory / f"{lower}.zip").exists():
            rows = [line.split(",") for line in _unzip(path)]
            stamps = [dt.datetime.strptime(row[0], "%Y%m%d %H:%M") for row in rows]
            local = np.array([day_ms(s.date()) + s.hour * HOUR + s.minute * MINUTE for s in stamps])
            sources.append(Recorded(interval, _lean_bars(local, rows), f"lean:{symbol}:{directory}"))
    minutes = []
    for path in sorted((folder / "minute" / lower).glob("*_trade.zip")):
        rows = [line.split(",") for line in _unzip(path)]
        day = day_ms(dt.datetime.strptime(path.name[:8], "%Y%m%d").date())
        minutes.append(_lean_bars(np.array([day + int(row[0]) for row in rows]), rows))
    if minutes:
        sources.append(Recorded(MINUTELY, Bars.concatenate(minutes), f"lean:{symbol}:minute"))
    factors = folder / "factor_files" / f"{lower}.csv"
    splits, dividends = lean_factors(factors) if factors.exists() else ((), ())
    return Instrument(
        symbol, name, "stock", tuple(sources), splits, dividends,
        exchange="XNAS" if symbol == "AAPL" else "ARCX", security=security,
    )  # fmt: skip


def _lean_bars(local: np.ndarray, rows: list[list[str]]) -> Bars:
    table = np.array([[int(float(cell)) for cell in row[1:6]] for row in rows])
    opened, high, low, close, volume = (table[:, i].copy() for i in range(5))
    return Bars(to_utc(local, NEW_YORK), opened, high, low, close, volume, price_scale=4, volume_scale=0)


def lean_factors(path: Path) -> tuple[tuple[Split, ...], tuple[Dividend, ...]]:
    """Splits and dividends of a Lean factor file.

    A row (date, price factor, split factor, close) holds up to its date; the event is on the next session, to which
    the ratio of neighbouring factors belongs. Dividends are rounded to a tenth of a cent: the factors keep no more.
    """
    rows = [line.split(",") for line in path.read_text().split() if line]
    splits, dividends = [], []
    for this, following in itertools.pairwise(rows):
        last = dt.datetime.strptime(this[0], "%Y%m%d").date()
        if following is rows[-1] and this[1:3] == following[1:3]:
            continue
        ratio = float(following[2]) / float(this[2])
        if ratio > 1.001:
            splits.append(Split(next_session(last), 1, round(ratio)))
        price = float(this[1]) / float(following[1])
        if price < 0.9999 and float(this[3]) > 1:
            dividends.append(Dividend(next_session(last), Decimal(f"{float(this[3]) * (1 - price):.3f}")))
    return tuple(splits), tuple(dividends)


def next_session(day: dt.date) -> dt.date:
    """The first session of the New York Stock Exchange after a day."""
    return nyse().date_to_session((day + dt.timedelta(days=1)).isoformat(), direction="next").date()


def _unzip(path: Path) -> list[str]:
    with zipfile.ZipFile(path) as archive:
        return (
            archive.read(archive.namelist()[0])
            .decode()
            .split("\n" if b"\r" not in archive.read(archive.namelist()[0]) else "\r\n")
        )


def binance_minutes(folder: Path) -> Bars:
    """Spot archive days as published (zip of CSV, no header)."""
    return kline_csv([line for path in sorted(folder.glob("*.zip")) for line in _unzip(path) if line], 8, 8, 8)


def kline_csv(lines: Iterable[str], price: int, volume: int, quote: int) -> Bars:
    """The 12 columns of a Binance klines CSV, with the decimal places of its prices, volumes and quote volumes."""
    rows = [line.split(",") for line in lines]

    def column(index: int, places: int) -> np.ndarray:
        return np.array([_scaled(row[index], places) for row in rows])

    return Bars(
        time=column(0, 0), open=column(1, price), high=column(2, price), low=column(3, price), close=column(4, price),
        volume=column(5, volume), price_scale=price, volume_scale=volume, quote=column(7, quote), trades=column(8, 0),
        taker_base=column(9, volume), taker_quote=column(10, quote), quote_scale=quote,
    )  # fmt: skip


def basana_days(path: Path) -> Bars:
    """Daily spot bars without the exchange's quote and taker columns: they are served as 0."""
    rows = [line.split(",") for line in path.read_text().split("\n")[1:] if line]
    opened, high, low, close, volume = (np.array([_scaled(row[i], 8) for row in rows]) for i in range(1, 6))
    zeros = np.zeros(len(rows), np.int64)
    time = np.array([day_ms(dt.date.fromisoformat(row[0][:10])) for row in rows])
    return Bars(time, opened, high, low, close, volume, 8, 8, zeros, zeros, zeros, zeros)


def recorded_chart(path: Path) -> Iterator[RecordedChart]:
    """A recorded Yahoo chart answer with the request it answered; other recordings are left out."""
    from urllib.parse import parse_qs, urlsplit

    record = orjson.loads(path.read_bytes())
    url = urlsplit(record["request"]["url"])
    body = record["response"].get("bodyJson")
    query = {key: values[0] for key, values in parse_qs(url.query).items()}
    if body and "period1" in query and (result := (body.get("chart") or {}).get("result")):
        yield RecordedChart(
            result[0]["meta"]["symbol"], query["interval"], int(query["period1"]), int(query["period2"]), body
        )


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
    for symbol, price, volume, splits, gone in stocks:
        tape = SyntheticStock(
            symbol, price, volume, tuple((day_ms(s.effective), s.new / s.old) for s in splits),
            last_day=day_ms(gone) // DAY if gone else None,
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
            synthetic=True, exchange="XNAS", delisted=gone,
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
