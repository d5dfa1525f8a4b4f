"""Faulty sources: retries, the circuit breaker, bans, budgets, bad bodies, geo-blocks."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import UTC, datetime, timedelta

import pytest

from extract.commands.running import prepare_warehouse
from extract.transport.http import Source, retry_after
from extract.transport.retry_policy import RETRY_POLICY
from tests.extract.conftest import AAPL, BTC, Market


class Reply:
    """A response as `Source.ask` needs it."""

    def __init__(self, status: int, content: bytes = b"[]", retry_after: str | None = None) -> None:
        self.status_code, self.content = status, content
        self.headers = {"Retry-After": retry_after} if retry_after else {}


def replies(*answers: Reply | Exception):  # type: ignore[no-untyped-def]
    """A `send` that gives these one after the other, the last one for ever, and counts."""
    left = list(answers)

    def send() -> Reply:
        send.calls += 1  # type: ignore[attr-defined]
        answer = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    send.calls = 0  # type: ignore[attr-defined]
    return send


@pytest.fixture
def waits(market: Market, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The real waits, noted instead of slept."""
    prepare_warehouse()
    monkeypatch.setattr(RETRY_POLICY, "backoff", (30.0, 60.0, 120.0))
    slept: list[float] = []
    monkeypatch.setattr("tenacity.nap.time.sleep", slept.append)
    return slept


@pytest.mark.parametrize(
    "failure", [Reply(503), Reply(500), Reply(429), TimeoutError("slow"), ConnectionError("reset")]
)
def test_a_failure_is_retried_after_30_60_and_120_seconds(waits: list[float], failure: Reply | Exception) -> None:
    send = replies(failure)
    answer = Source("binance").ask(send)
    assert send.calls == 4 and waits == [30, 60, 120]
    assert not answer.is_success and "after 4 attempts" in str(answer.error)


def test_a_success_after_failures_is_a_success(waits: list[float], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "extract")
    answer = Source("binance").ask(replies(Reply(502), TimeoutError(), Reply(200, b"[1]")))
    assert answer.is_success and answer.body == b"[1]" and waits == [30, 60]
    # A source that is down was three and a half minutes of silence.
    assert caplog.messages == [
        "binance: HTTP 502; asked again in 30 s",
        "binance: no answer; asked again in 60 s",
    ]


def test_retry_after_replaces_the_wait(waits: list[float]) -> None:
    assert Source("binance").ask(replies(Reply(429, retry_after="7"), Reply(200))).is_success
    assert waits == [7]


def test_a_429_stops_the_other_threads_too(waits: list[float]) -> None:
    source = Source("binance")
    source.ask(replies(Reply(429, retry_after="9"), Reply(200)))
    source.ask(replies(Reply(200)))
    assert waits[0] == 9 and 8 < waits[1] <= 9, "the second request was held back before it was sent"


@pytest.mark.parametrize("banned", [Reply(429, retry_after="121"), Reply(418, retry_after="3600"), Reply(418)])
def test_a_long_retry_after_blocks_the_source_for_all_runs(market: Market, waits: list[float], banned: Reply) -> None:
    send = replies(banned, Reply(200))
    assert "asked to wait until" in str(Source("binance").ask(send).error)
    assert send.calls == 1 and not waits
    later = Source("binance")
    answer = later.ask(send)
    assert send.calls == 1 and answer.http_status is None and "wants to be left alone until" in str(answer.error)
    assert not later.is_available
    assert later.breaker_state == "CLOSED", "a ban is not an outage"
    assert market.query("select blocked_until > now() as yes from ops.source_budget where budget = 'binance'")[0]["yes"]


@pytest.mark.parametrize(
    ("banned", "longest"),
    [
        (Reply(429, retry_after="31536000"), timedelta(hours=12)),
        (Reply(503, retry_after="31536000"), timedelta(hours=12)),
        (Reply(429, retry_after="Fri, 01 Jan 2100 00:00:00 GMT"), timedelta(hours=12)),
        (Reply(418, retry_after="31536000"), timedelta(days=3)),
        (Reply(418, retry_after="forever"), timedelta(seconds=300)),
    ],
)
def test_no_source_is_left_alone_for_longer_than_it_can_mean(
    market: Market, waits: list[float], banned: Reply, longest: timedelta
) -> None:
    source = Source("binance")
    assert "`market unblock binance` ends it" in str(source.ask(replies(banned)).error)
    until = source.block.until
    assert until is not None and longest - timedelta(minutes=1) < until - datetime.now(UTC) <= longest


def test_unblock_lifts_a_block_and_closes_a_breaker(market: Market, waits: list[float]) -> None:
    Source("yahoo").ask(replies(Reply(429, retry_after="3600")))
    market.execute("update ops.circuit_breaker set state = 'open', failures = 3, opened_at = now()")
    assert not Source("yahoo").is_available
    said = market.run("unblock", "yahoo")
    assert "yahoo: may be asked again" in said and "yahoo: its circuit breaker is closed" in said
    later = Source("yahoo")
    assert later.is_available and later.breaker_state == "CLOSED"
    assert later.ask(replies(Reply(200))).is_success
    assert "nothing was blocking it" in market.run("unblock", "yahoo")
    assert "unknown source 'nasdaq'; known are polygon, binance" in market.run("unblock", "nasdaq", expect=78)


def test_an_exception_that_is_none_of_the_networks_is_an_error_on_record(waits: list[float]) -> None:
    source = Source("yahoo")
    send = replies(KeyError("consent"))
    for _ in range(4):
        answer = source.ask(send)
        assert not answer.is_success and "failed unexpectedly (KeyError: 'consent')" in str(answer.error)
    assert send.calls == 4 and not waits and source.breaker_state == "CLOSED"


def test_a_request_between_two_tries_does_not_break_a_ban(waits: list[float]) -> None:
    source = Source("binance")

    def banned_meanwhile() -> Reply:
        source.block.set(3600)
        raise TimeoutError

    answer = source.ask(banned_meanwhile)
    assert "wants to be left alone until" in str(answer.error) and waits == [30]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 451])
def test_answers_are_neither_retried_nor_held_against_the_source(waits: list[float], status: int) -> None:
    source = Source("binance")
    send = replies(Reply(status, b"no"))
    for _ in range(4):
        assert source.ask(send).http_status == status
    assert send.calls == 4 and source.breaker_state == "CLOSED"


def test_three_failures_open_the_breaker_and_one_trial_closes_it(market: Market, waits: list[float]) -> None:
    source = Source("yahoo")
    for _ in range(3):
        source.ask(replies(Reply(500)))
    assert source.breaker_state == "OPEN"
    # Another process sees it open, and asks nothing.
    other = Source("yahoo")
    send = replies(Reply(200))
    answer = other.ask(send)
    assert (
        send.calls == 0 and answer.breaker_state == "OPEN" and "circuit breaker of yahoo is open" in str(answer.error)
    )
    assert not other.is_available
    market.execute("update ops.circuit_breaker set opened_at = opened_at - interval '301 seconds'")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RETRY_POLICY, "backoff", ())
        failing = Source("yahoo")
        assert failing.is_available
        failing.ask(replies(Reply(500)))
        assert failing.breaker_state == "OPEN", "a failed trial opens it again"
    market.execute("update ops.circuit_breaker set opened_at = opened_at - interval '301 seconds'")
    source = Source("yahoo")
    assert source.ask(send).is_success and source.breaker_state == "CLOSED"
    state = market.query("select state, failures from ops.circuit_breaker where source = 'yahoo'")
    assert state == [{"state": "closed", "failures": 0}]


def test_while_one_request_tries_the_others_wait_for_how_it_ends(market: Market, waits: list[float]) -> None:
    prepare = Source("yahoo")
    for _ in range(3):
        prepare.ask(replies(Reply(500)))
    market.execute("update ops.circuit_breaker set opened_at = opened_at - interval '301 seconds'")
    source = Source("yahoo")
    is_trying, may_answer = threading.Event(), threading.Event()

    def slow_trial() -> Reply:
        is_trying.set()
        assert may_answer.wait(60)
        return Reply(200)

    with ThreadPoolExecutor(5) as pool:
        trial = pool.submit(source.ask, slow_trial)
        assert is_trying.wait(60)
        others = [pool.submit(source.ask, replies(Reply(200))) for _ in range(4)]
        # Refused beside the trial they would be done at once; waiting, they cannot be.
        assert not wait(others, timeout=0.2).done
        may_answer.set()
        assert all(asked.result().is_success for asked in [trial, *others])


def test_retry_after_may_be_a_date() -> None:
    assert retry_after(Reply(429, retry_after="Fri, 01 Jan 2100 00:00:00 GMT")) > 10**9
    assert retry_after(Reply(429, retry_after="Fri, 01 Jan 2010 00:00:00 GMT")) == 0
    assert retry_after(Reply(429, retry_after="soon")) == retry_after(Reply(429)) == 0


def test_a_source_that_is_down_hands_its_series_to_the_next(market: Market) -> None:
    market.assets(AAPL)
    market.simulator.add_fault(kind="status", status=503, provider="polygon")
    output = market.run("extract", expect=3)
    assert "AAPL 1d: 503 rows from yahoo" in output
    rows = market.rows("polygon", "endpoint = 'bars'")
    assert [row["status"] for row in rows] == ["failed"]
    breaker = market.query("select state from ops.circuit_breaker where source = 'polygon'")
    assert breaker == [{"state": "open"}]
    market.asked()
    output = market.run("extract", "--symbols", "AAPL", expect=3)
    assert "circuit breaker of polygon is open" in output and "from yahoo" in output
    assert not [one for one in market.asked() if one["provider"] == "polygon"], "an open breaker asks nothing"


def test_a_geo_blocked_spot_host_sends_bars_to_the_market_data_mirror(market: Market) -> None:
    market.simulator.add_fault(kind="status", status=451, provider="binance-spot")
    output = market.run("extract", "--start", "2013-02-28", "--end", "2013-03-01")
    assert "BTC 1h: 48 rows" in output
    assert {(row["origin"], row["status"]) for row in market.rows("binance")} == {
        ("rest", "failed"),
        ("data_api", "ok"),
    }


def test_a_geo_blocked_futures_host_sends_bars_and_statistics_to_the_archive(market: Market) -> None:
    market.assets({**BTC, "binance": "", "binance_futures": "BTCUSDT", "source_priority": "binance"})
    market.simulator.add_fault(kind="status", status=451, provider="binance-futures")
    output = market.run("extract", "--start", "2013-02-27", "--end", "2013-02-28")
    loaded = {(row["endpoint"], row["origin"]) for row in market.rows("binance", "status = 'ok'")}
    assert loaded == {("bars", "archive"), ("metrics", "archive"), ("funding", "archive")}
    assert len(market.asked("bars") + market.asked("funding")) <= 8, "a host that refuses is not asked for everything"
    refused = "WARNING BTC {}: binance does not serve it in this country (HTTP 451)"
    assert refused.format("funding") + "; 93 rows from files instead, 2 files not in the archive" in output
    assert refused.format("long_short_ratio") in output and "failed" not in output.splitlines()[-1]


def test_bars_that_a_geo_block_keeps_from_us_are_a_failed_series(market: Market) -> None:
    """Statistics come with their files, a day late; bars that are a day late are no bars of today."""
    market.assets({**BTC, "binance": "", "binance_futures": "BTCUSDT", "source_priority": "binance"})
    market.simulator.add_fault(kind="status", status=451, provider="binance-futures")
    output = market.run("extract", "--start", "2013-02-28", "--end", "2013-03-02", expect=3)
    assert "ERROR BTC 1h: not all of it from binance" in output and "failed: BTC 1h" in output.splitlines()[-1]
    assert market.rows("binance", "status = 'ok' and endpoint = 'bars'")
    market.assets({**BTC, "binance": "", "binance_futures": "BTCUSDT", "source_priority": "binance polygon"})
    market.run("extract", "--start", "2013-02-28", "--end", "2013-03-02")
    assert {row["window_start"].day for row in market.rows("polygon", "endpoint = 'bars'")} == {2}


@pytest.mark.parametrize(
    "fault",
    [{"kind": "html"}, {"kind": "truncated"}, {"kind": "schema", "drop": ["c"]}, {"kind": "body", "body": "{}"}],
)
def test_an_undocumented_body_is_quarantined_and_the_next_source_asked(
    market: Market, fault: dict[str, object]
) -> None:
    market.assets(AAPL)
    market.simulator.add_fault(provider="polygon", endpoint="bars", **fault)
    output = market.run("extract")
    (row,) = market.rows("polygon", "endpoint = 'bars'")
    assert (row["status"], row["payload"], row["http_status"]) == ("quarantined", None, 200)
    assert row["bad_payload"] and "polygon bars AAPL 1d" in row["error"]
    assert "AAPL 1d: 503 rows from yahoo" in output
    market.simulator.clear_faults()
    assert "AAPL 1d: 503 rows from polygon" in market.run("extract"), "what was not loaded is asked again"


def test_a_broken_connection_is_retried(market: Market) -> None:
    market.simulator.add_fault(kind="disconnect", provider="binance-spot", count=1)
    market.run("extract", "--start", "2013-02-28", "--end", "2013-03-01")
    assert {row["status"] for row in market.rows("binance")} == {"ok"}


def test_a_slow_source_is_not_waited_for_for_ever(market: Market, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RETRY_POLICY, "read", 0.2)
    market.assets({**BTC, "source_priority": "binance"})
    market.simulator.add_fault(kind="timeout", provider="binance-spot", seconds=3600)
    output = market.run("extract", "--start", "2013-02-28", "--end", "2013-03-01", expect=3)
    assert "timed out" in output


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ({"kind": "body", "body": '{"chart":{"result":[{"meta":{"dataGranularity":"1d"},"indicators":{"quote":[{}]}}],'
          '"error":null}}'}, "no bars in the answer"),
        ({"kind": "status", "status": 404}, "HTTP 404"),
        ({"kind": "status", "status": 429, "retry_after": 3600}, "asked to wait until"),
        ({"kind": "body", "body": "Will be right back"}, "it is down"),
    ],
)  # fmt: skip
def test_yahoo_without_an_answer_is_a_failure_and_no_progress(
    market: Market, fault: dict[str, object], reason: str
) -> None:
    market.assets({**AAPL, "source_priority": "yahoo"})
    number = market.simulator.add_fault(provider="yahoo", endpoint="bars", **fault)
    output = market.run("extract", expect=3)
    (row,) = market.rows("yahoo", "endpoint = 'bars'")
    assert row["status"] == "failed" and reason in row["error"] and reason in output
    market.simulator.clear_faults(number)
    market.execute("update ops.source_budget set blocked_until = now()")
    assert "AAPL 1d: 503 rows from yahoo" in market.run("extract")


def test_a_refused_crumb_does_not_spoil_the_next_request(market: Market) -> None:
    market.assets({**AAPL, "source_priority": "yahoo"})
    market.simulator.add_fault(kind="status", status=429, provider="yahoo", endpoint="crumb", count=1)
    market.run("extract")
    market.run("extract")
    charts = [one for one in market.asked() if one["provider"] == "yahoo" and "/v8/finance/chart/" in one["path"]]
    assert charts and not any("Too" in str(one["query"]) for one in charts)


def test_a_revision_of_a_past_range_is_seen_by_the_same_process(market: Market) -> None:
    """yfinance's own cache would answer the second call."""
    market.assets({**AAPL, "source_priority": "yahoo"})
    window = ("--start", "2013-01-02", "--end", "2013-01-31")
    market.run("extract", *window)
    market.simulator.add_fault(
        kind="amended", provider="yahoo", start="2013-01-10T00:00:00Z", end="2013-01-11T00:00:00Z"
    )
    market.run("extract", *window)
    assert [row["status"] for row in market.rows("yahoo", "endpoint = 'bars'")] == ["ok", "ok"]


def test_polygons_budget_is_shared_by_runs(market: Market) -> None:
    """The second run's requests wait for the first one's minute: none goes out early."""
    from extract.transport.budget import RequestsPerMinute

    prepare_warehouse()
    first = RequestsPerMinute("polygon", 3)
    for _ in range(2):
        first.wait()
    second = RequestsPerMinute("polygon", 3)
    assert second.remaining() == 1
    second.wait()
    assert first.remaining() == second.remaining() == 0


def test_binances_weight_is_taken_from_its_header_and_survives_the_process(market: Market) -> None:
    from extract.transport.budget import WeightPerMinute

    prepare_warehouse()
    budget = WeightPerMinute("binance_spot", 6000)
    budget.wait(2)
    budget.observe(5000)
    assert budget.remaining() == 1000
    (row,) = market.query("select used, allowed, window_started_at from ops.source_budget")
    assert (row["used"], row["allowed"]) == (5000, 6000) and row["window_started_at"] <= datetime.now(UTC)
    later = WeightPerMinute("binance_spot", 6000)
    assert later.remaining() == 1000
