"""Bars from files that others publish: Lean's stocks, Binance's archive, recorded charts, sample data of libraries."""

from __future__ import annotations

import csv
import dataclasses
import datetime as dt
import gzip
import importlib.resources
import io
import itertools
import zipfile
from collections.abc import Iterable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from scripts.simulator.bars import HOUR, MINUTE, NEW_YORK, Bars, Interval, day_ms, to_utc
from scripts.simulator.calendar import nyse
from scripts.simulator.instruments import Dividend, Instrument, Recorded, Source, Split

DAILY, HOURLY, MINUTELY = Interval(1, "day"), Interval(1, "hour"), Interval(1, "minute")


@dataclasses.dataclass(frozen=True)
class RecordedChart:
    """A Yahoo chart answer as somebody received it."""

    symbol: str
    interval: str
    period1: int
    period2: int
    body: dict[str, Any]


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
