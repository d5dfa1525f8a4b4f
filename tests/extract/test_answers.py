"""Answers as providers really send them, over HTTP: what is too large, too slow, about something else, or never ends."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from extract.load.responses import Task
from extract.providers.base import Fetched, Provider
from extract.providers.binance import Binance
from extract.providers.polygon import Polygon
from extract.providers.yahoo import Yahoo
from extract.transport.retry_policy import RETRY_POLICY
from tests.extract.conftest import AAPL, BTC, Market

FROM, TO = datetime(2013, 2, 10, tzinfo=UTC), datetime(2013, 2, 26, tzinfo=UTC)
COIN = ("BTC", "crypto")
POLYGON = Task("polygon", "bars", FROM, TO, *COIN, "X:BTCUSD", "1h")
SPOT = Task("binance", "bars", FROM, TO, *COIN, "BTCUSDT", "1h", via="spot")
CHART = Task("yahoo", "bars", FROM, TO, *COIN, "BTC-USD", "1h", origin="chart")
ASKED: list[tuple[type[Provider], Task]] = [(Polygon, POLYGON), (Binance, SPOT), (Yahoo, CHART)]


def ask(make: type[Provider], task: Task) -> list[Fetched]:
    provider = make()
    try:
        return list(provider.fetch(task, lambda _: None))
    finally:
        provider.close()


def windows(fetched: list[Fetched]) -> list[tuple[str, str, bool]]:
    """The parts of a window that were asked, and whether each was answered."""
    return [(f"{one.task.start:%m-%d}", f"{one.task.end:%m-%d}", one.parsed is not None) for one in fetched]


@pytest.fixture
def at_once(market: Market, monkeypatch: pytest.MonkeyPatch) -> Market:
    """A failure is not asked again."""
    monkeypatch.setattr(RETRY_POLICY, "backoff", ())
    return market


@pytest.fixture
def four_days_a_page(market: Market, monkeypatch: pytest.MonkeyPatch) -> Market:
    monkeypatch.setattr("extract.providers.polygon.asking.PAGE_LIMIT", 4 * 1440)
    return market


@pytest.mark.parametrize(("make", "task"), ASKED)
def test_a_body_that_drips_has_a_deadline(
    at_once: Market, monkeypatch: pytest.MonkeyPatch, make: type[Provider], task: Task
) -> None:
    """No single read takes long; the whole of it would take minutes."""
    monkeypatch.setattr(RETRY_POLICY, "whole", 0.4)
    at_once.set(YAHOO_TIMEOUT="0.4")
    at_once.simulator.add_fault(kind="drip", endpoint="bars", seconds=0.05)
    at_once.simulator.add_fault(kind="drip", endpoint="klines", seconds=0.05)
    (fetched,) = ask(make, task)
    assert fetched.parsed is None and fetched.answer.http_status is None
    assert "took longer than 0.4 s" in str(fetched.error) or "timed out" in str(fetched.error)


@pytest.mark.parametrize("is_packed", [False, True])
@pytest.mark.parametrize(("make", "task"), ASKED)
def test_a_body_that_is_too_large_is_quarantined(
    at_once: Market, monkeypatch: pytest.MonkeyPatch, make: type[Provider], task: Task, is_packed: bool
) -> None:
    for module in ("extract.transport.bodies", "extract.providers.yahoo.session"):
        monkeypatch.setattr(f"{module}.LARGEST_BODY", 2_000_000)
    monkeypatch.setattr("extract.transport.bodies.PIECE", 65_536)
    at_once.simulator.add_fault(kind="large", size=5_000_000, is_packed=is_packed, provider=PROVIDER[make])
    (fetched,) = ask(make, task)
    assert fetched.parsed is None and "larger than" in str(fetched.error)
    assert fetched.answer.is_success and len(fetched.answer.body or b"") <= 100_000, "only its beginning is kept"


PROVIDER = {Polygon: "polygon", Binance: "binance-spot", Yahoo: "yahoo"}


@pytest.mark.parametrize("weight", ["10, 10", "many", "-5", "9" * 30, "12000"])
def test_any_weight_header_is_read(at_once: Market, weight: str) -> None:
    at_once.simulator.add_fault(kind="headers", headers={"x-mbx-used-weight-1m": weight}, provider="binance-spot")
    (fetched,) = ask(Binance, SPOT)
    assert fetched.parsed is not None and fetched.parsed.row_count == 16 * 24
    assert fetched.answer.quota_remaining is not None and fetched.answer.quota_remaining >= 0


# --- pages ---


def next_url(replacement: str) -> dict[str, Any]:
    return {
        "kind": "edit",
        "endpoint": "bars",
        "provider": "polygon",
        "find": '"next_url":"[^"]*"',
        "body": replacement,
    }


def start_of_page(text: str) -> dict[str, Any]:
    return {**next_url(""), "find": r"/range/1/hour/\d{13}/", "body": f"/range/1/hour/{text}/"}


def test_pages_are_followed_to_the_end(four_days_a_page: Market) -> None:
    fetched = ask(Polygon, POLYGON)
    days = ["02-10", "02-14", "02-18", "02-22", "02-26"]
    assert windows(fetched) == [(one, other, True) for one, other in zip(days, days[1:], strict=False)]
    assert fetched[0].parsed is not None and fetched[0].parsed.last_at == datetime(2013, 2, 13, 23, tzinfo=UTC)


def test_a_page_that_is_named_by_a_date_is_followed(four_days_a_page: Market) -> None:
    four_days_a_page.simulator.add_fault(**start_of_page("2013-02-14"), count=1)
    assert [one for *_, one in windows(ask(Polygon, POLYGON))] == [True] * 4


def test_a_page_is_asked_for_as_traded_whatever_its_link_says(four_days_a_page: Market) -> None:
    link = {**next_url(""), "find": r'"next_url":"([^"]*)"', "body": r'"next_url":"\1&adjusted=true"'}
    four_days_a_page.simulator.add_fault(**link)
    assert [one for *_, one in windows(ask(Polygon, POLYGON))] == [True] * 4


@pytest.mark.parametrize(
    ("fault", "problem"),
    [
        (start_of_page("2013-02-10"), "brings nothing new"),
        (start_of_page(str(round(FROM.timestamp() * 1000))), "brings nothing new"),
        (next_url('"next_url":"soon"'), "next_url is none of this endpoint"),
        (next_url('"next_url":17'), "next_url is none of this endpoint"),
        ({**next_url(""), "find": r"/ticker/X:BTCUSD/", "body": "/ticker/X:ETHUSD/"}, "about X:ETHUSD, not X:BTCUSD"),
        ({**next_url('"x":1'), "find": '"next_url":"[^"]*"'}, None),
        (
            {**next_url(""), "find": r'"resultsCount":\d+(.*),"next_url":"[^"]*"', "body": r'"resultsCount":9999\1'},
            "fewer rows",
        ),
    ],
)
def test_what_no_page_brings_stays_open(four_days_a_page: Market, fault: dict[str, Any], problem: str | None) -> None:
    """Only where the answer says that there is more: without a next_url the window ends."""
    four_days_a_page.simulator.add_fault(**fault)
    fetched = ask(Polygon, POLYGON)
    if problem is None:
        assert windows(fetched) == [("02-10", "02-26", True)]
        return
    assert windows(fetched) == [("02-10", "02-14", True), ("02-14", "02-26", False)]
    assert problem in str(fetched[-1].error) and "polygon bars BTC 1h" in str(fetched[-1].error)
    assert not fetched[-1].answer.is_success


def test_an_open_rest_fails_the_series_and_is_asked_again(four_days_a_page: Market) -> None:
    market = four_days_a_page
    market.assets({**BTC, "binance": "", "yahoo": "", "source_priority": "polygon"})
    number = market.simulator.add_fault(**next_url('"next_url":"soon"'))
    output = market.run("extract", "--start", "2013-02-10", "--end", "2013-02-25", expect=3)
    assert "ERROR BTC 1h: not all of it from polygon" in output and "next_url is none of this endpoint" in output
    market.simulator.clear_faults(number)
    market.asked()
    market.run("extract")
    assert any("/range/1/hour/1360800000000/" in one["path"] for one in market.asked("bars"))


def test_bars_that_are_null_are_none(market: Market) -> None:
    body = '{"ticker":"X:BTCUSD","resultsCount":0,"results":null,"status":"OK"}'
    market.simulator.add_fault(kind="body", body=body, provider="polygon", endpoint="bars")
    (short,) = ask(Polygon, POLYGON.part(FROM, FROM + timedelta(days=1)))
    assert short.parsed is not None and short.parsed.row_count == 0
    (long,) = ask(Polygon, POLYGON)
    assert long.parsed is None and "no bars in the whole window" in str(long.error) and not long.answer.is_success


@pytest.mark.parametrize("endpoint", ["splits", "dividends"])
def test_reference_pages_that_go_round_in_circles_end(market: Market, endpoint: str) -> None:
    rows = '{"execution_date":"2012-03-02","ex_dividend_date":"2012-03-02","split_from":1,"split_to":2,"ticker":"AAPL"}'
    body = (
        f'{{"results":[{rows}],"status":"OK","next_url":"https://api.polygon.io/v3/reference/{endpoint}?cursor=LOOP"}}'
    )
    market.simulator.add_fault(kind="body", body=body, provider="polygon", endpoint=endpoint)
    market.assets(AAPL)
    output = market.run("extract", "--start", "2013-03-01", expect=3)
    assert f"/v3/reference/{endpoint}: its next_url leads to a page that has come before" in output
    assert f"ERROR AAPL {endpoint}" in output and "AAPL 1d: 2 rows" in output
    assert len(market.asked(endpoint)) == 2
    market.simulator.clear_faults()
    market.at("2013-03-03T02:00:00Z")
    market.run("extract")
    (again,) = [one["query"] for one in market.asked(endpoint)]
    assert "2012-03-02" in again.values(), "what no page brought is asked again"


@pytest.mark.parametrize("rows", [50, 150])
def test_a_lower_cap_of_klines_only_takes_more_pages(market: Market, rows: int) -> None:
    """Binance has lowered caps before: a page is not the last one because it is short."""
    market.simulator.add_fault(kind="short", rows=rows, provider="binance-spot")
    fetched = ask(Binance, SPOT)
    assert sum(one.parsed.row_count or 0 for one in fetched if one.parsed) == 16 * 24
    assert len(fetched) == -(-16 * 24 // rows)
    assert fetched[0].task.end == fetched[1].task.start == FROM + timedelta(hours=rows)


def test_a_lower_cap_of_funding_only_takes_more_pages(market: Market) -> None:
    task = Task("binance", "funding", FROM, TO, *COIN, "BTCUSDT")
    whole = ask(Binance, task)
    market.simulator.add_fault(kind="short", rows=20, provider="binance-futures")
    fetched = ask(Binance, task)
    assert len(whole) == 1 and len(fetched) == 3
    settled = sum(one.parsed.row_count or 0 for one in fetched if one.parsed)
    assert whole[0].parsed is not None and settled == whole[0].parsed.row_count == 48


def test_an_end_of_trading_costs_one_request_more(market: Market) -> None:
    """After the last row the source is asked once whether it has more, and its empty answer is believed."""
    market.simulator.add_fault(
        kind="missing", provider="binance-spot", start="2013-02-20T00:00:00Z", end="2013-03-20T00:00:00Z"
    )
    assert windows(ask(Binance, SPOT)) == [("02-10", "02-20", True), ("02-20", "02-26", True)]


# --- answers to other questions ---


def edit(provider: str, find: str, body: str) -> dict[str, Any]:
    return {"kind": "edit", "provider": provider, "find": find, "body": body}


@pytest.mark.parametrize(
    ("make", "task", "fault", "problem"),
    [
        (Polygon, POLYGON, edit("polygon", "X:BTCUSD", "X:ETHUSD"), "asked for symbol X:BTCUSD, got 'X:ETHUSD'"),
        (Polygon, POLYGON, edit("polygon", '"adjusted":false', '"adjusted":true'), "got adjusted ones"),
        (Polygon, POLYGON, edit("polygon", r'"t":136', '"t":132'), "asked for 2013-02-10 00:00 to 2013-02-26 00:00"),
        (Binance, SPOT, edit("binance-spot", r"\[136", "[132"), "asked for 2013-02-10 00:00 to 2013-02-26 00:00"),
        (Binance, SPOT, edit("binance-spot", r"00000\b,\"", '00001,"'), "asked for"),
        (Yahoo, CHART, edit("yahoo", '"symbol":"BTC-USD"', '"symbol":"ETH-USD"'), "got 'ETH-USD'"),
        (Yahoo, CHART, edit("yahoo", '"dataGranularity":"1h"', '"dataGranularity":"1d"'), "got 1d"),
        (Yahoo, CHART, edit("yahoo", r'"meta":\{', '"meta":[{'), "not JSON"),
    ],
)
def test_an_answer_to_another_question_is_quarantined(
    market: Market, make: type[Provider], task: Task, fault: dict[str, Any], problem: str
) -> None:
    good = ask(make, task)
    assert all(one.parsed for one in good)
    market.simulator.add_fault(**fault)
    fetched = ask(make, task)
    assert fetched[0].parsed is None and problem in str(fetched[0].error) and fetched[0].answer.is_success


def test_bars_of_another_length_are_no_answer(market: Market) -> None:
    """The half hours of a cache, say, where hours were asked for."""
    body = ",".join(
        f'[{at},"1","1","1","1","1",{at + 1_799_999},"1",1,"1","1","0"]'
        for at in range(round(FROM.timestamp() * 1000), round(TO.timestamp() * 1000), 1_800_000)
    )
    market.simulator.add_fault(kind="body", body=f"[{body}]", provider="binance-spot")
    (fetched,) = ask(Binance, SPOT)
    assert fetched.parsed is None and "asked for 1h bars, got bars of 0:30:00" in str(fetched.error)


def test_adjusted_prices_send_the_series_to_the_next_source(market: Market) -> None:
    market.assets(AAPL)
    market.simulator.add_fault(**edit("polygon", '"adjusted":false', '"adjusted":true'))
    output = market.run("extract", "--start", "2013-02-01", "--end", "2013-02-28")
    (row,) = market.rows("polygon", "endpoint = 'bars'")
    assert row["status"] == "quarantined" and '"adjusted":true' in row["bad_payload"]
    # Whose, what, and what to do.
    assert row["error"].startswith(
        "polygon bars AAPL 1d: asked for prices as traded (adjusted=false), got adjusted ones"
    )
    assert "a later run asks again, `market doctor --probe` says what has changed" in row["error"]
    assert "; asking yahoo" in output and "AAPL 1d: 20 rows from yahoo" in output


def test_what_jsonb_refuses_costs_its_own_task_only(market: Market) -> None:
    """Found at COPY it would cost the package, the run and every run after it."""
    market.assets({**AAPL, "yahoo": ""}, {**AAPL, "symbol": "MSFT", "polygon": "MSFT", "yahoo": ""})
    market.simulator.add_fault(**edit("polygon", '"v":[0-9.]+', '"v":1e-20000'), symbol="AAPL", endpoint="bars")
    market.simulator.add_fault(kind="body", body="<p>\n\\.\n\u0000</p>", provider="polygon", endpoint="tickers")
    output = market.run("extract", "--start", "2013-02-01", "--end", "2013-02-28", expect=3)
    assert "ERROR AAPL 1d" in output and "jsonb" in output and "MSFT 1d: 20 rows" in output
    rows = market.rows("polygon", "status = 'quarantined'")
    assert {row["endpoint"] for row in rows} == {"bars", "tickers"}
    assert {row["bad_payload"] for row in rows if row["endpoint"] == "tickers"} == {"<p>\n\\ .\n\ufffd</p>"}


def test_what_the_database_refuses_all_the_same_costs_its_own_task_only(
    market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("extract.load.storable.check", lambda body: None)
    market.assets({**AAPL, "yahoo": ""}, {**AAPL, "symbol": "MSFT", "polygon": "MSFT", "yahoo": ""})
    market.simulator.add_fault(**edit("polygon", '"v":[0-9.]+', '"v":1e-20000'), symbol="AAPL", endpoint="bars")
    for _ in range(2):
        output = market.run("extract", "--start", "2013-02-01", "--end", "2013-02-28", expect=3)
        assert ("the database refuses one of" in output and "MSFT 1d: 20 rows" in output) or "unchanged" in output
    failed = market.rows("polygon", "status = 'failed'")
    assert {row["symbol"] for row in failed} == {"AAPL"} and len(failed) == 2
    assert failed[0]["error"].startswith("polygon bars AAPL 1d: the database refuses the answer (")
    assert not market.query(
        "select 1 from raw_polygon.responses where symbol = 'AAPL' and payload is not null and endpoint = 'bars'"
    )


def test_an_exception_that_nobody_foresaw_costs_its_own_task_only(
    market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch: Callable[..., Any] = Polygon.fetch

    def broken(self: Polygon, task: Task, known_sha: Callable[[Task], str | None]) -> Any:
        if (task.endpoint, task.symbol) == ("bars", "AAPL"):
            raise ZeroDivisionError("a mistake of ours")
        yield from fetch(self, task, known_sha)

    monkeypatch.setattr(Polygon, "fetch", broken)
    market.assets({**AAPL, "yahoo": ""}, {**AAPL, "symbol": "MSFT", "polygon": "MSFT", "yahoo": ""})
    output = market.run("extract", "--start", "2013-02-01", "--end", "2013-02-28", expect=3)
    (row,) = market.rows("polygon", "status = 'failed'")
    assert row["error"].startswith("polygon bars AAPL 1d: failed unexpectedly (ZeroDivisionError: a mistake of ours)")
    assert "MSFT 1d: 20 rows" in output and "ERROR AAPL 1d" in output


def test_a_redirect_is_not_followed(at_once: Market) -> None:
    at_once.simulator.add_fault(kind="status", status=302, provider="polygon")
    at_once.simulator.add_fault(
        kind="headers", headers={"Location": "/polygon/v1/marketstatus/now"}, provider="polygon"
    )
    (fetched,) = ask(Polygon, POLYGON)
    assert fetched.answer.http_status == 302 and "HTTP 302" in str(fetched.error)
    assert len(at_once.asked()) == 1


def test_a_byte_order_mark_is_no_part_of_the_answer(market: Market) -> None:
    market.simulator.add_fault(kind="edit", provider="binance-spot", find=r"\A", body="\ufeff")
    (fetched,) = ask(Binance, SPOT)
    assert fetched.parsed is not None and (fetched.answer.body or b"").startswith(b"[[")


# --- the archive ---

DAY = Task("binance", "bars", FROM, FROM + timedelta(days=1), *COIN, "BTCUSDT", "5m", origin="archive", via="spot")
NO_ZIP = "no zip"
SPOILT: dict[str, list[dict[str, Any]]] = {
    "another digest": [{"kind": "body", "endpoint": "checksum", "body": "0" * 64 + "  BTCUSDT-5m.zip"}],
    "no zip": [
        {"kind": "body", "endpoint": "bars", "body": NO_ZIP},
        {"kind": "body", "endpoint": "checksum", "body": hashlib.sha256(NO_ZIP.encode()).hexdigest()},
    ],
    "forbidden": [{"kind": "status", "status": 403, "endpoint": "bars"}],
    "forbidden checksum": [{"kind": "status", "status": 403, "endpoint": "checksum"}],
    "a page instead of the checksum": [{"kind": "html", "endpoint": "checksum"}],
    "not there": [{"kind": "status", "status": 404}],
    "down": [{"kind": "status", "status": 503}],
}


@pytest.mark.parametrize("faults", SPOILT.values(), ids=SPOILT)
def test_whatever_is_wrong_with_a_file_its_window_is_asked_over_rest(
    at_once: Market, faults: list[dict[str, Any]]
) -> None:
    for fault in faults:
        at_once.simulator.add_fault(**fault, provider="binance-archive")
    spoilt, instead = ask(Binance, DAY)
    assert spoilt.parsed is None and spoilt.is_replaced and spoilt.task.origin == "archive"
    assert instead.task.origin == "rest" and instead.parsed is not None and instead.parsed.row_count == 288


def test_a_file_with_its_digest_in_capitals_is_good(at_once: Market) -> None:
    (plain,) = ask(Binance, DAY)
    assert plain.parsed is not None
    body = f"{plain.parsed.sha.upper()} *BTCUSDT-5m-2013-02-10.zip\r\n"
    at_once.simulator.add_fault(kind="body", provider="binance-archive", endpoint="checksum", body=body)
    (loud,) = ask(Binance, DAY)
    assert loud.parsed == plain.parsed


def test_a_spoilt_file_is_a_warning_and_fails_no_run(market: Market) -> None:
    market.assets({**BTC, "timeframes": "5m", "source_priority": "binance", "binance_futures": "BTCUSDT"})
    for fault in SPOILT["another digest"]:
        market.simulator.add_fault(**fault, provider="binance-archive")
    output = market.run("extract")
    assert "WARNING BTC 5m: 2,904 rows from binance" in output and "does not have the checksum" in output
    assert {row["status"] for row in market.rows("binance", "origin = 'archive'")} == {"failed"}
    assert "all" in output.splitlines()[-1]
    market.at("2013-03-02T02:05:00Z")
    assert "failed" not in market.run("extract").splitlines()[-1]
    market.simulator.clear_faults()
    market.at("2013-03-07T02:00:00Z")
    market.run("extract")
    again = "origin = 'archive' and endpoint = 'bars' and status = 'ok' and window_start = '2013-02-27 00:00Z'"
    assert [row["row_count"] for row in market.rows("binance", again)] == [288], "a good file is taken when it comes"


def test_an_archive_that_is_down_leaves_the_api_alone(market: Market, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two hosts, two breakers: three files that fail must not keep the API from being asked, now and in the next run."""
    market.assets({**BTC, "timeframes": "5m", "source_priority": "binance"})
    market.simulator.add_fault(kind="status", status=503, retry_after=0, provider="binance-archive")
    output = market.run("extract")
    assert "BTC 5m: 2,904 rows from binance" in output
    states = market.query("select source, state from ops.circuit_breaker where source like 'binance%' order by 1")
    assert states == [{"source": "binance", "state": "closed"}, {"source": "binance_archive", "state": "open"}]
    market.asked()
    market.at("2013-03-02T02:05:00Z")
    assert "BTC 5m:" in market.run("extract")
    asked = market.asked()
    assert [one for one in asked if one["provider"] == "binance-spot"]
    assert not [one for one in asked if one["provider"] == "binance-archive"], "an open breaker asks nothing"


def test_an_archive_that_wants_to_be_left_alone_leaves_the_api_alone(market: Market) -> None:
    market.assets({**BTC, "timeframes": "5m", "source_priority": "binance"})
    market.simulator.add_fault(kind="status", status=429, retry_after=3600, provider="binance-archive")
    assert "BTC 5m: 2,904 rows from binance" in market.run("extract")
    blocked = market.query("select budget from ops.source_budget where blocked_until > now()")
    assert blocked == [{"budget": "binance_archive"}]
    assert "binance_archive: may be asked again" in market.run("unblock", "binance")
    market.simulator.clear_faults()
    assert "nothing was blocking it" in market.run("unblock", "binance")
    assert ask(Binance, DAY)[0].parsed is not None
