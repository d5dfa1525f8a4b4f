"""Gaps that dbt found are asked for: of each source in turn, then by the schedule, each time with the bars around them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest

from extract.coverage.looks import AGAIN_AFTER, Seen
from extract.plan import gaps
from extract.plan.gaps import FAILED_AGAIN_AFTER, NEVER, Gap, turn
from tests.conftest import ROOT
from tests.extract.conftest import BTC, Market

BAR_GAPS = """
create schema if not exists marts;
create table marts.bar_gaps (
    symbol text, asset_class text, timeframe text, gap_from timestamptz, gap_to timestamptz, verdict text, place text,
    repair_state text, answered_by text, updated_at timestamptz, next_look_at timestamptz
);
insert into marts.bar_gaps values
('BTC', 'crypto', '1h', '2013-02-10 03:00Z', '2013-02-10 06:00Z', 'outage', 'between', 'open', 'binance',
    '2013-03-02 01:00Z', null),
('BTC', 'crypto', '1h', '2013-02-11 03:00Z', '2013-02-11 06:00Z', 'outage', 'between', 'final', 'binance',
    '2013-03-02 01:00Z', null),
('BTC', 'crypto', '1h', '2013-03-02 00:00Z', '2013-03-02 01:00Z', 'outage', 'after', 'open', 'binance',
    '2013-03-02 01:00Z', null);
"""
START = datetime(2026, 1, 1, tzinfo=UTC)


def test_a_hole_of_one_source_is_asked_of_each_of_the_others_with_the_bars_around_it(market: Market) -> None:
    market.run("extract")
    market.execute(BAR_GAPS)
    # Polygon has not been asked yet; nor, in the next run, Yahoo. What is final, or only late, is not asked for.
    assert "BTC 1h repair: 5 rows from polygon" in market.run("extract")
    (polygon,) = market.rows("polygon", "endpoint = 'bars'")
    assert polygon["window_start"].isoformat() == "2013-02-10T02:00:00+00:00"
    assert polygon["window_end"].isoformat() == "2013-02-10T07:00:00+00:00"
    market.at("2013-03-02T02:10:00Z")
    assert "BTC 1h repair: 5 rows from yahoo" in market.run("extract")
    market.at("2013-03-02T02:20:00Z")
    assert "BTC 1h repair" not in market.run("extract"), "all were asked, and no build has judged it since"


def test_a_dry_run_shows_the_repairs(market: Market) -> None:
    market.run("extract")
    market.execute(BAR_GAPS)
    market.set(COLUMNS="200")
    assert "BTC 1h repair" in market.run("extract", "--dry-run")


def test_so_many_gaps_a_run_those_that_wait_the_longest_first(market: Market, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gaps, "GAPS_A_RUN", 2)
    market.assets({**BTC, "source_priority": "binance"})
    market.run("extract")
    market.execute(BAR_GAPS)
    market.execute(
        "delete from marts.bar_gaps; insert into marts.bar_gaps"
        " select 'BTC', 'crypto', '1h', day, day + interval '1 hour', 'outage', 'between', 'open', 'binance', day, day"
        " from generate_series(timestamptz '2013-02-14 00:00Z', '2013-02-19 00:00Z', interval '1 day') as days (day)"
    )
    market.at("2013-03-02T02:10:00Z")
    market.asked()
    assert "repair: 6 rows from binance in 2 requests" in market.run("extract")
    days = {row["window_start"].day for row in market.rows("binance", "window_end - window_start = interval '3 hours'")}
    assert days == {13, 14}


def test_a_repair_that_fails_is_no_failure_of_the_series_and_rests_for_a_day(market: Market) -> None:
    market.assets({**BTC, "source_priority": "binance yahoo"})
    market.run("extract")
    market.execute(BAR_GAPS)
    market.simulator.add_fault(kind="status", status=404, provider="yahoo", endpoint="bars")
    assert "BTC 1h repair: not all of it from yahoo" in market.run("extract")
    market.at("2013-03-02T02:10:00Z")
    assert "repair" not in market.run("extract")


def test_gaps_of_a_build_of_the_version_before_are_repaired_too(market: Market) -> None:
    market.run("extract")
    market.execute(BAR_GAPS)
    market.execute("alter table marts.bar_gaps drop column next_look_at")
    assert "BTC 1h repair: 5 rows from polygon" in market.run("extract")


def gap(answered_by: str | None, judged_at: datetime, next_look_at: datetime | None) -> Gap:
    return Gap("BTC", "1h", START, START, "between", answered_by, judged_at, next_look_at)


def test_the_source_whose_turn_it_is() -> None:
    judged = START + timedelta(days=9)
    fresh = {"binance": START, "polygon": NEVER, "yahoo": NEVER}
    assert turn(gap("binance", judged, None), fresh, judged) == "polygon"
    assert turn(gap("binance, polygon", judged, None), fresh, judged) == "yahoo"
    all_asked = {"binance": START + timedelta(days=2), "polygon": START + timedelta(days=1)}
    due = judged - timedelta(hours=1)
    assert turn(gap("binance, polygon", judged, due), all_asked, judged) == "polygon", "the one asked the longest ago"
    assert turn(gap("binance, polygon", judged, judged + timedelta(hours=1)), all_asked, judged) is None
    failed = {**all_asked, "polygon": judged}
    assert turn(gap("binance", judged, due), failed, judged + timedelta(hours=1)) is None
    later = judged + FAILED_AGAIN_AFTER + timedelta(hours=1)
    assert turn(gap("binance", judged, due), failed, later) == "binance"


def test_a_hole_that_nobody_fills_costs_a_bounded_number_of_requests() -> None:
    """A run every five minutes with a build after each, for a hundred days."""
    seen, asked = Seen((START, START), 1, START, START), []
    for minutes in range(0, 100 * 24 * 60, 5):
        now = START + timedelta(minutes=minutes)
        last = {"binance": seen.last_at or NEVER}
        if seen.next_at is not None and turn(gap("binance", now, seen.next_at), last, now):
            asked.append(now)
            seen = Seen(seen.window, seen.times + 1, START, now)
    day = timedelta(days=1)
    assert [at - START for at in asked] == [timedelta(), *(one if one < day else one + day for one in AGAIN_AFTER)]
    assert seen.next_at is None


def test_dbt_and_extract_have_one_schedule() -> None:
    macro = (ROOT / "dbt_project" / "macros" / "quality" / "coverage.sql").read_text()
    (hours,) = re.findall(r"return\(\[([\d, ]+)\]\)", macro)
    assert [timedelta(hours=int(one)) for one in hours.split(", ")] == list(AGAIN_AFTER)
