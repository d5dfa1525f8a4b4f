"""Coin Metrics: exchange inflows, asked of the simulator and loaded."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import pytest

from extract.load.responses import BadPayload, NoAnswer, Task
from extract.providers.coinmetrics import helpers
from tests.extract.conftest import AAPL, BTC, Market

COIN = {**BTC, "timeframes": "1d", "binance": "", "polygon": "", "source_priority": "yahoo", "coinmetrics": "btc"}
ETH = {**COIN, "symbol": "ETH", "yahoo": "ETH-USD", "coinmetrics": "eth"}


@pytest.fixture
def inflows(market: Market) -> Market:
    """A registry of one asset whose inflows are wanted; its clock stands at 2013-03-02 02:00."""
    market.assets(COIN)
    market.set(COINMETRICS_ENABLED="true")
    return market


def day(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def days_of(row: dict[str, Any]) -> list[str]:
    return [item["time"][:10] for item in row["payload"]["data"]]


def test_nothing_is_asked_unless_switched_on(market: Market) -> None:
    market.assets(COIN)
    market.run("extract")
    assert market.asked("exchange_inflow") == [] and market.rows("coinmetrics") == []


def test_two_years_come_first_and_then_the_days_that_may_be_revised(inflows: Market) -> None:
    inflows.assets(COIN, ETH)
    inflows.run("extract")
    assert sorted(request["query"]["assets"] for request in inflows.asked("exchange_inflow")) == ["btc", "eth"]
    first, other = sorted(inflows.rows("coinmetrics"), key=lambda row: row["symbol"])
    assert (first["symbol"], first["asset_class"], first["provider_symbol"]) == ("BTC", "crypto", "btc")
    assert (other["symbol"], {row["asset"] for row in other["payload"]["data"]}) == ("ETH", {"eth"})
    assert (first["endpoint"], first["origin"], first["status"]) == ("exchange_inflow", "rest", "ok")
    assert (first["window_start"], first["window_end"]) == (day("2011-03-03"), day("2013-03-02"))
    # The newest day is published six hours after its end; it is two o'clock.
    assert (days_of(first)[0], days_of(first)[-1]) == ("2011-03-03", "2013-02-28")
    assert first["row_count"] == len(days_of(first)) == 729 and first["http_status"] == 200
    assert first["quota_remaining"] is not None
    before = first["payload"]["data"][-1]

    inflows.at("2013-03-03T12:00:00Z")
    inflows.run("extract", "--symbols", "BTC")
    newest = inflows.rows("coinmetrics", "symbol = 'BTC'")[-1]
    # The first of March had not come: it is missing as the second is.
    assert (newest["window_start"], newest["window_end"]) == (day("2013-02-22"), day("2013-03-03"))
    (revised,) = (item for item in newest["payload"]["data"] if item["time"] == before["time"])
    assert revised["FlowInExNtv"] != before["FlowInExNtv"], "the provider has revised it"
    assert days_of(newest)[-1] == "2013-03-02"

    for _ in range(2):
        inflows.run("extract", "--symbols", "BTC")
    again = inflows.rows("coinmetrics", "symbol = 'BTC'")[-1]
    assert (again["status"], again["payload"], again["window_start"]) == ("unchanged", None, day("2013-02-23"))


def test_a_dry_run_counts_the_request(inflows: Market) -> None:
    output = inflows.run("extract", "--dry-run")
    assert "coinmetrics: 1 requests" in output and "100 a minute" in output
    assert inflows.asked("exchange_inflow") == []


def test_a_pause_leaves_no_hole(inflows: Market) -> None:
    inflows.run("extract")
    inflows.at("2013-04-20T12:00:00Z")
    inflows.run("extract")
    newest = inflows.rows("coinmetrics")[-1]
    # A week before the first day that has not come.
    assert (newest["window_start"], newest["window_end"]) == (day("2013-02-22"), day("2013-04-20"))


def test_a_backfill_asks_for_its_window(inflows: Market) -> None:
    inflows.run("backfill", "--start", "2012-01-01", "--end", "2012-01-31")
    (row,) = inflows.rows("coinmetrics")
    assert (row["window_start"], row["window_end"]) == (day("2012-01-01"), day("2012-02-01"))
    assert (days_of(row)[0], days_of(row)[-1], row["row_count"]) == ("2012-01-01", "2012-01-31", 31)


def test_pages_are_rows_of_their_own(inflows: Market) -> None:
    inflows.patch.setattr("extract.providers.coinmetrics.PAGE_SIZE", 20)
    inflows.run("extract", "--start", "2012-01-01", "--end", "2012-02-19")
    rows = inflows.rows("coinmetrics")
    assert [len(days_of(row)) for row in rows] == [20, 20, 10]
    ends = [day("2012-01-01"), day("2012-01-21"), day("2012-02-10"), day("2012-02-20")]
    assert [(row["window_start"], row["window_end"]) for row in rows] == list(zip(ends, ends[1:], strict=False))
    assert len({name for row in rows for name in days_of(row)}) == 50


@pytest.mark.parametrize(("status", "kind"), [(400, "bad_parameter"), (403, "forbidden")])
def test_a_refusal_is_an_answer(inflows: Market, status: int, kind: str) -> None:
    inflows.simulator.add_fault(kind="status", status=status, provider="coinmetrics")
    output = inflows.run("extract", expect=3)
    assert re.search(rf"exchange_inflow.*HTTP {status}.*{kind}", output)
    assert len(inflows.asked("exchange_inflow")) == 1, "a refusal is not asked again"
    (row,) = inflows.rows("coinmetrics")
    assert (row["status"], row["http_status"], row["payload"]) == ("failed", status, None)


def test_too_many_requests_are_asked_again(inflows: Market) -> None:
    inflows.simulator.add_fault(kind="status", status=429, provider="coinmetrics", count=1)
    inflows.run("extract")
    assert [request["status"] for request in inflows.asked("exchange_inflow")] == [429, 200]


def test_an_unknown_asset_fails_alone(inflows: Market) -> None:
    inflows.assets(COIN, {**ETH, "coinmetrics": "nosuch"})
    output = inflows.run("extract", expect=3)
    assert "'nosuch' is not supported" in output
    assert {row["symbol"]: row["status"] for row in inflows.rows("coinmetrics")} == {"BTC": "ok", "ETH": "failed"}


def test_the_doctor_tries_the_symbol(inflows: Market) -> None:
    inflows.set(POLYGON_API_KEY="simulator")
    assert "ok    symbols of coinmetrics: all 1 names known" in inflows.run("doctor")
    inflows.assets({**COIN, "coinmetrics": "nosuch"})
    assert "FAIL  symbols of coinmetrics" in inflows.run("doctor", expect=1)


def test_bodies() -> None:
    task = Task("coinmetrics", "exchange_inflow", day("2012-01-01"), day("2012-02-01"), "BTC", "crypto", "btc")
    good = b'{"data":[{"asset":"btc","time":"2012-01-01T00:00:00.000000000Z","FlowInExNtv":"1.5"}]}'
    pending = b'{"data":[{"asset":"btc","time":"2012-01-01T00:00:00.000000000Z","FlowInExNtv":null}]}'
    parsed = helpers.inflows(good, task, may_be_empty=False)
    assert parsed.row_count == 1 and parsed.first_at == parsed.last_at == day("2012-01-01")
    empty = helpers.inflows(pending, task, may_be_empty=True)
    assert empty.row_count == 0 and empty.last_at is None, "a day whose value is still to come has not come"
    assert helpers.newest_day(good) == day("2012-01-01") and helpers.newest_day(b'{"data":[]}') is None
    assert helpers.next_page(good) is None
    for body in (pending, b'{"data":[]}'):
        with pytest.raises(NoAnswer):
            helpers.inflows(body, task, may_be_empty=False)
    wrong = (good.replace(b"btc", b"eth"), good.replace(b"2012", b"2011"))
    for body in (b"<html>", b"[]", b'{"error":{}}', b'{"data":[1]}', *wrong):
        with pytest.raises(BadPayload):
            helpers.inflows(body, task, may_be_empty=True)
    assert helpers.inflows(good.replace(b"btc", b"BTC"), task, may_be_empty=True).row_count == 1


def test_it_may_be_the_only_one_asked_where_it_is_enabled(market: Market) -> None:
    """It has no bars, so no series fails for want of them."""
    off = market.run("extract", "--source", "coinmetrics", expect=78)
    assert "coinmetrics is none of polygon binance yahoo (coinmetrics is off" in off
    market.set(COINMETRICS_ENABLED="true")
    market.assets({**BTC, "coinmetrics": "btc"}, AAPL)
    output = market.run("extract", "--source", "coinmetrics", "--start", "2013-01-01", "--end", "2013-01-31")
    assert "all 1 done" in output and {one["provider"] for one in market.asked()} == {"coinmetrics"}
    (row,) = market.rows("coinmetrics")
    assert row["row_count"] == 31
    refused = market.run(
        "backfill", "--source", "coinmetrics", "--start", "2013-01-01", "--end", "2013-01-31", expect=78
    )
    assert "market extract --source coinmetrics" in refused
