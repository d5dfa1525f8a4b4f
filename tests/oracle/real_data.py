"""Real series from ../shared/data as frames for features() and as bars for resample(). Sources: see INDEX.csv there."""

from __future__ import annotations

import csv
import io
import zipfile
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import pandas as pd

from .bars import Bar

NEW_YORK = ZoneInfo("America/New_York")


def lean_splits(shared_data: Path, symbol: str) -> dict[date, int]:
    """Split ratio by the last session before the ex-date, from QuantConnect's factor file."""
    with (shared_data / f"lean/equity/usa/factor_files/{symbol}.csv").open() as file:
        rows = [(datetime.strptime(row[0], "%Y%m%d").date(), float(row[2])) for row in csv.reader(file)]
    pairs = pairwise(rows)
    return {day: round(later / factor) for (day, factor), (_, later) in pairs if round(later / factor) != 1}


def lean_daily(shared_data: Path, symbol: str) -> pd.DataFrame:
    """Daily bars 1998-01-02 to 2021-03-31 as traded, stamped 00:00 New York, with forward-cumulative split_factor."""
    splits = lean_splits(shared_data, symbol)
    rows = []
    with zipfile.ZipFile(shared_data / f"lean/equity/usa/daily/{symbol}.zip") as archive:
        lines = archive.read(f"{symbol}.csv").decode().splitlines()
    factor = 1
    for stamp, *numbers in csv.reader(lines):
        day = datetime.strptime(stamp, "%Y%m%d %H:%M").replace(tzinfo=NEW_YORK)
        prices = [Decimal(number) / 10000 for number in numbers[:4]]
        rows.append((day.astimezone(UTC), day.date(), *prices, Decimal(numbers[4]), factor))
        factor *= splits.get(day.date(), 1)
    columns = ["timestamp", "session_date", "open", "high", "low", "close", "volume", "split_factor"]
    return pd.DataFrame(rows, columns=columns)


def binance_hourly(shared_data: Path) -> pd.DataFrame:
    """BTCUSDT USD-M, 744 hourly bars of 2026-07, with taker volumes."""
    frame = pd.read_csv(shared_data / "binance/um_klines_flukedev/BTCUSDT_1h.csv", dtype=str)
    frame["timestamp"] = pd.to_datetime(frame["open_time"].astype("int64"), unit="ms", utc=True)
    return frame[["timestamp", "open", "high", "low", "close", "volume", "taker_buy_volume"]]


def binance_minutes(shared_data: Path) -> list[Bar]:
    """BTCUSDT spot, 4320 minute bars of 2020-01-01 to 2020-01-03."""
    bars = []
    for day in ("2020-01-01", "2020-01-02", "2020-01-03"):
        name = f"BTCUSDT-1m-{day}"
        with zipfile.ZipFile(shared_data / f"binance/vision_spot_1m_lostleaf/{name}.zip") as archive:
            lines = io.StringIO(archive.read(f"{name}.csv").decode())
        for row in csv.reader(lines):
            opened = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=int(row[0]))
            o, h, low, c, volume, taker = (Decimal(text) for text in (*row[1:6], row[9]))
            bars.append(Bar(opened, o, h, low, c, volume, taker))
    return bars


def binance_daily_2020(shared_data: Path) -> dict[date, tuple[Decimal, ...]]:
    """BTCUSDT spot days of 2020 as the exchange gave them: date -> open, high, low, close, volume."""
    with (shared_data / "binance/basana/binance_btcusdt_day_2020.csv").open() as file:
        rows = list(csv.reader(file))[1:]
    return {datetime.fromisoformat(row[0]).date(): tuple(Decimal(text) for text in row[1:6]) for row in rows}
