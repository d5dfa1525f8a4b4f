"""The registry, the calendars and the settings change under bars that are there: an increment still equals a full refresh.

Each of these was once wrong: extract told the days of a stock before it was listed, and only a full refresh read them.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from tests import payloads
from tests.dbt.test_incremental_equals_full import COMPARED, Rows, rows_of
from tests.oracle.bars import Bar
from tests.warehouse import Answer, Warehouse, bar_answer, crypto, stock

SELECTED = "+market_data_v2 +rejected_bars +unfinished_bars +source_reconciliation +data_quality_metrics"
RELATIONS = [*COMPARED, "marts.data_quality_metrics"]
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
START = datetime(2025, 6, 9, tzinfo=UTC)  # a Monday
NEW_YORK_MIDNIGHT = timedelta(hours=4)


def flat(opened: datetime, price: int, spread: int = 3) -> Bar:
    at = Decimal(price)
    return Bar(opened, at, at + spread, at - spread, at, Decimal(1000), None)


def hours(count: int, price: int = 100) -> list[Bar]:
    return [flat(START + n * HOUR, price + n % 7) for n in range(count)]


def trading_days(first: date, last: date, price: int = 100) -> list[Bar]:
    days = [first + n * DAY for n in range((last - first).days + 1)]
    return [
        flat(datetime(day.year, day.month, day.day, tzinfo=UTC) + NEW_YORK_MIDNIGHT, price + day.day)
        for day in days
        if day.weekday() < 5
    ]


def whole_market(day: date, prices: dict[str, int]) -> Answer:
    """A day of all stocks."""
    opened = datetime(day.year, day.month, day.day, tzinfo=UTC) + NEW_YORK_MIDNIGHT
    payload = payloads.polygon_grouped(
        {ticker: flat(opened, price) for ticker, price in prices.items()}, opened + 16 * HOUR
    )
    return Answer("grouped_daily", None, payload, "1d", (opened, opened + DAY))


def everything(warehouse: Warehouse) -> dict[str, Rows]:
    return {relation: rows_of(warehouse, relation) for relation in RELATIONS}


def increment_equals_full_refresh(warehouse: Warehouse) -> dict[str, Rows]:
    """Build without and with --full-refresh; returns what both came to."""
    warehouse.build(SELECTED)
    return equals_full_refresh(warehouse)


def equals_full_refresh(warehouse: Warehouse) -> dict[str, Rows]:
    """Build with --full-refresh what was built without; returns what both came to."""
    incremental = everything(warehouse)
    warehouse.build(SELECTED, full_refresh=True)
    full = everything(warehouse)
    for relation in RELATIONS:
        only_incremental, only_full = incremental[relation] - full[relation], full[relation] - incremental[relation]
        assert not only_incremental and not only_full, (
            f"{relation}: only incremental {list(only_incremental)[:2]}, only full {list(only_full)[:2]}"
        )
    return full


def bars_of(warehouse: Warehouse, symbol: str, timeframe: str) -> list[dict[str, Any]]:
    return warehouse.query(
        "select * from marts.market_data_v2 where symbol = %s and timeframe = %s order by timestamp", symbol, timeframe
    )


def test_what_was_told_before_a_series_was_asked_for(warehouse: Warehouse) -> None:
    """Days of the whole market hold a stock that joins later; bars of a timeframe that comes back are read again."""
    warehouse.now = datetime(2025, 6, 14, 12, tzinfo=UTC)
    registry = {
        "KEPT": stock("KEPT", "1d"),
        "SHORT": stock("SHORT", "1d", active_from="2025-06-11"),
        "OTHER": stock("OTHER", "1d", polygon="OTHR"),
        "BTC": crypto("BTC", "5m 1h"),
        "ETH": crypto("ETH", "1h"),
        "LTC": crypto("LTC", "1h", source_priority=""),
        "WEEKS": stock("WEEKS", "1w"),
        "HOURS": stock("HOURS", "1h"),
    }
    warehouse.assets(list(registry.values()))
    told = {"KEPT": 10, "SHORT": 20, "NEW": 30, "OTHR": 40, "WAS": 50, "WEEKS": 60}
    for n in range(5):
        day = START.date() + n * DAY
        warehouse.load("polygon", whole_market(day, {ticker: price + n for ticker, price in told.items()}))
    warehouse.load_bars("binance", "BTC", "5m", [flat(START + n * HOUR / 12, 100 + n % 7) for n in range(60)])
    for symbol in ("BTC", "ETH", "LTC"):
        warehouse.load_bars("binance", symbol, "1h", hours(30))
    opens = [START + n * DAY + 13 * HOUR + HOUR / 2 for n in range(4)]
    warehouse.load_bars("yahoo", "HOURS", "1h", [flat(at + n * HOUR, 70 + n) for at in opens for n in range(7)])
    # A load of an earlier hour than all others is committed late.
    early = Bar(START - 2 * DAY, *(Decimal(90),) * 4, Decimal(1), None)
    answer = bar_answer("binance", "LTC", "1h", [early], fetched_at=START - DAY, requested_at=START - DAY)
    late = warehouse.load("binance", answer, uncommitted=True)
    warehouse.build(SELECTED)
    assert [row["open"] for row in bars_of(warehouse, "SHORT", "1d")] == [22, 23, 24]
    assert warehouse.query("select * from marts.rejected_bars") == []
    assert len(bars_of(warehouse, "HOURS", "1d")) == 4

    registry["BTC"]["timeframes"] = "1h"
    eth = registry.pop("ETH")
    del registry["WEEKS"]
    # Polygon comes first: with its hours the series moves to the clock, and makes no days any more.
    on_the_clock = [flat(at - HOUR / 2 + n * HOUR, 70 + n) for at in opens for n in range(7)]
    warehouse.load_bars("polygon", "HOURS", "1h", on_the_clock)
    warehouse.assets(list(registry.values()))
    without = increment_equals_full_refresh(warehouse)
    assert ("symbol", "ETH") not in {pair for row in without["marts.market_data_v2"] for pair in row}
    assert ("symbol", "ETH") in {pair for row in without["marts.rejected_bars"] for pair in row}
    assert len(bars_of(warehouse, "HOURS", "1h")) == 28 and bars_of(warehouse, "HOURS", "1d") == []

    registry |= {"ETH": eth, "NEW": stock("NEW", "1d")}
    registry["BTC"]["timeframes"] = "5m 1h"
    registry["SHORT"]["active_from"] = "2025-06-10"
    registry["OTHER"]["polygon"] = "WAS"
    warehouse.commit("binance", late)
    warehouse.assets(list(registry.values()))
    increment_equals_full_refresh(warehouse)
    assert [row["open"] for row in bars_of(warehouse, "NEW", "1d")] == [30, 31, 32, 33, 34]
    assert [row["open"] for row in bars_of(warehouse, "SHORT", "1d")] == [21, 22, 23, 24]
    assert [row["open"] for row in bars_of(warehouse, "OTHER", "1d")] == [50, 51, 52, 53, 54]
    assert len(bars_of(warehouse, "BTC", "5m")) == 60 and len(bars_of(warehouse, "ETH", "1h")) == 30
    assert warehouse.query("select * from marts.rejected_bars where symbol in ('ETH', 'BTC')") == []


def test_sessions_that_are_corrected_later(warehouse: Warehouse) -> None:
    """A day of mourning is entered after its day, a half day after its bars; next year's holidays change nothing."""
    warehouse.now = datetime(2025, 6, 14, 12, tzinfo=UTC)
    registry = [stock("ACME", "1h 1d", source_priority="yahoo polygon"), stock("DAYS", "1d")]
    warehouse.assets(registry)
    opens = [START + n * DAY + 13 * HOUR + HOUR / 2 for n in range(5)]
    warehouse.load_bars("yahoo", "ACME", "1h", [flat(at + n * HOUR, 100 + n) for at in opens for n in range(7)])
    days = trading_days(START.date(), START.date() + 4 * DAY)
    # The last day was told at 14:00 New York: it closes then only if it is a half day.
    warehouse.load_bars("polygon", "DAYS", "1d", days[:4])
    warehouse.load_bars(
        "polygon", "DAYS", "1d", days[4:], requested_at=opens[4] + 5 * HOUR, fetched_at=opens[4] + 5 * HOUR
    )
    warehouse.build(SELECTED)
    assert len(bars_of(warehouse, "DAYS", "1d")) == 4 and len(bars_of(warehouse, "ACME", "1h")) == 35

    warehouse.project.add_session_exceptions(
        {date(2025, 6, 11): ",", date(2025, 6, 13): "09:30,13:00", date(2031, 1, 2): ","}
    )
    warehouse.assets(registry)
    full = increment_equals_full_refresh(warehouse)
    assert len(bars_of(warehouse, "DAYS", "1d")) == 4, "one closed, one final after all"
    assert len(bars_of(warehouse, "ACME", "1h")) == 4 * 7 - 3
    assert any(dict(row)["reason"] == "not on a session day" for row in full["marts.rejected_bars"])

    # Without it in the seed: Polygon's list of coming holidays had it, of both exchanges, on the day before and on the day;
    # what one exchange says alone, and what the seed knows, changes nothing.
    warehouse.project.add_session_exceptions({})
    warehouse.assets(registry)
    mourning, half = date(2025, 6, 11), date(2025, 6, 13)
    early = {"open": "2025-06-13T13:30:00.000Z", "close": "2025-06-13T17:00:00.000Z"}

    def coming(days: dict[date, tuple[str, ...]], asked: datetime) -> Answer:
        rows = [
            {
                "date": str(day),
                "exchange": exchange,
                "name": "A day",
                **(early | {"status": "early-close"} if day == half else {"status": "closed"}),
            }
            for day, exchanges in days.items()
            for exchange in exchanges
        ]
        return Answer("market_holidays", None, rows, window=(asked, asked + 365 * DAY), fetched_at=asked)

    both, christmas = ("NYSE", "NASDAQ"), date(2025, 12, 25)
    first = coming({christmas: both, mourning: both, half: both}, datetime(2025, 6, 10, 6, tzinfo=UTC))
    on_the_day = coming({christmas: both, half: both}, datetime(2025, 6, 11, 14, tzinfo=UTC))
    warehouse.load("polygon", first, on_the_day, coming({christmas: both, half: ("NYSE",)}, warehouse.now - DAY * 2))
    increment_equals_full_refresh(warehouse)
    assert len(bars_of(warehouse, "ACME", "1h")) == 4 * 7, "closed on the Wednesday, open on all of the Friday"
    expected = (
        "select bar_date from intermediate.int_expected_bars"
        " where calendar = 'XNYS' and timeframe = '1d' and bar_date in (%s, %s)"
    )
    assert [row["bar_date"] for row in warehouse.query(expected, mourning, half)] == [half], "no day is missing there"

    # An answer from before the day takes it back: there is a session after all.
    warehouse.load("polygon", coming({christmas: both}, datetime(2025, 6, 11, 1, tzinfo=UTC)))
    increment_equals_full_refresh(warehouse)
    assert len(bars_of(warehouse, "ACME", "1h")) == 35


def test_settings_by_which_bars_are_judged(warehouse: Warehouse) -> None:
    """A changed threshold judges the bars anew that are there, without a new load."""
    warehouse.now = datetime(2025, 6, 14, 12, tzinfo=UTC)
    registry = [crypto("BTC", "5m"), crypto("ETH", "1h")]
    warehouse.assets(registry)
    gappy = [flat(START + n * HOUR / 12, 100 + n % 7) for n in range(400) if n % 9]
    warehouse.load_bars("binance", "BTC", "5m", gappy)
    told, odd = hours(60), 30
    told[odd] = replace(told[odd], high=told[odd].low - 1)
    for provider, percent in {"binance": 100, "polygon": 102, "yahoo": 102}.items():
        factor = Decimal(percent) / 100
        shifted = [
            replace(bar, open=bar.open * factor, high=bar.high * factor, low=bar.low * factor, close=bar.close * factor)
            for bar in told
        ]
        extra = {"time_zone": "UTC"} if provider == "yahoo" else {}
        # The second part is late: it closed days before it was seen.
        seen = START + 40 * HOUR
        warehouse.load_bars(provider, "ETH", "1h", shifted[:40], requested_at=seen, fetched_at=seen, **extra)
        warehouse.load_bars(provider, "ETH", "1h", shifted[40:], **extra)

    def verdicts() -> tuple[int, int, int, int]:
        """Incomplete bars, late bars taken for good, bars in no window, outvoted bars."""
        warehouse.build(SELECTED)
        (found,) = warehouse.query(
            "select count(*) filter (where validation_notes like '%%incomplete%%') as incomplete,"
            " count(*) filter (where symbol = 'ETH' and timeframe = '1h' and quality_score < 1 and is_validated) as late,"
            " count(*) filter (where symbol = 'ETH' and timeframe = '1h' and hlc3 is null) as held_back,"
            " count(*) filter (where validation_notes like '%%outvoted%%') as outvoted from marts.market_data_v2"
        )
        return tuple(found.values())

    incomplete, late, held_back, outvoted = verdicts()
    assert incomplete > 30 and late == 20 and held_back == 1 and outvoted == 59
    warehouse.environment["MIN_DATA_COMPLETENESS"] = "0.50"
    assert verdicts() == (0, late, held_back, outvoted)
    warehouse.environment["MIN_QUALITY_SCORE"] = "0.95"
    assert verdicts() == (0, 0, held_back, outvoted)
    warehouse.environment["VALIDATE_ON_INSERT"] = "false"
    assert verdicts() == (0, 0, 0, outvoted)
    seed = warehouse.project.directory / "dbt_project/seeds/reconciliation_tolerances.csv"
    head, *lines = seed.read_text().splitlines()
    place = head.split(",").index("tolerance_bp")
    wide = [",".join([*line.split(",")[:place], "5000", *line.split(",")[place + 1 :]]) for line in lines]
    seed.write_text("\n".join([head, *wide]) + "\n")
    warehouse.assets(registry)
    assert verdicts() == (0, 0, 0, 0)
    equals_full_refresh(warehouse)
