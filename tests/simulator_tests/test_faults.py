"""Faults, the clock and the request log: each does what it says, and only where it was told to."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
import requests

from scripts.simulator import running
from tests.simulator_tests.conftest import Web

NOW = 1_362_189_600_000
HOUR = 3_600_000
KLINES = "/binance-spot/api/v3/klines?symbol=BTCUSDT&interval=1h"
BARS = "/polygon/v2/aggs/ticker/IBM/range/1/day/2013-02-25/2013-03-01?adjusted=false"
CHART = "/yahoo/v8/finance/chart/IBM?range=5d&interval=1d"
INFLOW = "/coinmetrics/v4/timeseries/asset-metrics?assets=btc&metrics=FlowInExNtv&paging_from=start"


def opens(web: Web, query: str = "&limit=6") -> list[int]:
    return [row[0] for row in web.json(KLINES + query)]


@pytest.mark.parametrize(
    ("path", "status"),
    [(BARS, 429), (BARS, 503), (BARS, 403), (KLINES, 418), (KLINES, 429), (KLINES, 500), (KLINES, 451), (CHART, 429),
     (CHART, 404), (CHART, 500), (INFLOW, 429)],
)  # fmt: skip
def test_a_status_fault_hits_the_next_n_requests_of_its_provider(own: Web, path: str, status: int) -> None:
    provider = path.split("/")[1]
    own.simulator.add_fault(kind="status", status=status, provider=provider, count=2)
    other = KLINES if provider != "binance-spot" else BARS
    assert [own.get(path).status_code for _ in range(3)] == [status, status, 200]
    assert own.get(other).status_code == 200
    assert own.simulator.faults == []


def test_bans_carry_retry_after(own: Web) -> None:
    own.simulator.add_fault(kind="status", status=418, provider="binance-spot", retry_after=600)
    answer = own.get(KLINES)
    assert (answer.headers["Retry-After"], answer.json()["code"]) == ("600", -1003)
    own.simulator.clear_faults()
    own.simulator.add_fault(kind="status", status=429, provider="polygon", retry_after=7)
    assert own.get(BARS).headers["Retry-After"] == "7"


def test_a_fault_can_name_symbol_endpoint_and_timeframe(own: Web) -> None:
    own.simulator.add_fault(kind="status", status=500, endpoint="bars", symbol="ETHUSDT", timeframe="5m")
    assert own.get(KLINES).status_code == 200
    assert own.get("/binance-spot/api/v3/klines?symbol=ETHUSDT&interval=1h").status_code == 200
    assert own.get("/binance-spot/api/v3/klines?symbol=ETHUSDT&interval=5m").status_code == 500
    assert own.get("/binance-data-api/api/v3/klines?symbol=ETHUSDT&interval=5m").status_code == 500


def test_bodies_can_be_html_cut_or_anything(own: Web) -> None:
    whole = own.get(BARS).content
    number = own.simulator.add_fault(kind="html", provider="polygon")
    page = own.get(BARS)
    assert page.status_code == 200 and page.headers["Content-Type"] == "text/html" and page.text.startswith("<!doctype")
    own.simulator.clear_faults(number)
    own.simulator.add_fault(kind="truncated", provider="polygon", count=1)
    assert own.get(BARS).content == whole[: len(whole) // 2]
    own.simulator.add_fault(kind="body", body="Will be right back", provider="yahoo", count=1)
    assert own.get(CHART).text == "Will be right back"
    assert own.get(BARS).content == whole


def test_bodies_can_be_edited_shortened_or_huge_and_headers_added(own: Web) -> None:
    own.simulator.add_fault(kind="edit", provider="polygon", find='"ticker":"(I)BM"', body='"ticker":"\\1BN"', count=1)
    assert own.json(BARS)["ticker"] == "IBN"
    own.simulator.add_fault(kind="short", provider="polygon", rows=2, count=1)
    assert (own.json(BARS)["resultsCount"], len(own.json(BARS)["results"])) == (2, 5)
    own.simulator.add_fault(kind="short", provider="binance-spot", rows=2, count=1)
    assert len(opens(own)) == 2 and len(opens(own)) == 6
    own.simulator.add_fault(kind="loop", provider="polygon", count=1)
    looping = own.json(BARS)
    assert BARS.partition("?")[0] in looping["next_url"] and len(looping["results"]) == 5
    own.simulator.add_fault(kind="stray", provider="binance-spot", seconds=1, count=1)
    stray, fine = opens(own), opens(own)
    assert stray == [*fine[1:], fine[-1] + 1000]
    own.simulator.add_fault(kind="headers", provider="binance-spot", headers={"Retry-After": "soon"}, count=1)
    assert own.get(KLINES).headers["Retry-After"] == "soon"
    for is_packed in (False, True):
        own.simulator.add_fault(kind="large", provider="polygon", size=1_000_000, is_packed=is_packed, count=1)
        assert own.get(BARS).content == b" " * 1_000_000
    own.simulator.add_fault(kind="edit", provider="polygon", find="(?s).+", body="{}", count=1)
    own.simulator.add_fault(kind="drip", provider="polygon", seconds=0.01, count=1)
    assert own.get(BARS).content == b"{}"


def test_connections_can_hang_or_break(own: Web) -> None:
    own.simulator.add_fault(kind="disconnect", provider="polygon", count=1)
    with pytest.raises(requests.ConnectionError):
        own.get(BARS)
    own.simulator.add_fault(kind="timeout", provider="polygon", count=1)
    with pytest.raises(requests.Timeout):
        own.session.get(own.simulator.url + BARS, timeout=0.2)
    assert own.get(BARS).status_code == 200


def test_schema_drift(own: Web) -> None:
    own.simulator.add_fault(
        kind="schema", provider="polygon", rename={"c": "close"}, drop=["v"], extra={"new": 1}, retype={"o": "12,5"}
    )
    row = own.json(BARS)["results"][0]
    assert "c" not in row and "v" not in row and row["new"] == 1 and row["o"] == "12,5" and "close" in row
    own.simulator.add_fault(kind="schema", provider="binance-spot", retype={"1": "n/a"}, extra={"x": "more"})
    kline = own.json(KLINES)[0]
    assert len(kline) == 13 and kline[1] == "n/a"


def test_missing_duplicated_and_late_bars(own: Web) -> None:
    assert opens(own) == [NOW - i * HOUR for i in range(6, 0, -1)]
    number = own.simulator.add_fault(kind="missing", provider="binance-spot", start=NOW - 4 * HOUR, end=NOW - 2 * HOUR)
    assert opens(own) == [NOW - i * HOUR for i in (8, 7, 6, 5, 2, 1)]
    own.simulator.clear_faults(number)
    own.simulator.add_fault(kind="duplicated", symbol="BTCUSDT", start=NOW - 2 * HOUR, count=1)
    assert opens(own) == [NOW - i * HOUR for i in (5, 4, 3, 2, 2, 1)]
    own.simulator.add_fault(kind="late", provider="binance-spot", seconds=5400)
    assert opens(own)[-1] == NOW - 3 * HOUR
    own.simulator.set_clock("2013-03-02T02:30:00Z")
    assert opens(own)[-1] == NOW - 2 * HOUR


def test_amended_and_unfinished_bars(own: Web) -> None:
    before = own.json(KLINES + "&limit=3")
    own.simulator.add_fault(kind="amended", provider="binance-spot", start=NOW - 2 * HOUR, field="close", factor="1.5")
    after = own.json(KLINES + "&limit=3")
    assert Decimal(after[1][4]) == Decimal(before[1][4]) * Decimal("1.5") == Decimal(after[1][2])
    assert (after[0], after[2]) == (before[0], before[2])
    own.simulator.clear_faults()
    own.simulator.add_fault(kind="unfinished", provider="binance-spot", share=0.25, count=1)
    cut = own.json(KLINES + "&limit=3")
    assert cut[:2] == before[:2] and Decimal(cut[2][5]) == Decimal(before[2][5]) / 4
    assert own.json(KLINES + "&limit=3") == before


def test_bar_faults_on_polygon_and_yahoo(own: Web) -> None:
    own.simulator.add_fault(kind="missing", symbol="IBM", start="2013-02-27", end="2013-02-28")
    assert own.json(BARS)["count"] == 4
    assert len(own.json(CHART)["chart"]["result"][0]["timestamp"]) == 4
    own.simulator.clear_faults()
    own.simulator.add_fault(kind="null", symbol="IBM", start="2013-02-27", end="2013-02-28")
    quote = own.json(CHART)["chart"]["result"][0]["indicators"]["quote"][0]
    assert [value is None for value in quote["close"]] == [False, False, True, False, False]
    assert quote["volume"][2] is None


def test_samples_can_be_late_missing_and_amended(own: Web) -> None:
    ratio = "/binance-futures/futures/data/globalLongShortAccountRatio?symbol=BTCUSDT&period=1h&limit=3"
    before = own.json(ratio)
    own.simulator.add_fault(kind="amended", endpoint="long_short_ratio", start=NOW, field="longAccount", factor="0.5")
    after = own.json(ratio)
    assert after[:2] == before[:2] and float(after[2]["longAccount"]) == pytest.approx(
        float(before[2]["longAccount"]) / 2, abs=1e-4
    )
    own.simulator.add_fault(kind="late", endpoint="long_short_ratio", seconds=1800)
    assert own.json(ratio) == before[:2]
    own.simulator.add_fault(kind="missing", endpoint="exchange_inflow", start="2013-02-20")
    stamps = [row["time"][:10] for row in own.json(f"{INFLOW}&start_time=2013-02-19&end_time=2013-02-21")["data"]]
    assert stamps == ["2013-02-19", "2013-02-21"]


def test_inflow_is_published_late_and_revised(own: Web) -> None:
    path = f"{INFLOW}&start_time=2013-02-28"
    assert [row["time"][:10] for row in own.json(path)["data"]] == ["2013-02-28"]
    first = own.json(path)["data"][0]["FlowInExNtv"]
    own.simulator.set_clock("2013-03-02T07:00:00Z")
    rows = own.json(path)["data"]
    assert [row["time"] for row in rows] == ["2013-02-28T00:00:00.000000000Z", "2013-03-01T00:00:00.000000000Z"]
    assert Decimal(rows[0]["FlowInExNtv"]) > Decimal(first)


def test_inflow_pages_and_errors(own: Web) -> None:
    path, days = f"{INFLOW}&start_time=2013-01-01&end_time=2013-01-25&page_size=10", []
    while path:
        body = own.json(path)
        days += [row["time"] for row in body["data"]]
        path = body.get("next_page_url", "")
    assert len(days) == 25 and days == sorted(days)
    headers = own.get(INFLOW).headers
    assert headers["X-RateLimit-Limit"] == "10" and headers["X-Simulator"] == "synthetic"
    unknown = own.get(INFLOW.replace("btc", "nope"))
    assert (unknown.status_code, unknown.json()["error"]["type"]) == (400, "bad_parameter")
    assert own.get(INFLOW.replace("FlowInExNtv", "PriceUSD")).status_code == 403


def test_the_eleventh_inflow_request_is_refused(own: Web) -> None:
    statuses = [own.get(INFLOW).status_code for _ in range(25)]  # the 6 s window may turn over once
    assert 429 in statuses and statuses[:5] == [200] * 5


def test_the_log_tells_who_asked_what_without_secrets(own: Web) -> None:
    own.get(BARS)
    own.get(BARS + "&apiKey=simulator", key=None)
    own.get(KLINES)
    log = own.simulator.requests
    assert [
        (r["provider"], r["endpoint"], r["symbol"], r["timeframe"], r["status"], r["authenticated"]) for r in log
    ] == [
        ("polygon", "bars", "IBM", "1d", 200, True),
        ("polygon", "bars", "IBM", "1d", 200, True),
        ("binance-spot", "bars", "BTCUSDT", "1h", 200, False),
    ]
    assert log[1]["query"]["apiKey"] == "***"
    own.simulator.clear_requests()
    assert own.simulator.requests == []


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        ({"kind": "melted"}, "unknown fault kind 'melted'"),
        ({"kind": "status"}, "needs a status"),
        ({"kind": "late", "wait": 3}, "unknown fault field wait"),
        ({"kind": "amended", "field": "vwap"}, "must be one of"),
        ({"kind": "missing", "start": "soon"}, "Invalid isoformat"),
    ],
)
def test_a_fault_that_makes_no_sense_is_refused(own: Web, fault: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        own.simulator.add_fault(**fault)
    assert own.simulator.faults == []


def test_every_provider_can_be_reached_without_a_prefix(demo: Web) -> None:
    for path in (BARS, KLINES, CHART, INFLOW, "/binance-futures/fapi/v1/time"):
        bare = "/" + path.split("/", 2)[2]
        headers = {"Authorization": "Bearer simulator"}
        answer = demo.session.get(demo.simulator.url + bare, headers=headers, timeout=5)
        assert answer.status_code == 200, bare
    assert demo.session.get(demo.simulator.url + "/", timeout=5).status_code == 404  # Yahoo's cookie page
    assert "A3" in demo.session.get(demo.simulator.url + "/", timeout=5).cookies


def test_info_marks_what_is_synthetic(demo: Web) -> None:
    info = demo.simulator.info()
    assert info["symbols"]["polygon"]["AAPL"] == "recorded"
    assert info["symbols"]["polygon"]["X:BTCUSD"] == info["symbols"]["binance-spot"]["BTCUSDT"] == "synthetic"
    assert info["clock"].startswith("2013-03-02T02:00:00")
    assert demo.get(KLINES).headers["X-Simulator"] == "synthetic"
    assert demo.get(BARS).headers["X-Simulator"] == "recorded"


def test_a_load_simulator_has_a_hundred_symbols_and_no_limits() -> None:
    with running("load", "2026-06-30T00:00:00Z", process=True) as simulator:
        web = Web(simulator)
        assert len(simulator.info()["symbols"]["binance-spot"]) == 100
        market = web.json("/polygon/v2/aggs/grouped/locale/us/market/stocks/2026-06-25?adjusted=false")
        assert market["resultsCount"] == 100
        path = "/binance-spot/api/v3/klines?interval=5m&limit=1000&startTime=1750000000000&symbol="
        first, fifth = web.json(path + "SYM000USDT"), web.json(path + "SYM004USDT")
        assert len(first) == 1000 and first == fifth  # symbols share four price paths
        assert web.get(path + "SYM001USDT").headers["x-mbx-used-weight-1m"] == "2"
