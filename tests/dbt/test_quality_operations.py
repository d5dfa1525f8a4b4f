"""What the quality and operations marts tell: logs, health, backfills, day metrics, gaps, freshness, reconciliation.

Several symbols play in one warehouse, because a build costs seconds however little it builds: the module's fixture loads
a small market, builds, changes it, and builds again. Each test reads what it is about.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal as D
from typing import Any

import pytest

from scripts.site.reference_formulas import STEP
from tests.dbt.test_bars import run_of, stock_bars
from tests.oracle.bars import Bar, resample
from tests.warehouse import Answer, BuildFailed, MakeWarehouse, Warehouse, bar_answer, crypto, stock

MARCH = datetime(2025, 3, 3, tzinfo=UTC)
# A Thursday, 19:00 in New York.
NOW = datetime(2025, 3, 7, tzinfo=UTC)
SATURDAY = datetime(2025, 3, 8, 17, tzinfo=UTC)
MARTS = (
    "+bar_gaps +enrichment_status +data_source_log +feature_computation_log +data_quality_metrics +source_health"
    " +backfill_state +source_reconciliation +quality_components"
)
WRITTEN = (
    "enrichment_fetch_log", "enrichment_compute_log", "data_quality_metrics", "bar_gaps", "source_reconciliation",
    "series_quality_by_day", "int_bar_gaps", "int_bars_against_consensus",
)  # fmt: skip
COMPARED = {
    "marts.enrichment_fetch_log": "created_at",
    "marts.data_quality_metrics": "created_at",
    "marts.source_reconciliation": "created_at",
}
Rows = list[dict[str, Any]]


@dataclass
class Market:
    """The warehouse after its last build, and what earlier states of it showed."""

    warehouse: Warehouse
    first_gaps: Rows = field(default_factory=list)
    first_reconciled: Rows = field(default_factory=list)
    first_metrics: Rows = field(default_factory=list)
    first_computed: Rows = field(default_factory=list)
    first_notes: Rows = field(default_factory=list)
    failure: str = ""
    without_changes: dict[str, str] = field(default_factory=dict)

    def rows(self, relation: str, where: str = "true", order: str = "1") -> Rows:
        return self.warehouse.query(f"select * from {relation} where {where} order by {order}")


def window(start: datetime, hours: float) -> tuple[datetime, datetime]:
    return start, start + timedelta(hours=hours)


def scaled(bars: Sequence[Bar], factor: str) -> list[Bar]:
    k = D(factor)
    return [replace(bar, open=bar.open * k, high=bar.high * k, low=bar.low * k, close=bar.close * k) for bar in bars]


def answer(
    provider: str, symbol: str, timeframe: str, bars: Sequence[Bar], asked: tuple[datetime, datetime], **more: Any
) -> Answer:
    return bar_answer(provider, symbol, timeframe, bars, window=asked, **more)


def failed(symbol: str, timeframe: str, asked: tuple[datetime, datetime], **values: Any) -> Answer:
    values = {"error": "binance is down; wait", "http_status": 503, "breaker_state": "OPEN"} | values
    return Answer("bars", symbol, None, timeframe, asked, status="failed", values=values)


HOURS = run_of(MARCH, 96, "1h")
DAYS: list[Bar] = list(resample(HOURS, source_step=timedelta(hours=1), timeframe="1d", calendar="24/7"))
SESSIONS = stock_bars("1d", date(2025, 2, 3), date(2025, 3, 6))
FIVE_MINUTES = stock_bars("5m", date(2025, 3, 3), date(2025, 3, 6))
REFUSE = """
create function refuse() returns trigger language plpgsql as $$ begin raise exception 'the disk''s full'; end $$;
create trigger refuse before insert or update on marts.market_data_v2 execute function refuse();
"""
NOTED = "symbol = 'THREE' and timeframe = '1d'"
ASKED_DAYS = (datetime(2025, 1, 30, 5, tzinfo=UTC), datetime(2025, 3, 7, 5, tzinfo=UTC))
HOLE, HOLIDAY = 8, 12


def without(bars: Sequence[Bar], *missing: int) -> list[Bar]:
    return [bar for number, bar in enumerate(bars) if number not in missing]


@pytest.fixture(scope="module")
def market(make_warehouse: MakeWarehouse) -> Market:
    warehouse = make_warehouse("warehouse")
    warehouse.now = NOW
    warehouse.assets(
        [
            crypto("GAPS", "1h"),
            crypto("THREE", "1h 1d"),
            stock("AAA", "1d"),
            stock("BBB", "1d"),
            stock("MIN", "5m", polygon="", yahoo="MIN"),
            stock("OFF", "1d", enabled="false"),
        ]
    )
    # Three stretches were asked for with success, one failed, one was never asked for.
    at = [MARCH + n * STEP["1h"] for n in range(97)]
    warehouse.load(
        "binance",
        answer("binance", "GAPS", "1h", without(HOURS[:20], 5), (at[0], at[20]), fetched_at=NOW - timedelta(minutes=9)),
        failed("GAPS", "1h", (at[20], at[30]), response_ms=3000),
        answer("binance", "GAPS", "1h", HOURS[30:40], (at[30], at[40]), values={"quota_remaining": 5900}),
        answer("binance", "GAPS", "1h", HOURS[50:], (at[50], at[96])),
        answer("binance", "THREE", "1h", HOURS, (at[0], at[96])),
        answer("binance", "THREE", "1d", [replace(DAYS[0], close=DAYS[0].close + 1), *DAYS[1:]], (at[0], at[96])),
    )
    # Two sources agree against the first one on the third day only.
    said = [*DAYS[:2], *scaled(DAYS[2:3], "1.03"), DAYS[3]]
    warehouse.load("polygon", answer("polygon", "THREE", "1d", said, (at[0], at[96])))
    agreeing = [*DAYS[:2], *scaled(DAYS[2:3], "1.0301"), DAYS[3]]
    warehouse.load("yahoo", answer("yahoo", "THREE", "1d", agreeing, (at[0], at[96]), time_zone="UTC"))
    warehouse.load(
        "polygon",
        answer("polygon", "AAA", "1d", without(SESSIONS, HOLE, HOLIDAY), ASKED_DAYS),
        answer("polygon", "BBB", "1d", without(SESSIONS, HOLIDAY), ASKED_DAYS),
        answer("polygon", "OFF", "1d", SESSIONS[:5], (ASKED_DAYS[0], SESSIONS[5].timestamp)),
    )
    asked = (FIVE_MINUTES[0].timestamp, NOW)
    warehouse.load("yahoo", answer("yahoo", "MIN", "5m", without(FIVE_MINUTES, 30, 31), asked))
    warehouse.build(MARTS)
    state = Market(warehouse)
    state.first_gaps = state.rows("marts.bar_gaps", order="symbol, gap_from")
    state.first_reconciled = state.rows("marts.source_reconciliation", order="timestamp, other_source, field")
    state.first_metrics = state.rows("marts.data_quality_metrics", order="symbol, metric_date")
    state.first_computed = state.rows("marts.enrichment_compute_log", order="symbol, timeframe")
    state.first_notes = state.rows("marts.market_data_v2", NOTED, "timestamp")
    state.without_changes = warehouse.build(MARTS, without_staging=True)
    # The hole, a part of what was never asked for, and a correction arrive; one bar is amended.
    warehouse.load("polygon", answer("polygon", "AAA", "1d", SESSIONS[7:10], window(SESSIONS[7].timestamp, 72)))
    warehouse.load(
        "binance",
        answer("binance", "GAPS", "1h", [replace(HOURS[39], volume=D(7)), *HOURS[40:45]], (at[39], at[45])),
        answer("binance", "THREE", "1d", DAYS[:1], window(at[0], 24)),
    )
    # One of the two that outvoted the first one takes it back.
    warehouse.load("polygon", answer("polygon", "THREE", "1d", DAYS[2:3], window(at[48], 24)))
    # Two builds break off: one ends after it has found out what to compute, one fails to write it.
    warehouse.build("+int_recompute_ranges", without_staging=True)
    warehouse.execute(REFUSE)
    with pytest.raises(BuildFailed) as failure:
        warehouse.build(MARTS, without_staging=True)
    state.failure = str(failure.value)
    warehouse.execute("drop function refuse() cascade")
    warehouse.build(MARTS, without_staging=True)
    return state


# ---------------------------------------------------------------- the fetch log


def test_each_request_is_logged_with_what_was_new_of_it(market: Market) -> None:
    rows = market.rows("marts.enrichment_fetch_log", "symbol = 'GAPS'", "id")
    assert [
        (row["window_start"], row["success"], row["records_fetched"], row["records_inserted"], row["records_updated"])
        for row in sorted(rows, key=lambda row: (row["batch"], row["window_start"]))
    ] == [
        (MARCH, True, 19, 19, 0),
        (MARCH + 20 * STEP["1h"], False, 0, 0, 0),
        (MARCH + 30 * STEP["1h"], True, 10, 10, 0),
        (MARCH + 50 * STEP["1h"], True, 46, 46, 0),
        (MARCH + 39 * STEP["1h"], True, 6, 5, 1),
    ]
    assert len({row["id"] for row in rows}) == len(rows)
    (failure,) = (row for row in rows if not row["success"])
    assert (failure["status"], failure["http_status"], failure["breaker_state"]) == ("failed", 503, "OPEN")
    assert failure["error_details"] == "binance is down; wait" and failure["source_response_time_ms"] == 3000


def test_the_plan_s_name_shows_the_same_requests(market: Market) -> None:
    (row,) = market.warehouse.query(
        "select count(*) as n, count(*) filter (where log.id is null) as unknown"
        " from marts.data_source_log as old full join marts.enrichment_fetch_log as log using (id)"
    )
    assert row["n"] == 16 and row["unknown"] == 0


# ---------------------------------------------------------------- a run without news


def test_a_run_without_news_writes_no_row(market: Market) -> None:
    assert {name: market.without_changes[name].split()[-1] for name in WRITTEN} == dict.fromkeys(WRITTEN, "0")


# ---------------------------------------------------------------- gaps


def gaps(rows: Rows, symbol: str, timeframe: str) -> list[tuple[Any, ...]]:
    return [
        (row["gap_from"], row["gap_to"], row["verdict"], row["repair_state"], row["missing_bars"])
        for row in rows
        if (row["symbol"], row["timeframe"]) == (symbol, timeframe) and row["place"] == "between"
    ]


def test_every_missing_range_has_the_verdict_its_answers_give(market: Market) -> None:
    def hours(first: int, last: int) -> tuple[datetime, datetime]:
        return MARCH + first * STEP["1h"], MARCH + last * STEP["1h"]

    assert gaps(market.first_gaps, "GAPS", "1h") == [
        # One look at it by one source is no proof.
        (*hours(5, 6), "outage", "open", 1),
        (*hours(20, 30), "outage", "open", 10),
        (*hours(40, 50), "not fetched", "open", 10),
    ]


def test_a_session_left_out_is_a_hole_and_quiet_minutes_are_no_trades(market: Market) -> None:
    hole = SESSIONS[HOLE].timestamp
    assert gaps(market.first_gaps, "AAA", "1d") == [(hole, hole + timedelta(days=1), "provider hole", "open", 1)]
    quiet = FIVE_MINUTES[30].timestamp
    assert gaps(market.first_gaps, "MIN", "5m") == [(quiet, quiet + timedelta(minutes=10), "no trades", "final", 2)]
    evidence = {row["symbol"]: row["evidence"] for row in market.first_gaps if row["verdict"] == "provider hole"}
    assert evidence == {"AAA": "polygon answered without it, more than nobody trading; one look, on 2025-03-07"}


def test_an_empty_day_of_the_whole_market_is_one_suspected_closure(market: Market) -> None:
    (closure,) = (row for row in market.first_gaps if row["verdict"] == "closed session")
    assert (closure["symbol"], closure["gap_from"]) == ("XNYS", SESSIONS[HOLIDAY].timestamp)
    assert closure["evidence"].startswith("suspected closure: none of 2 symbols")


def test_what_lies_before_the_first_bar_is_not_listed_and_after_the_last_not_fetched(market: Market) -> None:
    (before,) = (row for row in market.first_gaps if row["place"] == "before" and row["symbol"] == "AAA")
    assert (before["verdict"], before["missing_bars"]) == ("not listed", 2)
    after = {row["symbol"] for row in market.first_gaps if row["place"] == "after" and row["verdict"] != "no trades"}
    assert after == set(), "everything up to now was asked for; a disabled asset expects nothing"


def test_the_next_build_proves_a_repair_and_divides_what_is_left(market: Market) -> None:
    rows = market.rows("marts.bar_gaps", order="symbol, gap_from")
    ((start, _, verdict, state, _),) = gaps(rows, "AAA", "1d")
    assert (start, verdict, state) == (SESSIONS[HOLE].timestamp, "repaired", "repaired")
    left = [gap for gap in gaps(rows, "GAPS", "1h") if gap[2] == "not fetched"]
    assert min(gap[0] for gap in left) == MARCH + 45 * STEP["1h"] and sum(gap[4] for gap in left) == 5


# ---------------------------------------------------------------- days, computations, freshness


def test_a_day_s_metrics_are_those_of_its_bars(market: Market) -> None:
    expected = market.warehouse.query(
        "select symbol, asset_class, session_date as metric_date, count(*) as total_records,"
        " count(*) filter (where is_validated) as validated_records,"
        " round(100.0 * count(*) filter (where is_validated) / count(*), 2) as validation_rate,"
        " count(*) filter (where gap_detected) as gaps_detected,"
        " count(*) filter (where volume_anomaly) as anomalies_detected,"
        " round(avg(quality_score), 2) as avg_quality_score, round(avg(data_completeness), 2) as data_completeness"
        " from marts.market_data_v2 group by 1, 2, 3 order by 1, 2, 3"
    )
    rows = market.rows("marts.data_quality_metrics", order="symbol, asset_class, metric_date")
    assert [{name: row[name] for name in expected[0]} for row in rows] == expected
    assert market.first_metrics != rows, "the second build changed some"


def test_the_compute_log_counts_what_each_build_wrote(market: Market) -> None:
    first = {(row["symbol"], row["timeframe"]): row for row in market.first_computed}
    hour = first["THREE", "1h"]
    assert (hour["rows_computed"], hour["success"], hour["newest_bar"]) == (96, True, HOURS[-1].timestamp)
    # 22 features; no samples of the derivatives were loaded.
    assert set(hour["missing_fields"]) == {
        "liquidation_intensity", "long_short_ratio", "funding_rate_percentile", "exchange_inflow", "open_interest_change",
    }  # fmt: skip
    assert hour["features_computed"] == 17 and hour["computation_time_ms"] >= 0
    assert "return_1h" not in first["AAA", "1d"]["missing_fields"], "not defined for days"


def test_a_build_that_broke_off_is_logged_by_the_next_one(market: Market) -> None:
    log = market.rows("marts.enrichment_compute_log", order="rows_computed desc")
    hours = [row for row in log if (row["symbol"], row["timeframe"]) == ("GAPS", "1h")]
    assert sorted(row["success"] for row in hours) == [False, False, True, True]
    failed_build, killed = sorted(
        (row for row in hours if not row["success"]), key=lambda row: "killed" in row["error_details"]
    )
    assert killed["error_details"].startswith("the build was killed")
    assert "market_data" in market.failure and "the disk's full" in market.failure
    assert "the build failed: market_data: " in failed_build["error_details"]
    assert "the disk's full" in failed_build["error_details"]
    assert [row["rows_computed"] for row in (killed, failed_build)] == [0, 0]
    # Only what those builds were about to compute, and once.
    assert {row["symbol"] for row in log if not row["success"]} == {"GAPS", "THREE", "AAA"}
    assert len({row["id"] for row in log}) == len(log)
    assert market.rows("ops.computations") == []


# ---------------------------------------------------------------- the score's parts


def test_the_parts_of_a_score_make_it(market: Market) -> None:
    rows = market.rows("marts.quality_components", order="id")
    (bars,) = market.warehouse.query("select count(*) as n from marts.market_data_v2")
    assert len(rows) == bars["n"] > 500
    for row in rows:
        parts = (
            0.4 * row["fields_share"] + 0.3 * row["checks_share"] + 0.2 * row["features_share"]
            + 0.1 * row["freshness_share"]
        )  # fmt: skip
        assert abs(float(row["quality_score"]) - parts) <= 0.005 + 1e-12, row
    late = [row for row in rows if not row["is_backfilled"]]
    assert {row["freshness_share"] for row in rows if row["is_backfilled"]} == {1}
    assert all(row["seconds_to_first_sight"] >= 0 for row in late)


@pytest.fixture(scope="module")
def status(market: Market) -> Callable[[datetime], dict[tuple[str, str], dict[str, Any]]]:
    def at(now: datetime) -> dict[tuple[str, str], dict[str, Any]]:
        market.warehouse.now = now
        market.warehouse.build("enrichment_status")
        return {(row["symbol"], row["timeframe"]): row for row in market.rows("marts.enrichment_status")}

    return at


def test_a_weekend_is_not_stale_and_a_missed_session_is(market: Market, status: Any) -> None:
    warehouse = market.warehouse
    warehouse.now = SATURDAY
    friday = stock_bars("1d", date(2025, 3, 7), date(2025, 3, 7))
    warehouse.load("polygon", answer("polygon", "AAA", "1d", friday, window(friday[0].timestamp, 24)))
    warehouse.build(MARTS, without_staging=True)
    rows = status(SATURDAY)
    fresh, stale = rows["AAA", "1d"], rows["BBB", "1d"]
    assert fresh["newest_bar_closed_at"] == datetime(2025, 3, 7, 21, tzinfo=UTC)
    assert fresh["data_age_seconds"] == 20 * 3600, "the age itself counts from the close of the bar"
    assert (fresh["late_seconds"], fresh["is_stale"], fresh["sla_level"]) == (0, False, "on time")
    assert fresh["next_bar_closes_at"] == datetime(2025, 3, 10, 20, tzinfo=UTC), "Monday, in summer time"
    # Friday's bar was due at its close, 15 minutes later by Polygon's delay.
    assert (stale["late_seconds"], stale["is_stale"], stale["sla_level"]) == (20 * 3600 - 900, True, "stale")
    off = rows["OFF", "1d"]
    assert (off["is_enabled"], off["is_stale"], off["late_seconds"]) == (False, False, 0)


@pytest.mark.parametrize(
    ("late", "level"), [(0, "on time"), (30, "on time"), (31, "late"), (121, "critical"), (601, "stale")]
)
def test_lateness_has_the_levels_of_the_sla(status: Any, late: int, level: str) -> None:
    due = HOURS[-1].timestamp + 2 * STEP["1h"]
    row = status(due + timedelta(seconds=late))["THREE", "1h"]
    assert (row["late_seconds"], row["sla_level"], row["is_stale"]) == (late, level, level == "stale")
    assert row["is_alert_due"] == (late > 60)


def test_status_tells_bars_gaps_and_the_last_failure(market: Market, status: Any) -> None:
    row = status(NOW)["GAPS", "1h"]
    assert row["bars"] == 19 + 10 + 46 + 5 == row["validated_bars"]
    assert row["source_in_use"] == "binance" and row["open_gaps"] == 3
    assert row["last_error"] == "binance is down; wait" and row["last_run_id"] == "test"


# ---------------------------------------------------------------- sources and backfills


def test_health_counts_answers_and_shows_breaker_and_ban_live(market: Market) -> None:
    def health() -> dict[str, dict[str, Any]]:
        return {row["source"]: row for row in market.rows("marts.source_health")}

    binance = health()["binance"]
    assert (binance["requests"], binance["failed_requests"], binance["error_rate"]) == (8, 1, D("0.1250"))
    assert (binance["p50_response_ms"], binance["quota_remaining"], binance["breaker_state"]) == (1, 5900, "CLOSED")
    assert binance["last_error"] == "binance is down; wait" and binance["last_success_at"] is not None
    assert health()["coinmetrics"]["requests"] == 0
    market.warehouse.execute(
        "insert into ops.circuit_breaker (source, state, failures, opened_at)"
        " values ('binance', 'half-open', 3, '2025-03-06 23:00:00+00');"
        "insert into ops.source_budget (budget, blocked_until) values ('yahoo', '2999-01-01 00:00:00+00')"
    )
    after = health()
    assert after["binance"]["breaker_state"] == "HALF_OPEN"
    assert after["binance"]["breaker_state_since"] == datetime(2025, 3, 6, 23, tzinfo=UTC)
    assert after["yahoo"]["blocked_until"] == datetime(2999, 1, 1, tzinfo=UTC)


def test_a_backfill_is_where_its_answers_end(market: Market) -> None:
    market.warehouse.execute(
        "insert into ops.backfill_jobs (window_start, window_end, asked_at) values"
        " ('2025-03-03 00:00:00+00', '2025-03-03 20:00:00+00', '2020-01-01 00:00:00+00'),"
        " ('2025-03-03 00:00:00+00', '2025-03-07 00:00:00+00', '2020-01-01 00:00:00+00');"
        "insert into ops.backfill_series values (1, 'GAPS', 'crypto', '1h'), (2, 'GAPS', 'crypto', '1h'),"
        " (2, 'AAA', 'stock', '1d'), (2, 'NEW', 'stock', '1d')"
    )
    rows = market.rows("marts.backfill_state", order="backfill_job_id, symbol")
    assert [(row["symbol"], row["status"], row["last_successful_date"], row["retry_count"]) for row in rows] == [
        ("GAPS", "completed", date(2025, 3, 3), 0),
        ("AAA", "completed", date(2025, 3, 6), 0),
        ("GAPS", "in_progress", date(2025, 3, 3), 1),
        ("NEW", "pending", None, 0),
    ]
    assert rows[2]["error_message"] == "binance is down; wait"
    assert str(rows[0]["backfill_job_id"]).endswith("0001") and rows[0]["end_date"] == date(2025, 3, 3)


# ---------------------------------------------------------------- reconciliation


def compared(rows: Rows, day: int, **values: Any) -> dict[str, tuple[Any, ...]]:
    return {
        row["field"]: (row["difference_bp"], row["verdict"], row["is_against_consensus"])
        for row in rows
        if row["timestamp"] == MARCH + timedelta(days=day) and all(row[name] == is_ for name, is_ in values.items())
    }


def test_each_field_is_compared_and_two_that_agree_outvote_the_third(market: Market) -> None:
    other = {"source": "binance", "other_source": "polygon"}
    same = (D(0), "within tolerance", False)
    assert compared(market.first_reconciled, 1, **other) == dict.fromkeys(("open", "high", "low", "close"), same)
    far = compared(market.first_reconciled, 2, **other)
    assert far == dict.fromkeys(("open", "high", "low", "close"), (D(300), "differs", True)), "and never volumes"
    others = compared(market.first_reconciled, 2, source="polygon", other_source="yahoo")
    assert {verdict for _, verdict, _ in others.values()} == {"within tolerance"}
    basis = {(row["source"], row["other_source"]): row["basis"] for row in market.first_reconciled}
    assert basis["binance", "polygon"] == "USDT against USD" and basis["polygon", "yahoo"] is None


def test_an_outvoted_bar_says_so_until_the_others_differ(market: Market) -> None:
    notes = [row["validation_notes"] for row in market.first_notes]
    alone = "outvoted by other sources: "
    # On the first day the exchange told a wrong close, and nothing else wrong.
    assert notes == [f"{alone}close", None, f"{alone}close, high, low, open", None]
    outvoted = market.first_notes[2]
    assert outvoted["is_validated"] and outvoted["sma_20"] is None and outvoted["hlc3"] is not None, (
        "noted, not held back"
    )
    now = market.rows("marts.market_data_v2", NOTED, "timestamp")
    assert [row["validation_notes"] for row in now] == [None] * 4
    assert market.rows("marts.source_reconciliation", "is_against_consensus") == []
    kept = market.rows("intermediate.int_bars_against_consensus")
    assert [row["fields_against_consensus"] for row in kept] == [None, None]
    # Others of the series were computed again, and not written: nothing of them differs.
    written = {row["timestamp"] for row in now if row["updated_at"] > outvoted["updated_at"]}
    assert written == {DAYS[0].timestamp, DAYS[1].timestamp, DAYS[2].timestamp}


def test_our_own_days_are_held_against_the_exchange_s(market: Market) -> None:
    resampled = {"resampled_from": "1h", "source": "binance"}
    wrong = compared(market.first_reconciled, 0, **resampled)
    assert wrong["close"][1] == "differs" and wrong["close"][0] != 0
    assert all(verdict == "within tolerance" for name, (_, verdict, _) in wrong.items() if name != "close")
    assert set(wrong) == {"open", "high", "low", "close", "volume"}
    now = compared(market.rows("marts.source_reconciliation"), 0, **resampled)
    assert now["close"] == (D(0), "within tolerance", False), "the exchange corrected its day"


def test_currencies_follow_from_the_source_s_name(market: Market) -> None:
    rows = market.rows("intermediate.int_quote_currencies", "symbol = 'THREE'", "source")
    assert [(row["source"], row["currency"]) for row in rows] == [
        ("binance", "USDT"),
        ("polygon", "USD"),
        ("yahoo", "USD"),
    ]


# ---------------------------------------------------------------- last, since it builds all anew


def test_increments_give_what_a_full_refresh_gives_in_any_time_zone(market: Market) -> None:
    def content() -> dict[str, set[tuple[Any, ...]]]:
        return {
            relation: {
                tuple(str(value) for name, value in row.items() if name != skipped) for row in market.rows(relation)
            }
            for relation, skipped in COMPARED.items()
        } | {
            # Only increments know what was repaired.
            "gaps": {
                (row["symbol"], row["timeframe"], row["gap_from"], row["gap_to"], row["verdict"], row["missing_bars"])
                for row in market.rows("marts.bar_gaps", "repair_state <> 'repaired'")
            },
            "notes": {
                tuple(str(value) for name, value in row.items() if name not in ("computed_at", "updated_at"))
                for row in market.rows("marts.market_data_v2")
            },
            "days": {
                tuple(str(value) for name, value in row.items() if name != "changed_in_batch")
                for row in market.rows("marts.series_quality_by_day", "bars > 0")
            },
        }

    market.warehouse.now = SATURDAY
    market.warehouse.build(MARTS, without_staging=True)
    incremental = content()
    # Where the process and its database sessions are does not matter either.
    for zone in ("Asia/Tokyo", "America/Los_Angeles"):
        market.warehouse.build(MARTS, full_refresh=True, time_zone=zone)
        rebuilt = content()
        for name, rows in incremental.items():
            assert rows == rebuilt[name], (zone, name)
