"""Why a bar is missing, and when that is settled: docs/reference/coverage.md, state by state.

Each symbol is one situation in one warehouse; looks are days apart by their requested_at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest

from extract.plan import gaps
from scripts.site.reference_formulas import STEP
from tests.dbt.test_bars import run_of, stock_bars
from tests.dbt.test_quality_operations import MARCH, without
from tests.oracle.bars import Bar
from tests.warehouse import Answer, MakeWarehouse, Warehouse, bar_answer, crypto, stock

NOW = MARCH + timedelta(days=40)
HOURS = run_of(MARCH, 96, "1h")
SESSIONS = stock_bars("5m", date(2025, 3, 3), date(2025, 3, 5))
DAYS = stock_bars("1d", date(2025, 3, 3), date(2025, 3, 14))
Rows = list[dict[str, Any]]


def came(
    provider: str, symbol: str, bars: Sequence[Bar], after_days: float, timeframe: str = "1h", **more: Any
) -> Answer:
    """An answer about all of HOURS (or `asked`), so many days after MARCH, with the times of its rows."""
    start, end = more.pop("asked", (HOURS[0].timestamp, HOURS[-1].timestamp + STEP["1h"]))
    at = MARCH + timedelta(days=after_days)
    rows = {"first_row_at": bars[0].timestamp, "last_row_at": bars[-1].timestamp} if bars else {}
    return bar_answer(
        provider, symbol, timeframe, bars, window=(start, end), requested_at=at, fetched_at=at,
        values={"run_id": f"{after_days}", **rows, **more.pop("values", {})}, **more,
    )  # fmt: skip


@pytest.fixture(scope="module")
def market(make_warehouse: MakeWarehouse) -> Warehouse:
    warehouse = make_warehouse("warehouse")
    warehouse.now = NOW
    alone = {"polygon": "", "yahoo": ""}
    warehouse.assets(
        [
            crypto("FILES", "1h", **alone),
            crypto("REST", "1h", **alone),
            crypto("TWO", "1h", yahoo="", source_priority="binance polygon"),
            crypto("BOTH", "1h", yahoo="", source_priority="binance polygon"),
            crypto("LONG", "1h", yahoo="", source_priority="binance polygon"),
            crypto("EMPTY", "1h", **alone, active_from="2025-03-01"),
            crypto("YOUNG", "1h", **alone),
            crypto("OLD", "1h", **alone),
            crypto("LATE", "1h", **alone),
            crypto("BADROW", "1h", **alone),
            crypto("WRONG", "1h", yahoo="", source_priority="binance polygon"),
            crypto("MENDED", "1h", yahoo="", source_priority="binance polygon"),
            stock("THIN", "5m", yahoo=""),
            stock("HALT", "5m", yahoo=""),
            stock("LOST", "5m", yahoo=""),
            stock("REFUSED", "5m", yahoo=""),
            stock("LEFT", "1d"),
            stock("BADDAY", "1d", yahoo=""),
        ]
    )
    holed = without(HOURS, 30, 31)
    swapped = replace(HOURS[30], high=HOURS[30].low, low=HOURS[30].high)
    upside_down = [*HOURS[:30], swapped, *HOURS[31:]]
    archive = {"origin": "archive"}
    days = (5, 10, 11, 15)
    loads = {
        # Looked at over a fortnight, but only ever in the file.
        "FILES": [came("binance", "FILES", holed, day, **archive) for day in days],
        # The same file, and the API beside it.
        "REST": [came("binance", "REST", holed, days[0], **archive)]
        + [came("binance", "REST", holed[20:40], day) for day in days[1:]],
        # Another source was not asked yet.
        "TWO": [came("binance", "TWO", holed, day) for day in days[1:]],
        "BOTH": [came("binance", "BOTH", holed, day) for day in days[1:]],
        # The other source never answered, in a month of looks.
        "LONG": [came("binance", "LONG", holed, day) for day in (5, 6, 8, 36)],
        # The registry says that it was listed: empty answers do not say otherwise, until the schedule has run out.
        "EMPTY": [came("binance", "EMPTY", HOURS[48:], day) for day in (5, 6, 9)],
        "YOUNG": [came("binance", "YOUNG", HOURS[48:], 5)],
        "OLD": [came("binance", "OLD", HOURS[48:], day) for day in (5, 6, 9)],
        # Only the oldest rows of the window came: the rest is open, and nobody has answered for it.
        "LATE": [came("binance", "LATE", HOURS[:40], 5)],
        "BADROW": [
            came("binance", "BADROW", [*HOURS[:30], replace(HOURS[30], high=Decimal(2_000_000_000)), *HOURS[31:]], 5),
        ],
        # Its high is below its low; another source was not asked yet, or has the right bar.
        "WRONG": [came("binance", "WRONG", upside_down, 5)],
        "MENDED": [came("binance", "MENDED", upside_down, 5)],
    }
    for answers in loads.values():
        warehouse.load("binance", *answers)
    thin = [bar for n, bar in enumerate(SESSIONS) if n % 78 in (3, 4, 20, 44, 70, 77)]
    halted = without(SESSIONS, *range(100, 130))
    refused = [replace(one, high=Decimal(2_000_000_000)) if n == 102 else one for n, one in enumerate(SESSIONS)]
    refused = without(refused, 100, 101, 103)
    # A day that is stamped hours after its session.
    evening = [replace(day, timestamp=day.timestamp + timedelta(hours=18 * (n == 4))) for n, day in enumerate(DAYS)]
    session = (SESSIONS[0].timestamp, SESSIONS[-1].timestamp + STEP["5m"])
    warehouse.load(
        "polygon",
        came("polygon", "BOTH", holed, 12),
        came("polygon", "MENDED", HOURS[29:32], 12, asked=(HOURS[29].timestamp, HOURS[32].timestamp)),
        came("polygon", "THIN", thin, 5, "5m", asked=session),
        came("polygon", "HALT", halted, 5, "5m", asked=session),
        came("polygon", "LOST", without(SESSIONS, *range(100, 155)), 5, "5m", asked=session),
        came("polygon", "REFUSED", refused, 5, "5m", asked=session),
        came("polygon", "BADDAY", evening, 14, "1d", asked=(DAYS[0].timestamp, DAYS[-1].timestamp + STEP["1d"])),
        *(
            came("polygon", "LEFT", without(DAYS, 4), day, "1d", asked=(DAYS[0].timestamp, DAYS[-1].timestamp + STEP["1d"]))
            for day in (13, 14)
        ),
    )  # fmt: skip
    warehouse.build("+bar_gaps +series_conditions")
    return warehouse


def gap(market: Warehouse, symbol: str, place: str = "between") -> dict[str, Any]:
    (found,) = rows(market, symbol, place)
    return found


def rows(market: Warehouse, symbol: str, place: str = "between", timeframe: str | None = None) -> Rows:
    return market.query(
        "select * from marts.bar_gaps where symbol = %s and place = %s and timeframe = coalesce(%s, timeframe)"
        " order by gap_from",
        symbol,
        place,
        timeframe or ("1h" if symbol not in ("THIN", "HALT", "LEFT", "LOST", "REFUSED", "BADDAY") else None),
    )


@pytest.mark.parametrize(
    ("symbol", "state"),
    [("FILES", "open"), ("REST", "final"), ("TWO", "open"), ("BOTH", "final"), ("LONG", "final")],
)
def test_a_hole_is_final_by_independent_evidence_and_time(market: Warehouse, symbol: str, state: str) -> None:
    found = gap(market, symbol)
    assert (found["gap_from"], found["missing_bars"]) == (HOURS[30].timestamp, 2)
    assert (found["verdict"], found["repair_state"]) == ("outage", state)
    assert (found["next_look_at"] is None) is (state == "final")


def test_the_evidence_says_who_looked_how_often_and_when(market: Warehouse) -> None:
    assert gap(market, "BOTH")["evidence"] == (
        "binance, polygon answered without it, and gives bars without trades too; 4 looks from 2025-03-13 to 2025-03-18"
    )
    assert gap(market, "FILES")["looks"] == 4


def test_an_open_hole_is_looked_at_again_by_the_schedule(market: Warehouse) -> None:
    """First on day 10, last on day 15: the next look is that of seven days, at the midnight after them."""
    assert gap(market, "TWO")["next_look_at"] == MARCH + timedelta(days=18)


def test_what_lies_before_the_first_bar_is_not_listed_after_looks_some_days_apart(market: Warehouse) -> None:
    young, old = gap(market, "YOUNG", "before"), gap(market, "OLD", "before")
    assert (young["verdict"], young["repair_state"]) == ("not listed", "open")
    assert (old["verdict"], old["repair_state"]) == ("not listed", "final")


def test_inside_the_listed_span_nothing_is_not_listed(market: Warehouse) -> None:
    found = rows(market, "EMPTY", "before")
    assert {row["verdict"] for row in found} <= {"outage", "not fetched"}
    assert {row["repair_state"] for row in found} == {"open"}


def test_what_is_newer_than_the_newest_row_stays_open(market: Warehouse) -> None:
    asked, since = rows(market, "LATE", "after")
    assert (asked["gap_from"], asked["verdict"], asked["repair_state"]) == (HOURS[40].timestamp, "outage", "open")
    assert (since["verdict"], since["repair_state"]) == ("not fetched", "open")


def test_a_bar_that_is_none_is_asked_of_the_next_source(market: Warehouse) -> None:
    found = gap(market, "WRONG")
    assert (found["gap_from"], found["missing_bars"]) == (HOURS[30].timestamp, 1)
    assert (found["verdict"], found["repair_state"], found["answered_by"]) == ("rejected", "open", "binance")
    assert found["evidence"].startswith("binance sent it, and it is no bar: high below low")
    open_gap = gaps.Gap(**{field.name: found[field.name] for field in fields(gaps.Gap)})
    assert gaps.turn(open_gap, {"binance": found["last_look_at"], "polygon": gaps.NEVER}, NOW) == "polygon"
    assert rows(market, "MENDED") == []
    bar = market.query(
        "select source, low <= high as is_right from marts.market_data_v2 where symbol = 'MENDED' and timestamp = %s",
        HOURS[30].timestamp,
    )
    assert bar == [{"source": "polygon", "is_right": True}]


def test_what_we_rejected_is_not_called_answered_without(market: Warehouse) -> None:
    for symbol, source in (("BADROW", "binance"), ("BADDAY", "polygon")):
        found = gap(market, symbol)
        assert found["verdict"] == "rejected" and found["repair_state"] == "open"
        assert found["evidence"].startswith(f"{source} sent it, and it was rejected: ")


def test_few_trades_are_quiet_and_a_halt_is_not(market: Warehouse) -> None:
    thin = rows(market, "THIN", timeframe="5m")
    assert {(row["verdict"], row["repair_state"]) for row in thin} == {("no trades", "final")}
    assert sum(row["missing_bars"] for row in thin) == 78 * 3 - 18 - 3
    (halt,) = rows(market, "HALT", timeframe="5m")
    assert (halt["verdict"], halt["repair_state"], halt["missing_bars"]) == ("provider hole", "open", 30)


def test_half_a_day_that_a_source_lost_is_no_thin_trade(market: Warehouse) -> None:
    (lost,) = rows(market, "LOST", timeframe="5m")
    assert (lost["verdict"], lost["repair_state"], lost["missing_bars"]) == ("provider hole", "open", 55)


def test_a_row_that_we_refused_divides_what_had_no_trades(market: Warehouse) -> None:
    found = [
        (row["verdict"], row["repair_state"], row["missing_bars"]) for row in rows(market, "REFUSED", timeframe="5m")
    ]
    assert found == [("no trades", "final", 2), ("rejected", "open", 1), ("no trades", "final", 1)]


def test_bars_over_a_hole_are_not_valid_and_bars_over_quiet_minutes_are(market: Warehouse) -> None:
    """Completeness and the verdicts of gaps go by one rule."""
    found = market.query(
        "select series.symbol, series.timeframe, count(*) as bars, count(case when not bars.is_valid then 1 end) as invalid"
        " from intermediate.int_bars_resampled as bars inner join intermediate.int_series as series using (series_id)"
        " where series.symbol in ('THIN', 'HALT', 'LOST', 'REFUSED') and series.timeframe in ('30m', '1d')"
        " group by series.symbol, series.timeframe"
    )
    invalid = {(row["symbol"], row["timeframe"]): row["invalid"] for row in found}
    assert invalid == {
        ("THIN", "30m"): 0, ("THIN", "1d"): 0, ("HALT", "30m"): 2, ("HALT", "1d"): 1,
        ("LOST", "30m"): 2, ("LOST", "1d"): 1, ("REFUSED", "30m"): 1, ("REFUSED", "1d"): 0,
    }  # fmt: skip


def test_a_session_left_out_waits_for_the_other_source(market: Warehouse) -> None:
    (left,) = (row for row in rows(market, "LEFT") if row["timeframe"] == "1d")
    assert (left["verdict"], left["repair_state"], left["answered_by"]) == ("provider hole", "open", "polygon")


def test_holes_of_the_last_days_alert_settled_or_not(market: Warehouse) -> None:
    def alerted() -> set[str]:
        conditions = market.query("select subject from marts.series_conditions where rule = 'recent_gaps'")
        return {row["subject"] for row in conditions}

    assert alerted() == set(), "forty days later nobody trades on them"
    market.now = HOURS[-1].timestamp
    market.build("series_conditions", without_staging=True)
    assert {"crypto REST 1h", "crypto TWO 1h", "crypto BADROW 1h"} <= alerted()
    assert not any("THIN" in subject for subject in alerted())
