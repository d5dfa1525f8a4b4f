"""What market_data_v2 says of a bar beyond its prices: whether to trust it, which revision it is, and what is on record.

Each symbol is a case of its own; all are loaded in two steps, with a build after each.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from scripts.site.reference_formulas import STEP
from tests import payloads
from tests.dbt.test_bars import TRADED, bar, run_of, stock_bars
from tests.warehouse import Answer, MakeWarehouse, Warehouse, crypto, stock

BUILT = "+data_corrections +series_conditions +alerts"
FIRST = datetime(2025, 3, 3, tzinfo=UTC)
DAYS = [date(2025, 3, day) for day in (3, 4, 5, 6, 7, 10, 11)]
SESSIONS = [[replace(one, taker_buy_volume=None) for one in stock_bars("5m", day, day)] for day in DAYS]
THIN = [session[n] for session in SESSIONS for n in TRADED]
ASKED = (SESSIONS[0][0].timestamp, SESSIONS[-1][-1].timestamp + STEP["5m"])
HOURS = run_of(FIRST, 24 * 8, "1h")
# Samples of open interest: for two days, then none for three, then again.
SILENT = (FIRST + timedelta(days=2), FIRST + timedelta(days=5))
FIVE = run_of(FIRST, 12 * 4 + 1, "5m")


@pytest.fixture(scope="module")
def warehouse(make_warehouse: MakeWarehouse) -> Warehouse:
    warehouse = make_warehouse("warehouse")
    warehouse.now = datetime(2025, 3, 12, tzinfo=UTC)
    warehouse.assets(
        [
            stock("THIN", "5m", asset_class="etf", yahoo=""),
            crypto("DOLLARS", "1h", binance="", polygon="", binance_futures=""),
            crypto("SAMPLED", "1h"),
            crypto("LATE", "5m"),
            crypto("TAKER", "5m"),
            crypto("TAKEN", "5m"),
            crypto("SWITCHED", "5m 1h"),
            crypto("FALLEN", "1h"),
            stock("HELD", "1d", polygon="", source_priority="yahoo"),
        ]
    )
    warehouse.load_bars("polygon", "THIN", "5m", THIN, window=ASKED)
    dollars = [replace(one, volume=Decimal(10**15), taker_buy_volume=None) for one in HOURS]
    warehouse.load_bars("yahoo", "DOLLARS", "1h", dollars, time_zone="UTC")
    samples = [
        (at, Decimal(1000 + n % 7))
        for n, at in enumerate(one.timestamp for one in HOURS)
        if not SILENT[0] <= at < SILENT[1]
    ]
    warehouse.load_bars("binance", "SAMPLED", "1h", HOURS)
    warehouse.load("binance", Answer("open_interest", "SAMPLED", payloads.open_interest(samples), timeframe="1h"))
    warehouse.load_bars("binance", "LATE", "5m", FIVE[:7] + FIVE[8:])
    klines: Any = payloads.binance_klines(FIVE, "5m")
    klines[0][9] = None
    asked = (FIVE[0].timestamp, FIVE[-1].timestamp + STEP["5m"])
    warehouse.load("binance", Answer("bars", "TAKER", klines, "5m", asked))
    warehouse.load_bars("binance", "TAKEN", "5m", FIVE)
    warehouse.load_bars("binance", "FALLEN", "1h", HOURS[:4])
    warehouse.load_bars("yahoo", "SWITCHED", "1h", [bar(FIRST, 107)], time_zone="UTC")
    # So small a ratio that prices do not say whether they are adjusted for it.
    held = stock_bars("1d", DAYS[0], DAYS[-1])
    warehouse.load_bars("yahoo", "HELD", "1d", held, splits={DAYS[-1]: (21, 20)})
    warehouse.build(BUILT)
    warehouse.execute("create schema copies; create table copies.first as select * from marts.market_data_v2")
    warehouse.now += timedelta(minutes=5)
    # One week late.
    warehouse.load_bars("polygon", "THIN", "5m", [SESSIONS[0][40]])
    warehouse.load_bars("binance", "TAKER", "5m", FIVE[:1])
    warehouse.load_bars("binance", "LATE", "5m", FIVE[7:8])
    warehouse.load_bars("binance", "TAKEN", "5m", FIVE[:20] + FIVE[21:])
    warehouse.load_bars("binance", "SWITCHED", "5m", FIVE)
    penny = Decimal("0.1")
    fallen = replace(HOURS[1], open=penny, high=penny, low=penny, close=penny)
    warehouse.load_bars("binance", "FALLEN", "1h", [HOURS[0], fallen, *HOURS[2:4]])
    warehouse.correct_split("HELD", DAYS[-1], "strike")
    warehouse.build(BUILT)
    return warehouse


def rows(
    warehouse: Warehouse, symbol: str, timeframe: str, relation: str = "marts.market_data_v2"
) -> list[dict[str, Any]]:
    return warehouse.query(
        f"select * from {relation} where symbol = %s and timeframe = %s order by timestamp", symbol, timeframe
    )


def corrections(warehouse: Warehouse, symbol: str, timeframe: str) -> dict[datetime, dict[str, tuple[Any, ...]]]:
    found: dict[datetime, dict[str, tuple[Any, ...]]] = {}
    for row in warehouse.query(
        "select bars.timestamp, told.* from marts.data_corrections as told"
        " inner join marts.market_data_v2 as bars on bars.id = told.original_record_id"
        " where bars.symbol = %s and bars.timeframe = %s",
        symbol,
        timeframe,
    ):
        fields = found.setdefault(row["timestamp"], {})
        fields[row["field_corrected"]] = (row["old_value"], row["new_value"], row["reason"])
    return found


def test_bars_of_a_thin_etf_are_validated_and_have_features(warehouse: Warehouse) -> None:
    for timeframe in ("5m", "15m", "30m", "1h", "4h", "1d"):
        found = rows(warehouse, "THIN", timeframe, "copies.first")
        assert found and all(row["is_validated"] and row["hlc3"] is not None for row in found), timeframe
        assert {row["data_completeness"] for row in found} == {1}
    assert all(row["sma_20"] is not None for row in rows(warehouse, "THIN", "1h")[19:])
    (week, *_) = rows(warehouse, "THIN", "1w")
    assert week["is_validated"] and week["volume"] == sum(one.volume for one in [*THIN[:30], SESSIONS[0][40]])


def test_a_bar_that_comes_a_week_late_is_a_revision_of_what_is_made_of_it(warehouse: Warehouse) -> None:
    before, after = rows(warehouse, "THIN", "1d", "copies.first")[0], rows(warehouse, "THIN", "1d")[0]
    assert (before["revision"], after["revision"]) == (1, 2)
    told = corrections(warehouse, "THIN", "1d")
    assert list(told) == [after["timestamp"]]
    assert told[after["timestamp"]]["volume"] == (before["volume"], after["volume"], "late_data")


def test_a_coin_of_yahoo_has_prices_and_no_volume(warehouse: Warehouse) -> None:
    found = rows(warehouse, "DOLLARS", "1h")
    assert len(found) == len(HOURS)
    of_volume = ("volume", "vwap_20", "rolling_volume_20", "volume_spike_score", "delta", "buy_sell_ratio")
    for row in found:
        assert (row["is_validated"], row["data_completeness"]) == (True, 1)
        assert row["validation_notes"] == "volume not told in coins"
        assert {row[name] for name in of_volume} == {None}
    assert all(row["sma_50"] is not None and row["atr"] is not None for row in found[49:])
    (day, *_) = rows(warehouse, "DOLLARS", "1d")
    assert (day["is_validated"], day["volume"]) == (True, None)


def test_a_missing_sample_is_noted_for_as_long_as_it_is_missing(warehouse: Warehouse) -> None:
    """Three days without, of which more than the first two are noted; no price is less right for it."""
    found = rows(warehouse, "SAMPLED", "1h")
    assert all(row["is_validated"] and row["quality_score"] == 1 for row in found)
    for row in found:
        # A sample of the very close counts; one stands for two hours.
        closed = row["timestamp"] + STEP["1h"]
        is_missing = SILENT[0] + timedelta(hours=1) < closed < SILENT[1]
        expected = (None, Decimal("0.88"), "open interest missing") if is_missing else (Decimal("1.00"), None)
        shown = (row["data_completeness"], row["validation_notes"])
        assert (row["open_interest"] is None) == is_missing, closed
        assert shown == expected[-2:], closed
    assert sum(row["open_interest"] is None for row in found) == 70


def test_what_merely_came_late_is_late_data(warehouse: Warehouse) -> None:
    """A base bar, and a taker volume that was not there."""
    (opened, *_) = rows(warehouse, "LATE", "1h")
    assert (opened["revision"], opened["is_validated"]) == (2, True)
    before = rows(warehouse, "LATE", "1h", "copies.first")[0]
    assert "incomplete: 11 of 12" in before["validation_notes"]
    told = corrections(warehouse, "LATE", "1h")[FIRST]
    assert told["volume"] == (before["volume"], opened["volume"], "late_data")
    assert told["is_validated"][:2] == (0, 1)
    for timeframe in ("5m", "1h"):
        (first, *_) = rows(warehouse, "TAKER", timeframe)
        told = corrections(warehouse, "TAKER", timeframe)[FIRST]
        assert told["taker_buy_volume"] == (None, first["taker_buy_volume"], "late_data")


def test_a_retracted_bar_is_on_record_and_as_of_shows_it(warehouse: Warehouse) -> None:
    at = FIVE[20].timestamp
    told = corrections(warehouse, "TAKEN", "5m")
    assert told == {at: {"is_validated": (1, 0, "source_updated")}}
    (row,) = [row for row in rows(warehouse, "TAKEN", "5m") if row["timestamp"] == at]
    assert (row["revision"], row["is_validated"], row["close"]) == (2, False, FIVE[20].close)
    assert "withdrawn by binance" in row["validation_notes"]
    # 11 of the 12 bars of the hour, 35 of the 36 of all.
    hour = FIRST + timedelta(hours=1)
    hourly = corrections(warehouse, "TAKEN", "1h")
    assert list(hourly) == [hour]
    assert hourly[hour]["is_validated"] == (1, 0, "source_updated")
    past = warehouse.query(
        "select timestamp, is_validated, revision from marts.market_data_as_of(timestamptz '2025-03-12 00:00:00+00')"
        " where symbol = 'TAKEN' and timeframe in ('5m', '1h')"
    )
    assert {(row["is_validated"], row["revision"]) for row in past} == {(True, 1)}


def test_another_source_is_on_record_with_its_reason(warehouse: Warehouse) -> None:
    (row, *_) = rows(warehouse, "SWITCHED", "1h")
    assert (row["source"], row["revision"], row["amended_from"]) == ("binance", 2, 1)
    told = corrections(warehouse, "SWITCHED", "1h")[FIRST]
    assert told["source"] == (None, None, "source_changed")
    assert told["volume"] == (None, row["volume"], "source_changed")
    assert told["close"] == (107, row["close"], "source_changed")


def test_a_verdict_that_an_amended_neighbour_changes_has_its_row(warehouse: Warehouse) -> None:
    """From a tenth to a hundred in an hour: no return is that high, and the bar itself was not amended."""
    second, third, fourth = rows(warehouse, "FALLEN", "1h")[1:]
    assert (second["revision"], third["revision"], fourth["revision"]) == (2, 1, 1)
    assert not third["is_validated"] and "return outside" in third["validation_notes"]
    told = corrections(warehouse, "FALLEN", "1h")
    assert list(told[third["timestamp"]].items()) == [("is_validated", (1, 0, "source_updated"))]
    assert fourth["is_validated"] and fourth["timestamp"] not in told


def test_what_a_split_struck_by_hand_releases_is_signed(warehouse: Warehouse) -> None:
    before, after = rows(warehouse, "HELD", "1d", "copies.first"), rows(warehouse, "HELD", "1d")
    assert [row["is_validated"] for row in before] == [False] * 6 + [True]
    assert all(row["is_validated"] for row in after)
    signed = warehouse.query(
        "select bars.timestamp, told.field_corrected, told.reason, told.corrected_by from marts.data_corrections as told"
        " inner join marts.market_data_v2 as bars on bars.id = told.original_record_id where bars.symbol = 'HELD'"
        " and bars.timeframe = '1d'"
    )
    assert {row["timestamp"] for row in signed if row["field_corrected"] == "is_validated"} == {
        row["timestamp"] for row in before[:6]
    }
    assert {(row["reason"], row["corrected_by"]) for row in signed} == {("manual_correction", "a tester")}


def test_each_revision_has_its_row(warehouse: Warehouse) -> None:
    (found,) = warehouse.query(
        "select count(*) as revised, count(*) filter (where not exists (select from marts.data_corrections as told"
        " where told.original_record_id = bars.id and told.revision = bars.revision)) as untold"
        " from marts.market_data_v2 as bars where bars.revision > 1"
    )
    assert found["revised"] > 10 and found["untold"] == 0


def test_a_build_by_hand_brings_alerts_up_to_date(warehouse: Warehouse) -> None:
    """SAMPLED has a hole that is open: no, but DOLLARS and the others are late. Nobody is notified by a build."""
    alerts = warehouse.query("select * from marts.alerts")
    assert alerts and all(row["notified_at"] is None for row in alerts)
    conditions = warehouse.query("select rule, subject from marts.series_conditions")
    open_alerts = {(row["rule"], row["subject"]) for row in alerts if row["resolved_at"] is None}
    assert {(row["rule"], row["subject"]) for row in conditions} <= open_alerts
