"""The simulator's answers have the fields and types of answers that others recorded from the real providers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.simulator_tests.conftest import Web

FUTURES = "/binance-futures"


def shape(value: Any) -> Any:
    """Field names and kinds of values; int and float are one kind, a list has the shape of its first element."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shape(item) for item in value[:1]]
    return "number" if isinstance(value, (int, float)) and not isinstance(value, bool) else type(value).__name__


@pytest.fixture(scope="module")
def binance_recordings(shared_data: Path) -> dict[str, Any]:
    routes = json.loads((shared_data / "binance/gocryptotrader/http.json").read_text())["routes"]
    return {path: methods["GET"][0]["data"] for path, methods in routes.items() if "GET" in methods}


@pytest.mark.parametrize(
    ("host", "path", "query"),
    [
        ("/binance-spot", "/api/v3/klines", "symbol=BTCUSDT&interval=5m"),
        (FUTURES, "/fapi/v1/klines", "symbol=BTCUSDT&interval=5m"),
        (FUTURES, "/fapi/v1/fundingInfo", ""),
        (FUTURES, "/fapi/v1/openInterest", "symbol=BTCUSDT"),
        (FUTURES, "/fapi/v1/premiumIndex", "symbol=BTCUSDT"),
        (FUTURES, "/fapi/v1/time", ""),
        (FUTURES, "/futures/data/openInterestHist", "symbol=BTCUSDT&period=1h"),
        (FUTURES, "/futures/data/globalLongShortAccountRatio", "symbol=BTCUSDT&period=1h"),
        (FUTURES, "/futures/data/topLongShortAccountRatio", "symbol=BTCUSDT&period=1h"),
        (FUTURES, "/futures/data/topLongShortPositionRatio", "symbol=BTCUSDT&period=1h"),
        (FUTURES, "/futures/data/takerlongshortRatio", "symbol=BTCUSDT&period=1h"),
    ],
)
def test_binance(demo: Web, binance_recordings: dict[str, Any], host: str, path: str, query: str) -> None:
    ours = demo.json(f"{host}{path}?{query}")
    theirs = binance_recordings[path]
    assert shape(ours) == shape(theirs)
    if isinstance(theirs, list) and isinstance(theirs[0], list):
        assert [shape(cell) for cell in ours[0]] == [shape(cell) for cell in theirs[0]]


@pytest.mark.parametrize(
    ("path", "recording", "optional"),
    [
        (
            "/v2/aggs/ticker/X:BTCUSD/range/1/day/2013-01-01/2013-01-03",
            "v2/aggs/ticker/AAPL/range/1/day/2005-04-02/2005-04-04.json",
            set(),
        ),
        ("/v2/aggs/ticker/X:BTCUSD/prev", "v2/aggs/ticker/AAPL/prev.json", set()),
        ("/v3/reference/splits", "v3/reference/splits.json", {"id", "next_url"}),
        ("/v3/reference/dividends", "v3/reference/dividends.json", {"id", "currency", "next_url"}),
        (
            "/v3/reference/tickers?market=stocks&limit=2",
            "v3/reference/tickers.json",
            {"cik", "composite_figi", "share_class_figi"},
        ),
        ("/v1/marketstatus/now", "v1/marketstatus/now.json", {"indicesGroups"}),
        ("/v1/marketstatus/upcoming", "v1/marketstatus/upcoming.json", set()),
    ],
)
def test_polygon(demo: Web, shared_data: Path, path: str, recording: str, optional: set[str]) -> None:
    theirs = json.loads((shared_data / "polygon/massive_client_mocks" / recording).read_text())

    def without(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: without(item) for key, item in value.items() if key not in optional}
        return [without(item) for item in value] if isinstance(value, list) else value

    assert shape(without(demo.json(f"/polygon{path}"))) == shape(without(theirs))


@pytest.mark.parametrize(
    ("symbol", "query", "recording"),
    [
        ("AAPL", "period1=961387200&period2=961700000&events=div,split", "chart-AAPL-2020-08-31-to-2020-11-07.json"),
        ("BTC-USD", "period1=1357000000&period2=1357300000", "chart-BTC-USD-2020-01-01-to-2020-01-03.json"),
        ("AAPL", "period1=1360972800&period2=1361059200", "chart-AAPL-2025-02-01-to-2025-02-02-"),
    ],
)
def test_yahoo(demo: Web, shared_data: Path, symbol: str, query: str, recording: str) -> None:
    folder = shared_data / "yahoo/recorded_http_yahoo_finance2"
    theirs = json.loads(next(iter(folder.glob(f"{recording}*"))).read_text())["response"]["bodyJson"]
    ours = demo.json(f"/yahoo/v8/finance/chart/{symbol}?interval=1d&{query}")
    # Quotes of the day and what only intraday answers have; nobody who loads bars reads them.
    extra = {"fiftyTwoWeekHigh", "fiftyTwoWeekLow", "previousClose", "scale"}

    def parts(body: Any) -> Any:
        result = body["chart"]["result"][0]
        result["meta"] = {
            k: v for k, v in result["meta"].items() if k not in extra and not k.startswith("regularMarket")
        }
        events = result.pop("events", {})
        kinds = {kind: shape(next(iter(rows.values()))) for kind, rows in events.items() if kind == "splits"}
        return shape(result), kinds

    assert parts(ours) == parts(theirs)
