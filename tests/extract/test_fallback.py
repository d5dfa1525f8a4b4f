"""Which source is asked for what: the next one for what the first could not give, and for that only."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace

import pytest

from extract.providers.polygon import Polygon
from extract.transport.budget import RequestsPerMinute, Spent, WeightPerMinute
from tests.extract.conftest import AAPL, BTC, Market

MSFT = {**AAPL, "symbol": "MSFT", "polygon": "MSFT", "yahoo": "MSFT"}
YESTERDAY = "2013-03-01"


@pytest.fixture
def only_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    """Polygon is asked for nothing beside bars: that would wait for its budget, a real minute."""
    monkeypatch.setattr(Polygon, "extra_tasks", lambda *_: [])


@pytest.fixture
def spent_budget(monkeypatch: pytest.MonkeyPatch, only_bars: None) -> list[bool]:
    """A budget without room, that costs nobody any time; and who was willing to wait for it."""
    asked: list[bool] = []

    def wait(self: RequestsPerMinute, weight: int = 1, may_wait: bool = True) -> None:
        asked.append(may_wait)
        if not may_wait:
            raise Spent("the budget is spent")

    monkeypatch.setattr(RequestsPerMinute, "wait", wait)
    return asked


def windows(rows: Sequence[dict[str, object]]) -> list[tuple[str, str]]:
    return [(f"{row['window_start']:%m-%d %H:%M}", f"{row['window_end']:%m-%d %H:%M}") for row in rows]


def test_a_spent_budget_hands_a_series_to_the_next_source(market: Market, only_bars: None) -> None:
    """Two requests a minute: one for the check of the key, one for bars."""
    market.assets(AAPL, MSFT)
    market.set(POLYGON_REQUESTS_PER_MINUTE="2")
    output = market.run("extract")
    handed, kept = sorted(("AAPL", "MSFT"), key=lambda symbol: f"{symbol} 1d: 503 rows from polygon" in output)
    assert f"{kept} 1d: 503 rows from polygon" in output and f"{handed} 1d: 503 rows from yahoo" in output
    (refused,) = market.rows("polygon", "status = 'failed'")
    assert refused["symbol"] == handed and refused["http_status"] is None and refused["quota_remaining"] == 0
    assert refused["error"] == "polygon bars {} 1d: not asked: {}".format(
        handed, "the budget of 2 requests a minute for polygon is spent"
    )
    assert market.query("select state, failures from ops.circuit_breaker where source = 'polygon'") == [
        {"state": "closed", "failures": 0}
    ]
    assert len([one for one in market.asked() if one["provider"] == "polygon"]) == 2


def test_binances_weight_may_be_spent_too(market: Market, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nine tenths of what Binance allows a minute are ours."""
    budget = WeightPerMinute("binance_spot", 6000)
    with monkeypatch.context() as patch:
        patch.setattr("extract.transport.budget.time", SimpleNamespace(time=lambda: 1_700_000_000.0))
        budget.wait(2, may_wait=False)
        budget.observe(5399)
        with pytest.raises(Spent, match="the weight of 6000 a minute for binance_spot is spent"):
            budget.wait(2, may_wait=False)
        budget.wait(1, may_wait=False)


def test_a_series_goes_from_binance_to_polygon_when_the_weight_is_spent(
    market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wait(self: WeightPerMinute, weight: int = 1, may_wait: bool = True) -> None:
        raise Spent("the weight is spent")

    monkeypatch.setattr(WeightPerMinute, "wait", wait)
    output = market.run("extract")
    assert "BTC 1h: 482 rows from polygon" in output and not market.asked("klines")


def test_without_another_source_a_series_waits(market: Market, spent_budget: list[bool]) -> None:
    market.set(POLYGON_REQUESTS_PER_MINUTE="5")
    market.assets({**AAPL, "yahoo": ""})
    market.run("extract", "--start", YESTERDAY)
    assert spent_budget == [False, True], "the check of the key, then the bars"


def test_a_series_waits_where_the_next_source_does_not_reach(market: Market, spent_budget: list[bool]) -> None:
    market.set(POLYGON_REQUESTS_PER_MINUTE="5")
    market.assets({**BTC, "source_priority": "polygon yahoo", "timeframes": "5m"})
    market.run("extract", "--start", "2012-03-01", "--end", "2012-03-02")
    assert spent_budget == [False, True] and market.rows("polygon", "status = 'ok'")


def test_where_the_others_fail_the_first_is_asked_again_and_waited_for(
    market: Market, spent_budget: list[bool]
) -> None:
    market.set(POLYGON_REQUESTS_PER_MINUTE="5")
    market.assets({**AAPL, "yahoo": "NOSUCH"})
    output = market.run("extract", "--start", YESTERDAY)
    assert spent_budget == [False, False, True]
    assert "is spent; asking yahoo" in output and "; asking polygon" in output
    assert "AAPL 1d: 2 rows from polygon" in output


def test_a_backfill_waits_for_the_best_source(market: Market, spent_budget: list[bool]) -> None:
    market.set(POLYGON_REQUESTS_PER_MINUTE="5")
    market.assets(AAPL)
    market.run("backfill", "--start", "2012-01-01", "--end", "2012-06-30")
    assert spent_budget == [False, True] and not market.rows("yahoo")


def test_the_next_source_is_asked_only_for_what_failed(market: Market) -> None:
    market.assets({**BTC, "timeframes": "5m"})
    market.simulator.add_fault(kind="status", status=404, provider="binance-spot")
    output = market.run("extract")
    (failed,) = market.rows("binance", "status = 'failed'")
    (instead,) = market.rows("polygon", "endpoint = 'bars'")
    assert windows([instead]) == windows([failed]) and instead["row_count"] == 600
    assert "BTC 5m: 600 rows from polygon in 1 request" in output and not market.rows("yahoo")


def test_what_the_next_source_has_answered_already_is_not_asked_again(market: Market) -> None:
    """A source that stays down leaves the same windows open in each run."""
    market.simulator.add_fault(kind="status", status=404, provider="binance-spot")
    market.run("extract")
    market.at("2013-03-02T04:00:00Z")
    market.run("extract")
    first, second = windows(market.rows("polygon", "endpoint = 'bars'"))
    assert first == ("02-10 00:00", "03-02 02:00")
    assert second == ("02-28 00:00", "03-02 04:00"), "what may have been amended, and what is new"


def test_a_source_that_refuses_all_leaves_everything_to_the_next(market: Market) -> None:
    market.execute(
        "insert into ops.source_budget (budget, blocked_until) values ('binance', now() + interval '1 hour')"
    )
    output = market.run("extract")
    assert "wants to be left alone until" in output and "BTC 1h: 482 rows from polygon" in output
    assert len(market.rows("binance")) == 1, "one row for the record"


def test_each_row_of_a_renamed_symbol_goes_its_own_way(market: Market) -> None:
    """The old name is unknown to the first source: its years come from the second, the later ones do not."""
    old = {**AAPL, "polygon": "NOSUCH", "active_to": "2012-12-31"}
    market.assets(old, {**AAPL, "active_from": "2013-01-01"})
    market.run("extract", "--start", "2012-12-01", "--end", "2013-01-31")
    assert windows(market.rows("yahoo")) == [("11-30 05:00", "01-01 05:00")]
    assert windows(market.rows("polygon", "endpoint = 'bars' and status = 'ok'")) == [("01-01 05:00", "02-01 00:00")]
