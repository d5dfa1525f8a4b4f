"""The promises of market_data_v2 and of its legacy view, on a built warehouse: kept as built, and each break is found.

Data flow: bars of a coin and of a stock -> dbt build -> assert_market_data_invariants, after each corruption.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import psycopg
import pytest

from tests.dbt.test_bars import run_of, stock_bars
from tests.warehouse import MakeWarehouse, Warehouse, crypto, stock

PROMISES = "assert_market_data_invariants"
COIN = "symbol = 'BTC' and timeframe = '1h'"
STOCK = "symbol = 'AAPL' and timeframe = '1d'"
BREAKS = {
    "an unknown class": (COIN, "asset_class = 'coin'", "the class is known"),
    "an unknown source": (COIN, "source = 'bloomberg'", "the source is known"),
    "a session of another month": (STOCK, "session_date = session_date + 30", "the day is the local date of the bar"),
    "a high below its low": (STOCK, "high = low - 1", "a validated bar passes the hard checks"),
    "a missing price": (STOCK, "open = null", "a validated bar passes the hard checks"),
    "more bought than traded": (COIN, "taker_buy_volume = volume + 1", "a validated bar passes the hard checks"),
    "a return beyond bounds": (COIN, "return_1h = 6", "a validated row passes the row checks"),
    "a low score": (COIN, "quality_score = 0.5", "a validated row reaches the thresholds"),
    "a score above 1": (COIN, "quality_score = 1.5", "scores lie between 0 and 1"),
    "a feature of an invalid bar": (COIN, "hlc3 = null", "a bar without typical price is invalid and has no feature"),
    "a coin's fact on a stock": (STOCK, "funding_rate = 0", "only crypto has crypto values"),
    "a share above 1": (COIN, "buy_sell_ratio = 1.5", "buy_sell_ratio lies in its range"),
    "a negative spread": (COIN, "atr = -1", "atr lies in its range"),
    "a trend without averages": (COIN, "sma_50 = null, trend_direction = 'up'", "the trend follows from its averages"),
    "an unknown trend": (COIN, "trend_direction = 'sideways'", "trend_direction is a known word"),
    "volumes that do not add up": (COIN, "taker_sell_volume = 0.5", "buy and sell make the volume"),
    "a delta of its own": (COIN, "delta = delta + 1", "delta is buy less sell"),
    "one side watched": (COIN, "liquidations_long = 1", "liquidations of both sides are watched together"),
    "an anomaly without a spike": (COIN, "volume_anomaly = true, volume_spike_score = 1", "an anomaly is a spike"),
    "an hourly return of a day": (STOCK, "return_1h = 0", "no bar is too long for its return_1h"),
    "an amendment without a revision": (COIN, "amended_from = 1", "revisions count from 1"),
}
# The old table, as the system before this one created it: names, order and types that its readers know.
LEGACY_COLUMNS = [
    ("time", "timestamp with time zone"),
    ("symbol", "character varying(20)"),
    ("open", "numeric(19,8)"),
    ("high", "numeric(19,8)"),
    ("low", "numeric(19,8)"),
    ("close", "numeric(19,8)"),
    ("volume", "bigint"),
    ("source", "character varying(20)"),
    ("validated", "boolean"),
    ("quality_score", "numeric(3,2)"),
    ("validation_notes", "text"),
    ("gap_detected", "boolean"),
    ("volume_anomaly", "boolean"),
    ("fetched_at", "timestamp with time zone"),
]


@pytest.fixture(scope="module")
def built(make_warehouse: MakeWarehouse) -> Warehouse:
    warehouse = make_warehouse("promises", described=True)
    warehouse.assets([crypto("BTC", "1h"), stock("AAPL", "1d")])
    warehouse.load_bars("binance", "BTC", "1h", run_of(datetime(2024, 3, 1, tzinfo=UTC), 80, "1h"))
    warehouse.load_bars("polygon", "AAPL", "1d", stock_bars("1d", date(2024, 1, 2), date(2024, 4, 30)))
    warehouse.build("+market_data")
    warehouse.build(PROMISES, tests=True, command="compile")
    return warehouse


def broken_invariants(warehouse: Warehouse, *statements: str) -> set[str]:
    """What the test finds after the statements; they are undone."""
    compiled = next((warehouse.project.directory / "target" / "compiled").rglob(f"{PROMISES}.sql")).read_text()
    with psycopg.connect(warehouse.database.dsn) as connection:
        for statement in statements:
            assert connection.execute(statement.encode()).rowcount == 1
        rows = connection.execute(compiled.encode()).fetchall()
        connection.rollback()
    return {promise for row in rows for promise in row[-1].split("; ")}


def test_a_built_warehouse_keeps_every_promise(built: Warehouse) -> None:
    count = built.query("select count(*) as bars, count(trend_direction) as warm from marts.market_data_v2")[0]
    assert count["bars"] > 160 and count["warm"] > 30
    assert broken_invariants(built) == set()


@pytest.mark.parametrize(("where", "change", "promise"), BREAKS.values(), ids=BREAKS)
def test_a_broken_promise_is_named(built: Warehouse, where: str, change: str, promise: str) -> None:
    newest = f"select id from marts.market_data_v2 where {where} order by timestamp desc limit 1"
    found = broken_invariants(built, f"update marts.market_data_v2 set {change} where id = ({newest})")
    assert promise in found


def test_rows_of_earlier_runs_are_not_judged_again(built: Warehouse) -> None:
    newest = f"select id from marts.market_data_v2 where {COIN} order by timestamp desc limit 1"
    change = "buy_sell_ratio = 1.5, updated_at = updated_at - interval '3 days', computed_at = computed_at - interval '3 days'"
    assert broken_invariants(built, f"update marts.market_data_v2 set {change} where id = ({newest})") == set()


def test_legacy_view_has_the_old_tables_columns(built: Warehouse) -> None:
    columns = built.query(
        "select attname, format_type(atttypid, atttypmod) as type from pg_attribute"
        " where attrelid = cast('marts.market_data_legacy' as regclass) and attnum > 0 order by attnum"
    )
    assert [(column["attname"], column["type"]) for column in columns] == LEGACY_COLUMNS


def test_legacy_view_is_the_days_of_market_data(built: Warehouse) -> None:
    days = built.query("select * from marts.market_data_v2 where timeframe = '1d' order by symbol, timestamp")
    legacy = built.query("select * from marts.market_data_legacy order by symbol, time")
    assert {row["symbol"] for row in legacy} == {"AAPL", "BTC"}
    assert [(row["symbol"], row["time"], row["close"], row["validated"]) for row in legacy] == [
        (row["symbol"], row["timestamp"], round(row["close"], 8), row["is_validated"]) for row in days
    ]
    half = Decimal("0.5")
    assert all(abs(old["volume"] - new["volume"]) <= half for old, new in zip(legacy, days, strict=True))


def test_descriptions_are_in_the_database(built: Warehouse) -> None:
    """What `\\d+` shows: the definition of every column, as the docs site does."""
    comments = built.query(
        "select attname, col_description(attrelid, attnum) as text from pg_attribute"
        " where attrelid = cast('marts.market_data_v2' as regclass) and attnum > 0 and not attisdropped"
    )
    assert [comment["attname"] for comment in comments if not comment["text"]] == []
    atr = next(comment["text"] for comment in comments if comment["attname"] == "atr")
    assert "**Formula:**" in atr and "Wilder" in atr
    before_rounding = built.query(
        "select col_description(attrelid, attnum) as text from pg_attribute"
        " where attrelid = cast('intermediate.int_features' as regclass) and attname = 'atr'"
    )
    assert before_rounding == [{"text": atr}], "features are described once, in the contract"
