"""Splits that come in series or inside a week, and series that leave the registry: found by review, each once wrong."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from tests import payloads
from tests.dbt.test_incremental_equals_full import rows_of
from tests.oracle.bars import Bar
from tests.warehouse import Answer, Warehouse, crypto, stock

SELECTED = "+market_data_v2"
EVER = (datetime(1970, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC))
HOUR = timedelta(hours=1)
# 13 reverse splits, as serial diluters make them: 3e-15 of a share is left of one.
REVERSE_SPLITS = {
    date(2008, 3, 20): (1, 3), date(2011, 6, 24): (1, 10), date(2014, 4, 21): (1, 7), date(2016, 2, 22): (1, 10),
    date(2017, 5, 11): (1, 20), date(2017, 6, 23): (1, 15), date(2017, 8, 3): (1, 30), date(2017, 10, 6): (1, 2),
    date(2018, 3, 26): (1, 10), date(2019, 8, 22): (1, 20), date(2020, 8, 10): (1, 25), date(2022, 9, 23): (1, 20),
    date(2023, 9, 29): (1, 12),
}  # fmt: skip


def flat(opened: datetime, price: int | Decimal, spread: int = 3) -> Bar:
    at = Decimal(price)
    return Bar(opened, at, at + spread, at - spread, at, Decimal(1000), None)


def told(splits: dict[date, tuple[int, int]], symbol: str) -> Answer:
    return Answer("splits", symbol, payloads.polygon_splits(splits), window=EVER)


def test_old_reverse_splits_change_no_feature(warehouse: Warehouse) -> None:
    """Features are in the shares of their bar: 13 splits before the first bar leave them as they are without."""
    warehouse.now = datetime(2025, 6, 7, 12, tzinfo=UTC)
    warehouse.assets([stock("THIN", "1d"), stock("SOLID", "1d")])
    days = [datetime(2025, 4, 21, 4, tzinfo=UTC) + timedelta(days=n) for n in range(47)]
    bars = [
        flat(day, 100 + 7 * (n % 5))
        for n, day in enumerate(days)
        if day.weekday() < 5 and day.date() != date(2025, 5, 26)
    ]
    for symbol in ("THIN", "SOLID"):
        warehouse.load_bars("polygon", symbol, "1d", bars)
    warehouse.load("polygon", told(REVERSE_SPLITS, "THIN"))
    warehouse.build(SELECTED)
    features = (
        "timestamp, open, close, return_1d, log_return, volatility_20, round(atr, 8) as atr, true_range, hlc3, sma_20,"
        " vwap_20, trend_direction, market_structure, round(rolling_volume_20, 4) as rolling_volume_20, is_validated"
    )
    thin, solid = (
        warehouse.query(
            f"select {features} from marts.market_data_v2 where symbol = %s and timeframe = '1d' order by timestamp",
            symbol,
        )
        for symbol in ("THIN", "SOLID")
    )
    assert len(solid) == len(bars) > 25 and solid[-1]["sma_20"] is not None
    assert thin == solid
    (factor,) = warehouse.query("select distinct split_factor from marts.market_data_v2 where symbol = 'THIN'")
    assert 0 < factor["split_factor"] < Decimal("1e-12")


def test_an_adjusted_price_above_what_fits_is_brought_back_to_what_was_paid(warehouse: Warehouse) -> None:
    """Yahoo's UVXY of 2011 stands at 2e9, adjusted for ten reverse splits; a price that was never one is rejected."""
    warehouse.now = datetime(2011, 10, 20, tzinfo=UTC)
    warehouse.assets([stock("UVXY", "1d")])
    ratio = 5 * 10**7
    first = datetime(2011, 10, 4, 4, tzinfo=UTC)
    adjusted = [flat(first + n * timedelta(days=1), (40 + n) * ratio, spread=3 * ratio) for n in range(3)]
    # After the split: too much, far below nothing, and what would round to too much.
    prices = [Decimal(10**12), Decimal(-5 * 10**9), Decimal("999999999.99997")]
    odd = [flat(first + timedelta(days=7 + n), price) for n, price in enumerate(prices)]
    warehouse.load_bars("yahoo", "UVXY", "1d", [*adjusted, *odd])
    warehouse.load("polygon", told({date(2011, 10, 7): (1, 10_000), date(2011, 10, 10): (1, ratio // 10_000)}, "UVXY"))
    warehouse.build(SELECTED)
    found = warehouse.query(
        "select close, volume, is_validated from marts.market_data_v2 where timeframe = '1d' order by timestamp"
    )
    assert [row["close"] for row in found[:3]] == [40, 41, 42] and all(row["is_validated"] for row in found[:3])
    assert [(row["close"], row["is_validated"]) for row in found[3:]] == [(None, False)] * 3


def test_a_week_with_a_split_inside_is_made_of_days(warehouse: Warehouse) -> None:
    """Polygon's week opens in old shares and closes in new ones; a week of one basis stands as it was told."""
    warehouse.now = datetime(2022, 9, 10, 12, tzinfo=UTC)
    warehouse.assets([stock("ACME", "1d 1w")])
    monday = datetime(2022, 8, 15, 4, tzinfo=UTC)
    days = [monday + timedelta(days=n) for n in range(19) if n % 7 < 5]
    split_on = date(2022, 8, 25)
    warehouse.load_bars("polygon", "ACME", "1d", [flat(day, 900 if day.date() < split_on else 300) for day in days])
    weeks = [flat(monday, 900), flat(monday + timedelta(days=7), 900), flat(monday + timedelta(days=14), 300)]
    weeks[1] = Bar(weeks[1].timestamp, Decimal(900), Decimal(903), Decimal(297), Decimal(300), Decimal(5000), None)
    warehouse.load_bars("polygon", "ACME", "1w", weeks)
    warehouse.load("polygon", told({split_on: (3, 1)}, "ACME"))
    warehouse.build(SELECTED)
    found = warehouse.query(
        "select open, close, split_factor, log_return, validation_notes from marts.market_data_v2"
        " where timeframe = '1w' order by timestamp"
    )
    assert [(row["open"], row["close"], row["split_factor"], row["log_return"]) for row in found] == [
        (900, 900, 1, None),
        (300, 300, 3, 0),
        (300, 300, 3, 0),
    ]
    assert [row["validation_notes"] for row in found] == [None, "resampled from 1d", None]


def test_what_leaves_the_registry_leaves_the_mart(warehouse: Warehouse) -> None:
    """A timeframe is taken off, an asset, the settings name another source first, each of a coin of its own: without a new
    load, too, an incremental build comes to what a full refresh does."""
    warehouse.now = datetime(2025, 6, 10, 12, 22, tzinfo=UTC)
    start = datetime(2025, 6, 9, tzinfo=UTC)
    registry = {
        "BTC": crypto("BTC", "5m 1h"),
        "ETH": crypto("ETH", "1h"),
        "LTC": crypto("LTC", "1h", source_priority=""),
        "XRP": crypto("XRP", "1h"),
    }
    warehouse.environment["FALLBACK_SOURCE_PRIORITY"] = "polygon,binance,yahoo"
    warehouse.assets(list(registry.values()))
    warehouse.load_bars("binance", "BTC", "5m", [flat(start + n * HOUR / 12, 100 + n % 7) for n in range(150)])
    for symbol in registry:
        warehouse.load_bars("binance", symbol, "1h", [flat(start + n * HOUR, 100 + n % 7) for n in range(30)])
        warehouse.load_bars("polygon", symbol, "1h", [flat(start + n * HOUR, 200 + n % 7) for n in range(30)])
    sources = (
        "select symbol, timeframe, min(source) as first, max(source) as last from marts.market_data_v2 group by 1, 2"
    )

    def held() -> dict[tuple[str, str], tuple[str, str]]:
        found = warehouse.query(sources)
        return {(row["symbol"], row["timeframe"]): (row["first"], row["last"]) for row in found}

    warehouse.build(SELECTED)
    before = held()
    assert before["BTC", "5m"] == before["ETH", "1h"] == ("binance", "binance") and before["LTC", "1h"][0] == "polygon"
    registry["BTC"]["timeframes"] = "1h"
    del registry["ETH"]
    warehouse.environment["FALLBACK_SOURCE_PRIORITY"] = "binance,polygon,yahoo"
    warehouse.assets(list(registry.values()))
    warehouse.build(SELECTED)
    incremental = rows_of(warehouse, "marts.market_data_v2")
    after = held()
    assert after["LTC", "1h"] == ("binance", "binance") and after["XRP", "1h"] == before["XRP", "1h"]
    assert ("BTC", "5m") not in after and "ETH" not in {symbol for symbol, _ in after}
    warehouse.build(SELECTED, full_refresh=True)
    assert incremental == rows_of(warehouse, "marts.market_data_v2")
