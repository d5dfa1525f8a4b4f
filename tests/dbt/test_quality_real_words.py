"""What the checks say of recorded answers with known flaws: minutes round a split, a weekend on which clocks change, a
file whose last row is a running bar, and Yahoo's errors beside their repaired versions.

`pytest -s` prints the counts.
"""

from __future__ import annotations

import csv
import io
import zipfile
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from scripts.site.reference_formulas import STEP
from tests import payloads
from tests.dbt.against_reference import ex_dates, lean_bars
from tests.oracle.bars import Bar, resample, sessions
from tests.oracle.real_data import NEW_YORK
from tests.warehouse import Answer, MakeWarehouse, Warehouse, bar_answer, stock

# Until here reaches the file of MSFT's minutes; its day was not over.
FETCHED = datetime(2024, 2, 14, 16, 30, tzinfo=UTC)
SPLIT = date(2014, 6, 9)
MARTS = "+bar_gaps +source_reconciliation +rejected_bars +unfinished_bars +quality_components"
# Unrepaired and repaired files of yfinance's own tests. London, Paris and Tokyo: days that New York has too are compared.
PAIRS = {
    "AET": "AET-L-1d-100x-error",
    "ALPHA": "ALPHA-PA-1d-bad-stock-split",
    "J4063": "4063-T-1d-bad-stock-split",
}


def lean_minutes(shared_data: Path, symbol: str, *days: date) -> list[Bar]:
    """Minutes as traded, extended hours included."""
    bars = []
    for day in days:
        path = shared_data / f"lean/equity/usa/minute/{symbol}/{day:%Y%m%d}_trade.zip"
        with zipfile.ZipFile(path) as archive:
            lines = io.StringIO(archive.read(archive.namelist()[0]).decode())
        midnight = datetime.combine(day, time(), NEW_YORK).astimezone(UTC)
        for row in csv.reader(lines):
            o, h, low, c = (Decimal(text) / 10000 for text in row[1:5])
            bars.append(Bar(midnight + timedelta(milliseconds=int(row[0])), o, h, low, c, Decimal(row[5])))
    return bars


def five_minutes(minutes: list[Bar]) -> list[Bar]:
    return list(resample(minutes, source_step=timedelta(minutes=1), timeframe="5m", calendar="XNYS"))


def csv_bars(path: Path, since: date) -> list[Bar]:
    """market_prices' files: instants in UTC, or dates of New York."""
    bars = []
    for row in csv.DictReader(path.open()):
        stamp = datetime.fromisoformat(row["date"])
        if stamp.date() >= since:
            zone = NEW_YORK if len(row["date"]) == 10 else UTC
            opened, high, low, close, volume = (
                Decimal(row[name]) for name in ("open", "high", "low", "close", "volume")
            )
            bars.append(Bar(stamp.replace(tzinfo=zone).astimezone(UTC), opened, high, low, close, volume))
    return bars


def yfinance_days(path: Path) -> dict[date, Bar]:
    bars = {}
    for row in csv.DictReader(path.open()):
        day = date.fromisoformat(row["Date"][:10])
        stamp = datetime.combine(day, time(), NEW_YORK).astimezone(UTC)
        opened, high, low, close, volume = (Decimal(row[name]) for name in ("Open", "High", "Low", "Close", "Volume"))
        bars[day] = Bar(stamp, opened, high, low, close, volume)
    return dict(sorted(bars.items()))


@dataclass
class Recorded:
    warehouse: Warehouse
    pairs: dict[str, tuple[dict[date, Bar], dict[date, Bar]]]


@pytest.fixture(scope="module")
def recorded(make_warehouse: MakeWarehouse, shared_data: Path) -> Recorded:
    warehouse = make_warehouse("warehouse")
    warehouse.now = FETCHED
    warehouse.assets(
        [
            stock("AAPL", "5m 1d", yahoo="", active_from="2014-06-02", active_to="2014-06-13"),
            stock("SHY", "5m", yahoo="", active_to="2008-03-10"),
            stock("MSFT", "5m 1h 1d", polygon=""),
            *[stock(symbol, "1d", source_priority="yahoo polygon") for symbol in PAIRS],
        ]
    )
    for symbol, days in {
        "aapl": [date(2014, 6, 5), date(2014, 6, 6), SPLIT],
        "shy": [date(2008, 3, 7), date(2008, 3, 10)],
    }.items():
        fine = five_minutes(lean_minutes(shared_data, symbol, *days))
        held = sessions("XNYS", days[0], days[-1])
        warehouse.load(
            "polygon",
            bar_answer("polygon", symbol.upper(), "5m", fine, window=(held[0].opens_at, held[-1].closes_at)),
        )
    days_of_june = [
        bar for bar in lean_bars(shared_data, "aapl") if "2014-06-02" <= f"{bar.timestamp:%F}" <= "2014-06-13"
    ]
    splits = payloads.polygon_splits(ex_dates(shared_data, "aapl"))
    warehouse.load("polygon", bar_answer("polygon", "AAPL", "1d", days_of_june), Answer("splits", "AAPL", splits))
    for timeframe, name in {"5m": "5T_231218", "1h": "1H_231218", "1d": "1D_860313"}.items():
        bars = csv_bars(shared_data / f"yahoo/market_prices/MSFT_{name}_240214.csv", date(2023, 12, 18))
        asked = (bars[0].timestamp, bars[-1].timestamp + STEP[timeframe])
        warehouse.load("yahoo", bar_answer("yahoo", "MSFT", timeframe, bars, window=asked))
    pairs = {}
    for symbol, name in PAIRS.items():
        flawed, repaired = (
            yfinance_days(shared_data / f"yahoo/yfinance_tests/{name}{suffix}.csv") for suffix in ("", "-fixed")
        )
        warehouse.load("yahoo", bar_answer("yahoo", symbol, "1d", list(flawed.values())))
        warehouse.load("polygon", bar_answer("polygon", symbol, "1d", list(repaired.values())))
        pairs[symbol] = (flawed, repaired)
    warehouse.build(MARTS)
    return Recorded(warehouse, pairs)


def test_minutes_round_a_split_are_continuous(recorded: Recorded) -> None:
    rows = recorded.warehouse.query(
        "select session_date, split_factor, close, log_return, gap_detected, is_validated from marts.market_data_v2"
        " where symbol = 'AAPL' and timeframe = '5m' order by timestamp"
    )
    assert len(rows) == 3 * 78 and all(row["is_validated"] for row in rows)
    assert not any(row["gap_detected"] for row in rows)
    first = next(n for n, row in enumerate(rows) if row["session_date"] == SPLIT)
    assert rows[first]["split_factor"] == 7 * rows[first - 1]["split_factor"]
    assert rows[first]["close"] * 6 < rows[first - 1]["close"], "prices stay as traded"
    assert max(abs(row["log_return"]) for row in rows[1:]) < Decimal("0.02")


def test_our_days_of_minutes_beside_the_tape_s(recorded: Recorded) -> None:
    rows = recorded.warehouse.query(
        "select symbol, timeframe, resampled_from, field, count(*) as bars,"
        " count(*) filter (where verdict = 'within tolerance') as within, max(abs(difference_bp)) as most"
        " from marts.source_reconciliation where resampled_from is not null group by 1, 2, 3, 4 order by 1, 2, 3, 4"
    )
    for row in rows:
        print(f"\n{dict(row)}", end="")
    compared = {(row["symbol"], row["timeframe"], row["field"]): row for row in rows}
    for field in ("open", "high", "low", "close"):
        assert compared["AAPL", "1d", field]["bars"] == 3
        assert compared["AAPL", "1d", field]["within"] == 3
        hours = compared["MSFT", "1h", field]
        assert hours["bars"] == hours["within"] == 274 and hours["most"] == 0


def test_no_gap_where_the_clocks_change(recorded: Recorded) -> None:
    """SHY traded in most five minutes only: what is missing lies inside its sessions, and all slots are accounted for."""
    (bars,) = recorded.warehouse.query(
        "select count(*) as n, count(distinct session_date) as days from marts.market_data_v2"
        " where symbol = 'SHY' and timeframe = '5m'"
    )
    gaps = recorded.warehouse.query("select * from marts.bar_gaps where symbol = 'SHY' and timeframe = '5m'")
    print(f"\nSHY 5m: {bars['n']} bars, {len(gaps)} gaps")
    assert bars["days"] == 2
    assert bars["n"] + sum(gap["missing_bars"] for gap in gaps) == 2 * 78
    assert {gap["verdict"] for gap in gaps} <= {"no trades"}
    assert all(gap["gap_to"] - gap["gap_from"] < timedelta(hours=1) for gap in gaps)


def test_the_running_day_is_no_bar_yet(recorded: Recorded) -> None:
    (newest,) = recorded.warehouse.query(
        "select max(session_date) as day from marts.market_data_v2 where symbol = 'MSFT' and timeframe = '1d'"
    )
    assert newest["day"] == date(2024, 2, 13)
    running = recorded.warehouse.query("select timeframe, timestamp, close from marts.unfinished_bars")
    assert [(row["timeframe"], row["close"]) for row in running] == [("1d", Decimal("407.1900000000"))]
    finest = recorded.warehouse.query(
        "select max(timestamp) as last from marts.market_data_v2 where symbol = 'MSFT' and timeframe = '5m'"
    )
    assert finest == [{"last": FETCHED - timedelta(minutes=5)}]


def test_yahoo_s_errors_differ_from_their_repairs_and_nothing_else_does(recorded: Recorded) -> None:
    for symbol, (flawed, repaired) in recorded.pairs.items():
        rows = recorded.warehouse.query(
            "select bars.session_date, compared.* from marts.source_reconciliation as compared"
            " inner join marts.market_data_v2 as bars using (symbol, asset_class, timeframe, timestamp)"
            " where symbol = %s",
            symbol,
        )
        differing = {(row["session_date"], row["field"]) for row in rows if row["verdict"] == "differs"}
        expected = {
            (day, field)
            for day in flawed.keys() & repaired.keys()
            for field in ("open", "high", "low", "close")
            if abs(getattr(repaired[day], field) / getattr(flawed[day], field) - 1) > Decimal("0.01")
        }
        days = {row["session_date"] for row in rows}
        rejected = recorded.warehouse.query("select * from marts.rejected_bars where symbol = %s", symbol)
        print(
            f"\n{symbol}: {len(days)} days, {len(differing)} of {len(rows)} fields differ, {len(rejected)} rows rejected"
        )
        assert differing == {(day, field) for day, field in expected if day in days}
        assert differing and {row["reason"] for row in rejected} <= {"not on a session day"}
        assert len(days) + len({row["timestamp"] for row in rejected}) == len(flawed.keys() & repaired.keys())


def test_counts(recorded: Recorded) -> None:
    for statement in (
        "select symbol, timeframe, verdict, place, count(*) as gaps, sum(missing_bars) as bars"
        " from marts.bar_gaps group by 1, 2, 3, 4 order by 1, 2, 3, 4",
        "select symbol, timeframe, regexp_replace(validation_notes, '[0-9]+ of', 'n of') as note, count(*) as bars"
        " from marts.market_data_v2 where validation_notes is not null group by 1, 2, 3 order by 4 desc limit 20",
        "select symbol, reason, count(*) as rows from marts.rejected_bars group by 1, 2 order by 1, 2",
    ):
        for row in recorded.warehouse.query(statement):
            print(f"\n{dict(row)}", end="")
    (found,) = recorded.warehouse.query(
        "select count(*) as bars, count(*) filter (where quality_score between 0 and 1) as scored"
        " from marts.quality_components"
    )
    assert found["bars"] == found["scored"] > 4000
