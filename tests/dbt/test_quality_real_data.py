"""Gaps and reconciliation on recorded markets: no gap where the calendar is right, and rates of agreement by field.

`pytest -s` prints the counts.
"""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests import payloads
from tests.dbt.against_reference import ex_dates, lean_bars, lean_hours
from tests.oracle.bars import Bar, resample
from tests.oracle.real_data import NEW_YORK, binance_daily_2020, binance_minutes
from tests.warehouse import Answer, MakeWarehouse, Warehouse, bar_answer, crypto, stock

NOW = datetime(2021, 4, 1, tzinfo=UTC)
YAHOO_DAYS = "yahoo/recorded_http_yahoo_finance2/chart-AAPL-2020-08-31-to-2020-11-07.json"
MARTS = "+bar_gaps +source_reconciliation +data_quality_metrics"


def yahoo_answer(shared_data: Path) -> Answer:
    """49 days of AAPL as Yahoo gave them in 2023 or later: adjusted for the split of 2020-08-31, which they include."""
    recorded = json.loads((shared_data / YAHOO_DAYS).read_text())["response"]
    body = next(part for part in recorded.values() if isinstance(part, str | dict) and "chart" in part)
    chart: dict[str, Any] = body if isinstance(body, dict) else json.loads(body)
    window = (datetime(2020, 8, 31, 4, tzinfo=UTC), datetime(2020, 11, 7, 5, tzinfo=UTC))
    return Answer("bars", "AAPL", chart, "1d", window, origin="chart", values={"row_count": 49})


@pytest.fixture(scope="module")
def warehouse(make_warehouse: MakeWarehouse, shared_data: Path) -> Warehouse:
    warehouse = make_warehouse("warehouse")
    warehouse.now = NOW
    warehouse.assets(
        [stock("SPY", "1h", yahoo=""), stock("AAPL", "1d", source_priority="polygon yahoo"), crypto("BTC", "5m 1d")]
    )
    hours = lean_hours(shared_data, "spy", "19980102", "20210331")
    asked = (hours[0].timestamp, NOW)
    warehouse.load("polygon", bar_answer("polygon", "SPY", "1h", hours, window=asked))
    days = lean_bars(shared_data, "aapl")
    splits = payloads.polygon_splits(ex_dates(shared_data, "aapl"))
    warehouse.load("polygon", bar_answer("polygon", "AAPL", "1d", days), Answer("splits", "AAPL", splits))
    warehouse.load("yahoo", yahoo_answer(shared_data))
    fine = list(
        resample(binance_minutes(shared_data), source_step=timedelta(minutes=1), timeframe="5m", calendar="24/7")
    )
    exchange = binance_daily_2020(shared_data)
    own_days = []
    for day in (1, 2, 3):
        opened, high, low, close, volume = exchange[date(2020, 1, day)]
        own_days.append(Bar(datetime(2020, 1, day, tzinfo=UTC), opened, high, low, close, volume))
    warehouse.load("binance", bar_answer("binance", "BTC", "5m", fine, origin="archive"))
    warehouse.load("binance", bar_answer("binance", "BTC", "1d", own_days))
    warehouse.build(MARTS)
    return warehouse


def test_no_false_gap_in_23_years_of_hours(warehouse: Warehouse) -> None:
    """5849 sessions with 29 half days and every change of the clocks. The two hours that are missing were never traded:
    on 2002-09-11 the exchange opened at 11:00, which the calendar library does not know."""
    (bars,) = warehouse.query(
        "select count(*) as n from marts.market_data_v2 where symbol = 'SPY' and timeframe = '1h'"
    )
    rows = warehouse.query("select * from marts.bar_gaps where symbol in ('SPY', 'XNYS') order by gap_from")
    flagged = warehouse.query(
        "select timestamp from marts.market_data_v2 where symbol = 'SPY' and timeframe = '1h' and gap_detected"
    )
    print(f"\nSPY 1h: {bars['n']} bars, {len(rows)} gaps")
    assert bars["n"] > 40_000
    late_open = datetime(2002, 9, 11, 11, tzinfo=NEW_YORK).astimezone(UTC)
    assert [(row["gap_from"], row["gap_to"], row["verdict"], row["repair_state"]) for row in rows] == [
        # More than nobody trading explains, and the one source has been asked once.
        (late_open - timedelta(hours=2), late_open, "provider hole", "open")
    ]
    assert flagged == [{"timestamp": late_open}]


def test_rates_of_agreement_between_the_raw_feed_and_yahoo(warehouse: Warehouse) -> None:
    rows = warehouse.query(
        "select field, count(*) as bars, count(*) filter (where verdict = 'within tolerance') as within,"
        " max(abs(difference_bp)) as most, min(tolerance_bp) as tolerance"
        " from marts.source_reconciliation where symbol = 'AAPL' group by field order by field"
    )
    for row in rows:
        print(
            f"\nAAPL 1d {row['field']}: {row['within']} of {row['bars']} within {row['tolerance']} bp, most {row['most']}"
        )
    within = {row["field"]: row["within"] for row in rows}
    assert {row["bars"] for row in rows} == {49}
    assert within["close"] == 49 and min(within.values()) >= 46
    assert max(row["most"] for row in rows if row["field"] == "close") < Decimal("1")


def test_days_of_our_minutes_are_the_exchange_s_to_the_last_digit(warehouse: Warehouse) -> None:
    rows = warehouse.query(
        "select field, value, other_value, verdict from marts.source_reconciliation"
        " where symbol = 'BTC' and resampled_from = '5m'"
    )
    print(f"\nBTC 1d: {len(rows)} fields of days resampled from 5m compared")
    assert len(rows) == 15
    assert all(row["value"] == row["other_value"] and row["verdict"] == "within tolerance" for row in rows)


def test_counts(warehouse: Warehouse) -> None:
    verdicts = warehouse.query("select symbol, timeframe, verdict, place, count(*) as n, sum(missing_bars) as bars"
        " from marts.bar_gaps group by 1, 2, 3, 4 order by 1, 2, 3, 4")  # fmt: skip
    notes = warehouse.query(
        "select symbol, timeframe, validation_notes, count(*) as n from marts.market_data_v2"
        " where validation_notes is not null group by 1, 2, 3 order by 4 desc limit 12"
    )
    for row in [*verdicts, *notes]:
        print(f"\n{dict(row)}", end="")
    days = warehouse.query("select count(*) as n, sum(total_records) as bars from marts.data_quality_metrics")
    bars = warehouse.query("select count(*) as n from marts.market_data_v2")
    assert days[0]["bars"] == bars[0]["n"]
