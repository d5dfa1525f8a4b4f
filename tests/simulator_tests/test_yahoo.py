"""Yahoo's chart flow over HTTP."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest

from scripts.simulator import running
from tests.simulator_tests.conftest import Web

CHART = "/yahoo/v8/finance/chart"


def seconds(text: str) -> int:
    return int(dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC).timestamp())


def window(start: str, end: str, interval: str = "1d") -> str:
    events = "events=div,splits,capitalGains"
    return f"period1={seconds(start)}&period2={seconds(end)}&interval={interval}&includePrePost=false&{events}"


def chart(web: Web, symbol: str, query: str) -> dict[str, Any]:
    return web.json(f"{CHART}/{symbol}?{query}")["chart"]["result"][0]


def test_cookie_and_crumb(demo: Web) -> None:
    page = demo.get("/yahoo/")
    assert page.status_code == 404 and "A3" in page.cookies
    crumb = demo.get("/yahoo/v1/test/getcrumb")
    assert len(crumb.text) == 11 and crumb.headers["Content-Type"].startswith("text/plain")
    assert 'name="csrfToken"' in demo.get("/yahoo/consent").text


def test_prices_are_in_todays_shares_with_events_and_adjclose(demo: Web) -> None:
    got = chart(demo, "AAPL", window("2000-06-20", "2000-06-23"))
    assert got["timestamp"] == [seconds("2000-06-20T13:30"), seconds("2000-06-21T13:30"), seconds("2000-06-22T13:30")]
    close = got["indicators"]["quote"][0]["close"]
    assert close == pytest.approx([101.25 / 4, 55.63 / 2, 53.75 / 2], rel=1e-6)
    assert close[1] == 27.815000534057617  # single precision
    assert got["events"]["splits"] == {
        "961594200": {"date": 961_594_200, "numerator": 2, "denominator": 1, "splitRatio": "2:1"}
    }
    adjusted = got["indicators"]["adjclose"][0]["adjclose"]
    assert all(0.98 < a / c < 1 for a, c in zip(adjusted, close, strict=True))  # three dividends in 2012-13
    assert got["meta"]["exchangeTimezoneName"] == "America/New_York"


def test_history_changes_when_a_split_comes() -> None:
    with running("demo", "2000-06-20T22:00:00Z") as simulator:
        web = Web(simulator)
        before = chart(web, "AAPL", window("2000-06-20", "2000-06-22"))
        simulator.set_clock("2000-06-21T22:00:00Z")
        after = chart(web, "AAPL", window("2000-06-20", "2000-06-22"))
    assert before["indicators"]["quote"][0]["close"] == [101.25] and "events" not in before
    assert after["indicators"]["quote"][0]["close"] == pytest.approx([50.625, 55.63])


def test_dividends_are_split_adjusted(recorded: Web) -> None:
    got = chart(recorded, "AAPL", window("2014-05-01", "2014-05-15"))
    amount = got["events"]["dividends"][str(seconds("2014-05-08T13:30"))]["amount"]
    assert amount == pytest.approx(3.29 / 28, abs=2e-4)  # 3.29 USD a share then, 28 shares of today


def test_period2_is_inclusive(demo: Web) -> None:
    got = chart(demo, "BTC-USD", window("2013-01-01", "2013-01-03"))
    assert [at % 86_400 for at in got["timestamp"]] == [0, 0, 0] and len(got["timestamp"]) == 3


def test_hours_of_a_stock_begin_at_the_open(shared_data: Path) -> None:
    with running("shared", "2014-07-01T00:00:00Z", shared=shared_data) as simulator:
        web = Web(simulator)
        hours = chart(web, "AAPL", window("2014-06-09", "2014-06-10", "1h"))
        assert hours["timestamp"] == [seconds("2014-06-09T13:30") + 3600 * i for i in range(7)]
        fine = chart(web, "AAPL", window("2014-06-09", "2014-06-10", "5m"))
        assert len(fine["timestamp"]) == 78 and "adjclose" not in fine["indicators"]
        wide = web.json(f"{CHART}/AAPL?{window('2014-06-09', '2014-06-10', '5m')}".replace("Post=false", "Post=true"))
        assert len(wide["chart"]["result"][0]["timestamp"]) > 150


def test_the_weekend_is_an_answer_without_timestamps(demo: Web) -> None:
    got = chart(demo, "AAPL", window("2013-02-16", "2013-02-17"))
    assert "timestamp" not in got and got["indicators"]["quote"] == [{}]


def test_todays_bar_is_unfinished_while_the_market_is_open(own: Web) -> None:
    own.simulator.set_clock("2013-03-01T18:00:00Z")
    early = chart(own, "FB", window("2013-02-28", "2013-03-02"))
    own.simulator.set_clock("2013-03-01T22:00:00Z")
    final = chart(own, "FB", window("2013-02-28", "2013-03-02"))
    assert early["timestamp"] == final["timestamp"]
    volumes = [got["indicators"]["quote"][0]["volume"] for got in (early, final)]
    assert volumes[0][0] == volumes[1][0] and volumes[0][1] < volumes[1][1]


def test_todays_bar_can_come_twice(own: Web) -> None:
    own.simulator.set_clock("2013-03-01T18:00:00Z")
    own.simulator.add_fault(kind="duplicated", provider="yahoo")
    got = chart(own, "FB", window("2013-02-28", "2013-03-02"))
    assert got["timestamp"][-2:] == [seconds("2013-03-01T14:30"), seconds("2013-03-01T18:00")]
    closes = got["indicators"]["quote"][0]["close"]
    assert len(closes) == len(got["timestamp"]) == len(got["indicators"]["adjclose"][0]["adjclose"]) == 3
    assert closes[1] == closes[2]


@pytest.mark.parametrize(
    ("interval", "start", "text"),
    [
        ("1h", "2010-01-01", "must be within the last 730 days"),
        ("5m", "2012-12-01", "must be within the last 60 days"),
        ("1m", "2013-01-01", "Only 8 days worth of 1m granularity data"),
    ],
)
def test_reach_is_refused_in_yahoos_words(demo: Web, interval: str, start: str, text: str) -> None:
    answer = demo.get(f"{CHART}/BTC-USD?{window(start, '2013-03-01', interval)}")
    body = answer.json()["chart"]
    assert answer.status_code == 422 and body["result"] is None and text in body["error"]["description"]


def test_unknown_symbols_and_intervals(demo: Web) -> None:
    missing = demo.get(f"{CHART}/NOPE?range=1d&interval=1d")
    assert missing.status_code == 404 and "may be delisted" in missing.json()["chart"]["error"]["description"]
    wrong = demo.get(f"{CHART}/FB?range=1d&interval=7d")
    assert wrong.status_code == 422 and "not supported" in wrong.json()["chart"]["error"]["description"]
    assert demo.get("/yahoo/v10/finance/quoteSummary/NOPE").status_code == 404


def test_ranges_count_sessions(demo: Web) -> None:
    assert chart(demo, "IBM", "range=1d&interval=1d")["timestamp"] == [seconds("2013-03-01T14:30")]
    assert len(chart(demo, "IBM", "range=5d&interval=1d")["timestamp"]) == 5
    assert len(chart(demo, "IBM", "range=max&interval=1d")["timestamp"]) == 3270


def test_weeks_start_on_monday_at_midnight(demo: Web) -> None:
    got = chart(demo, "IBM", window("2013-02-04", "2013-02-16", "1wk"))
    assert got["timestamp"] == [seconds("2013-02-04T05:00"), seconds("2013-02-11T05:00")]


def test_crypto_volume_is_notional(demo: Web) -> None:
    got = chart(demo, "BTC-USD", window("2013-01-01", "2013-01-01"))["indicators"]["quote"][0]
    assert got["volume"][0] > 1e9 and isinstance(got["volume"][0], int)


def test_recordings_are_served_as_recorded(recorded: Web, shared_data: Path) -> None:
    folder = shared_data / "yahoo/recorded_http_yahoo_finance2"
    record = json.loads((folder / "chart-AAPL-2020-08-31-to-2020-11-07.json").read_text())
    query = record["request"]["url"].split("?")[1]
    assert recorded.json(f"{CHART}/AAPL?{query}") == record["response"]["bodyJson"]
    part = chart(recorded, "NVDA", window("2021-07-19", "2021-07-21T12:00"))
    assert len(part["timestamp"]) == 2 and part["events"]["splits"]  # a part of a recording
