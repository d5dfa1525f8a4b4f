"""What market_data_v2 holds against the independent reference, series by series; and real bars as plain ones."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd

from scripts.site.reference_formulas import FEATURES, RAW, STEP, compare, features, taken_at
from tests.oracle.bars import Bar, sessions
from tests.oracle.real_data import NEW_YORK, lean_daily, lean_splits
from tests.warehouse import Warehouse

BAR_COLUMNS = (
    "timestamp", "close_time", "session_date", "open", "high", "low", "close", "volume", "taker_buy_volume",
    "split_factor", "is_valid",
)  # fmt: skip


@dataclass(eq=False)
class Derivatives:
    """A coin's synthetic samples, as frames for the oracle, and how many coins its contract is on. `sampled_at` holds labels
    of five minutes, as Binance gives them."""

    funding: pd.DataFrame
    open_interest: pd.DataFrame
    long_short: pd.DataFrame
    liquidations: pd.DataFrame
    watched: pd.DataFrame
    inflow: pd.DataFrame
    contract_coins: Decimal = Decimal(1)

    def known(self) -> dict[str, Any]:
        """The arguments of features(): samples at the times at which they were taken."""
        named = {field.name: getattr(self, field.name) for field in fields(self)}
        for name in ("open_interest", "long_short"):
            named[name] = named[name].assign(sampled_at=[taken_at(t, STEP["5m"]) for t in named[name]["sampled_at"]])
        return named


def lean_bars(shared_data: Path, symbol: str) -> list[Bar]:
    frame = lean_daily(shared_data, symbol)
    return [
        Bar(row["timestamp"].to_pydatetime(), row["open"], row["high"], row["low"], row["close"], row["volume"])
        for row in frame.to_dict("records")
    ]


def lean_hours(shared_data: Path, symbol: str, first: str, last: str) -> list[Bar]:
    """Hours on the clock (09:00 holds 09:30 to 10:00), as Polygon gives them; `first` and `last` as YYYYMMDD."""
    with zipfile.ZipFile(shared_data / f"lean/equity/usa/hour/{symbol}.zip") as archive:
        lines = io.StringIO(archive.read(f"{symbol}.csv").decode())
    bars = []
    for stamp, *numbers in csv.reader(lines):
        if first <= stamp[:8] <= last:
            opened = datetime.strptime(stamp, "%Y%m%d %H:%M").replace(tzinfo=NEW_YORK).astimezone(UTC)
            o, h, low, c = (Decimal(number) / 10000 for number in numbers[:4])
            bars.append(Bar(opened, o, h, low, c, Decimal(numbers[4])))
    return bars


def ex_dates(shared_data: Path, symbol: str) -> dict[date, tuple[int, int]]:
    """The session after the last one of the old shares -> (new, old)."""
    out = {}
    for last_old, ratio in lean_splits(shared_data, symbol).items():
        following = sessions("XNYS", last_old + timedelta(days=1), last_old + timedelta(days=10))
        out[following[0].session_date] = (ratio, 1)
    return out


def series_of(warehouse: Warehouse) -> list[dict[str, Any]]:
    return warehouse.query(
        "select series.symbol, series.asset_class, series.timeframe, count(*) as bars"
        " from marts.market_data_v2 as bars"
        " inner join intermediate.int_series as series using (symbol, asset_class, timeframe)"
        " group by series.symbol, series.asset_class, series.timeframe, series.step_minutes"
        " order by series.symbol, series.step_minutes"
    )


def stored(warehouse: Warehouse, symbol: str, timeframe: str) -> pd.DataFrame:
    return warehouse.frame(
        "select mart.*, bars.closed_at as close_time, bars.is_valid"
        " from marts.market_data_v2 as mart"
        " inner join intermediate.int_series as series using (symbol, asset_class, timeframe)"
        " inner join intermediate.int_bars as bars"
        "   on bars.series_id = series.series_id and bars.opened_at = mart.timestamp"
        " where mart.symbol = %s and mart.timeframe = %s order by mart.timestamp",
        symbol,
        timeframe,
    )


@lru_cache
def reference(bars: str, timeframe: str, asset_class: str, data: Derivatives | None) -> pd.DataFrame:
    """features() of these bars (JSON of the columns it reads); remembered, since it takes seconds a series."""
    frame = pd.DataFrame(json.loads(bars), columns=list(BAR_COLUMNS))
    return features(frame, timeframe=timeframe, asset_class=asset_class, **(data.known() if data else {}))


def types_of(warehouse: Warehouse) -> dict[str, str]:
    """The types that the mart gives the features and what stands next to them."""
    rows = warehouse.query(
        "select attname as name, format_type(atttypid, atttypmod) as type from pg_attribute"
        " where attrelid = 'marts.market_data_v2'::regclass and attnum > 0"
    )
    found = {row["name"]: row["type"] for row in rows}
    return {name: found[name] for name in (*FEATURES, *RAW)}


def reports(warehouse: Warehouse, derivatives: Mapping[str, Derivatives]) -> pd.DataFrame:
    """compare() of every series, one row per series and feature."""
    types = types_of(warehouse)
    out = []
    for series in series_of(warehouse):
        frame = stored(warehouse, series["symbol"], series["timeframe"])
        data = derivatives.get(series["symbol"])
        bars = json.dumps(frame[list(BAR_COLUMNS)].to_numpy().tolist(), default=str)
        expected = reference(bars, series["timeframe"], series["asset_class"], data)
        report = compare(frame, expected, types).reset_index()
        out.append(report.assign(series=f"{series['symbol']} {series['timeframe']}"))
    return pd.concat(out)


def summary(report: pd.DataFrame) -> str:
    """The largest error of each feature over all series; units = units of the column's last digit."""
    table = report.groupby("feature", sort=False).agg(
        bars=("bars", "sum"),
        filled=("filled", "sum"),
        null_mismatches=("null_mismatches", "sum"),
        value_mismatches=("value_mismatches", "sum"),
        max_relative_error=("max_relative_error", "max"),
        max_unit_error=("max_unit_error", "max"),
    )
    return table.to_string(float_format=lambda number: f"{number:.2g}")
