"""Polygon over HTTP: aggregates, paging, stamps, adjustment, reference data, errors."""

from __future__ import annotations

import base64
import datetime as dt

import pytest

from scripts.simulator import running
from tests.simulator_tests.conftest import Web

APPLE = "/polygon/v2/aggs/ticker/AAPL/range/1/day"


def test_range_aggregates_have_polygons_shape_and_stamps(demo: Web) -> None:
    answer = demo.get(f"{APPLE}/2005-04-01/2005-04-04?adjusted=false")
    body = answer.json()
    assert list(body) == [
        "ticker", "queryCount", "resultsCount", "adjusted", "results", "status", "request_id", "count",
    ]  # fmt: skip
    assert (body["ticker"], body["adjusted"], body["status"], body["count"]) == ("AAPL", False, "OK", 2)
    # A stock day starts at 00:00 New York; the clocks changed on Sunday 2005-04-03.
    assert [row["t"] for row in body["results"]] == [1_112_331_600_000, 1_112_587_200_000]
    assert set(body["results"][0]) == {"v", "o", "c", "h", "l", "t"}  # the source knows no vw and n
    assert answer.headers["X-Simulator"] == "recorded"


def test_adjusted_is_the_default_and_means_splits_known_today(demo: Web) -> None:
    raw = demo.json(f"{APPLE}/2000-06-20/2000-06-21?adjusted=false")["results"]
    adjusted = demo.json(f"{APPLE}/2000-06-20/2000-06-21")["results"]
    assert [row["c"] for row in raw] == [101.25, 55.63]
    assert [row["c"] for row in adjusted] == [101.25 / 4, 27.815]
    assert [row["v"] for row in adjusted] == [raw[0]["v"] * 4, raw[1]["v"] * 2]


def test_a_split_changes_nothing_before_its_day() -> None:
    with running("demo", "2000-06-20T22:00:00Z") as simulator:
        web = Web(simulator)
        assert web.json(f"{APPLE}/2000-06-20/2000-06-20")["results"][0]["c"] == 101.25
        simulator.set_clock("2000-06-21T22:00:00Z")
        assert web.json(f"{APPLE}/2000-06-20/2000-06-20")["results"][0]["c"] == 50.625


@pytest.mark.parametrize("sort", ["asc", "desc"])
def test_pages_join_to_the_whole_answer(demo: Web, sort: str) -> None:
    whole = demo.json(f"{APPLE}/2012-01-01/2012-12-31?adjusted=false&sort={sort}")["results"]
    url, rows, pages = f"{APPLE}/2012-01-01/2012-12-31?adjusted=false&sort={sort}&limit=100", [], 0
    while url:
        body = demo.json(url)
        rows += body["results"]
        pages += 1
        url = body.get("next_url", "")
        assert "apiKey" not in url
    assert rows == whole
    assert pages == 3 and len(rows) == 250


def test_next_url_names_the_next_window_and_its_cursor_the_options(demo: Web) -> None:
    url = demo.json(f"{APPLE}/2012-01-03/2012-01-10?limit=2")["next_url"]
    path, cursor = url.split("?cursor=")
    assert path == f"{demo.simulator.url}{APPLE}/1325739600000/2012-01-10"  # 2012-01-05 00:00 New York
    assert base64.urlsafe_b64decode(cursor + "==") == b"limit=2&sort=asc"
    assert "=" not in cursor
    assert demo.get(url, key=None).status_code == 401


def test_limit_counts_base_bars(demo: Web) -> None:
    hours = demo.json("/polygon/v2/aggs/ticker/X:BTCUSD/range/1/hour/2013-01-01/2013-01-31?limit=1000")
    assert hours["count"] == 16 and "next_url" in hours  # 1000 minutes
    most = demo.json("/polygon/v2/aggs/ticker/X:BTCUSD/range/5/minute/2012-01-01/2013-01-01?limit=50000")
    assert most["count"] == 10_000


def test_bounds_are_snapped_outward_to_whole_windows(demo: Web) -> None:
    start, end = 1_362_097_800_000, 1_362_106_800_000  # 2013-03-01 00:30 .. 03:00
    rows = demo.json(f"/polygon/v2/aggs/ticker/X:BTCUSD/range/1/hour/{start}/{end}")["results"]
    assert [(row["t"] - 1_362_096_000_000) // 3_600_000 for row in rows] == [0, 1, 2, 3]
    weeks = demo.json("/polygon/v2/aggs/ticker/AAPL/range/1/week/2013-02-13/2013-02-20")["results"]
    stamps = [dt.datetime.fromtimestamp(row["t"] / 1000, dt.UTC).isoformat() for row in weeks]
    assert stamps == ["2013-02-10T05:00:00+00:00", "2013-02-17T05:00:00+00:00"]  # Sundays, New York


def test_the_running_bar_is_served_and_grows() -> None:
    with running("demo", "2013-03-01T18:00:00Z") as simulator:
        web = Web(simulator)
        early = web.json(f"{APPLE}/2013-02-28/2013-03-01?adjusted=false")["results"]
        assert len(early) == 2
        simulator.set_clock("2013-03-01T21:30:00Z")
        final = web.json(f"{APPLE}/2013-02-28/2013-03-01?adjusted=false")["results"]
        assert final[0] == early[0]
        assert early[1]["v"] < final[1]["v"] and early[1]["o"] == final[1]["o"]
        simulator.set_clock("2013-03-01T13:00:00Z")  # before the open
        assert web.json(f"{APPLE}/2013-02-28/2013-03-01")["count"] == 1


def test_no_data_is_an_answer_without_results(demo: Web) -> None:
    for path in (f"{APPLE}/2013-02-16/2013-02-17", "/polygon/v2/aggs/ticker/NOPE/range/1/day/2012-01-01/2012-02-01"):
        body = demo.json(path)
        assert "results" not in body and (body["resultsCount"], body["status"]) == (0, "OK")


def test_grouped_and_previous_day_are_stamped_at_the_close(demo: Web) -> None:
    grouped = demo.json("/polygon/v2/aggs/grouped/locale/us/market/stocks/2013-02-28?adjusted=false")
    assert [row["T"] for row in grouped["results"]] == ["AAPL", "FB", "GOOG", "IBM", "MSFT"]
    assert {row["t"] for row in grouped["results"]} == {1_362_085_200_000}  # 16:00 New York
    single = demo.json(f"{APPLE}/2013-02-28/2013-02-28?adjusted=false")["results"][0]
    assert {**grouped["results"][0], "t": 0, "T": ""} == {**single, "t": 0, "T": ""}
    assert demo.json("/polygon/v2/aggs/ticker/AAPL/prev")["results"][0]["t"] == 1_362_085_200_000
    crypto = demo.json("/polygon/v2/aggs/grouped/locale/global/market/crypto/2013-02-28")
    assert crypto["resultsCount"] == 3
    assert "results" not in demo.json("/polygon/v2/aggs/grouped/locale/us/market/stocks/2013-02-16")


def test_splits_and_dividends_can_be_filtered_and_paged(demo: Web) -> None:
    splits = demo.json("/polygon/v3/reference/splits?ticker=AAPL&order=asc")["results"]
    assert [(r["execution_date"], r["split_from"], r["split_to"]) for r in splits] == [
        ("2000-06-21", 1, 2), ("2005-02-28", 1, 2),
    ]  # fmt: skip
    assert demo.json("/polygon/v3/reference/splits?execution_date.gte=2003-01-01&ticker=AAPL")["results"] == splits[1:]
    url, dates = "/polygon/v3/reference/dividends?ticker=IBM&limit=20", []
    while url:
        body = demo.json(url)
        dates += [row["ex_dividend_date"] for row in body["results"]]
        url = body.get("next_url", "")
    assert len(dates) == 52 and dates == sorted(dates, reverse=True)
    assert {"cash_amount", "currency", "dividend_type", "frequency", "pay_date", "record_date"} <= set(
        body["results"][0]
    )


def test_the_newer_splits_listing_has_adjustment_factors(demo: Web) -> None:
    rows = demo.json("/polygon/stocks/v1/splits?ticker=AAPL&order=asc")["results"]
    assert [(r["adjustment_type"], r["historical_adjustment_factor"]) for r in rows] == [
        ("forward_split", 0.25), ("forward_split", 0.5),
    ]  # fmt: skip


def test_tickers_say_what_is_synthetic_and_what_is_gone(demo: Web) -> None:
    rows = demo.json("/polygon/v3/reference/tickers?market=crypto")["results"]
    assert {row["ticker"] for row in rows} == {"X:BTCUSD", "X:ETHUSD", "X:SOLUSD"}
    assert all("synthetic" in row["name"] for row in rows)
    assert demo.json("/polygon/v3/reference/tickers/FB")["results"]["list_date"] == "2012-05-18"
    early = demo.json("/polygon/v3/reference/tickers?market=stocks&date=2003-01-06")["results"]
    assert {row["ticker"] for row in early} == {"AAPL", "IBM", "MSFT"}  # GOOG came in 2004, FB in 2012
    gone = demo.get("/polygon/v3/reference/tickers/NOPE")
    assert (gone.status_code, gone.json()["status"]) == (404, "NOT_FOUND")
    with running("synthetic", "2026-06-30T15:00:00Z") as simulator:
        delisted = Web(simulator).json("/polygon/v3/reference/tickers?active=false&market=stocks")["results"]
        before = Web(simulator).json("/polygon/v3/reference/tickers?active=true&market=stocks&date=2026-01-05")[
            "results"
        ]
    assert "SIMD" in {row["ticker"] for row in before}
    assert [(row["ticker"], row["delisted_utc"][:10]) for row in delisted] == [("SIMD", "2026-02-27")]


def test_market_status_and_holidays(own: Web) -> None:
    states = {}
    for clock in ("2013-03-01T15:00:00Z", "2013-03-01T12:00:00Z", "2013-03-01T22:00:00Z", "2013-03-02T15:00:00Z"):
        own.simulator.set_clock(clock)
        states[clock[5:13]] = own.json("/polygon/v1/marketstatus/now")["market"]
    assert list(states.values()) == ["open", "extended-hours", "extended-hours", "closed"]
    rows = own.json("/polygon/v1/marketstatus/upcoming")
    closed = {row["date"] for row in rows if row["status"] == "closed"}
    assert {"2013-03-29", "2013-05-27", "2013-07-04"} <= closed
    early = next(row for row in rows if row["status"] == "early-close")
    assert (early["date"], early["close"]) == ("2013-07-03", "2013-07-03T17:00:00.000Z")
    assert {row["exchange"] for row in rows} == {"NYSE", "NASDAQ"}


def test_errors_read_as_polygons(demo: Web) -> None:
    missing = demo.get(f"{APPLE}/2012-01-01/2012-02-01", key=None)
    assert (missing.status_code, missing.json()["error"]) == (401, "API Key was not provided")
    unknown = demo.get(f"{APPLE}/2012-01-01/2012-02-01", key="other")
    assert (unknown.status_code, unknown.json()["error"]) == (401, "Unknown API Key")
    assert demo.get(f"{APPLE}/2012-01-01/2012-02-01?apiKey=simulator", key=None).status_code == 200
    future = demo.get(f"{APPLE}/2014-01-01/2014-02-01")
    assert (future.status_code, future.json()["status"]) == (403, "NOT_AUTHORIZED")
    assert "plan doesn't include" in future.json()["message"]
    assert demo.get(f"{APPLE}/yesterday/2012-02-01").status_code == 400
    assert demo.get("/polygon/v9/nothing").status_code == 404


def test_the_free_plan_answers_429_when_its_minute_is_spent() -> None:
    with running("demo", polygon_per_minute=2) as simulator:
        web = Web(simulator)
        answers = [web.get(f"{APPLE}/2012-01-03/2012-01-03") for _ in range(5)]  # a minute may end once among them
    refused = [answer for answer in answers if answer.status_code == 429]
    assert refused and "maximum requests per minute" in refused[0].json()["error"]
    assert "Retry-After" not in refused[0].headers


def test_large_answers_are_compressed(demo: Web) -> None:
    answer = demo.get(f"{APPLE}/2012-01-01/2012-12-31")
    assert answer.headers["Content-Encoding"] == "gzip"
    assert demo.get(f"{APPLE}/2012-01-01/2012-12-31", headers={"Accept-Encoding": "identity"}).json() == answer.json()


def test_extended_hours_are_served_and_hours_lie_on_the_clock(recorded: Web) -> None:
    body = recorded.json("/polygon/v2/aggs/ticker/AAPL/range/1/hour/2014-06-09/2014-06-09?adjusted=false")
    hours = [dt.datetime.fromtimestamp(row["t"] / 1000, dt.UTC).hour - 4 for row in body["results"]]
    assert hours == list(range(4, 20))  # 04:00 .. 19:00 New York
    first = recorded.json("/polygon/v2/aggs/ticker/SPY/range/1/hour/2014-06-09/2014-06-09")["results"][0]
    assert dt.datetime.fromtimestamp(first["t"] / 1000, dt.UTC).hour - 4 == 9


def test_recorded_apple_is_continuous_when_adjusted(recorded: Web) -> None:
    for before, after, ratio in (("2014-06-06", "2014-06-09", 7), ("2020-08-28", "2020-08-31", 4)):
        raw = [r["c"] for r in recorded.json(f"{APPLE}/{before}/{after}?adjusted=false")["results"]]
        adjusted = [r["c"] for r in recorded.json(f"{APPLE}/{before}/{after}")["results"]]
        assert raw[0] / raw[1] > ratio * 0.9
        assert 0.9 < adjusted[0] / adjusted[1] < 1.1
