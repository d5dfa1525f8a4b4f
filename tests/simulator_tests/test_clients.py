"""Real clients believe the simulator, and see what plain HTTP sees."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from scripts.simulator import Simulator
from tests.simulator_tests.conftest import Web

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # inside python-binance and yfinance


def test_polygons_own_client(demo_simulator: Simulator, demo: Web) -> None:
    from polygon import RESTClient

    client = RESTClient("simulator", base=demo_simulator.environment()["POLYGON_BASE_URL"])
    path = "/polygon/v2/aggs/ticker/X:BTCUSD/range/1/hour/2012-12-01/2013-02-28"
    plain, url = [], f"{path}?limit=50000"
    while url:
        body = demo.json(url)
        plain += body["results"]
        url = body.get("next_url", "")
    hours = list(client.list_aggs("X:BTCUSD", 1, "hour", "2012-12-01", "2013-02-28", limit=50_000))
    assert [(a.timestamp, a.open, a.high, a.low, a.close, a.volume, a.vwap, a.transactions) for a in hours] == [
        (r["t"], r["o"], r["h"], r["l"], r["c"], r["v"], r["vw"], r["n"]) for r in plain
    ]
    assert len(hours) == 90 * 24
    assert [s.execution_date for s in client.list_splits("AAPL", order="asc")] == ["2000-06-21", "2005-02-28"]
    assert len(list(client.list_dividends("IBM", limit=10))) == 52
    assert client.get_market_status().market == "closed"
    assert {t.ticker for t in client.list_tickers(market="stocks")} == {"AAPL", "FB", "GOOG", "IBM", "MSFT"}
    assert len(client.get_grouped_daily_aggs("2013-02-28")) == 5
    assert client.get_previous_close_agg("AAPL")[0].close == 441.4
    assert {h.exchange for h in client.get_market_holidays()} == {"NYSE", "NASDAQ"}


def test_polygons_own_client_without_the_right_key(demo_simulator: Simulator) -> None:
    from polygon import RESTClient
    from polygon.exceptions import BadResponse

    client = RESTClient("wrong", base=demo_simulator.environment()["POLYGON_BASE_URL"])
    with pytest.raises(BadResponse, match="Unknown API Key"):
        client.get_aggs("AAPL", 1, "day", "2012-01-01", "2012-02-01")


@pytest.fixture
def binance_client(demo_simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> Any:
    from binance.client import Client

    settings = demo_simulator.environment()
    monkeypatch.setattr(Client, "API_URL", settings["BINANCE_SPOT_BASE_URL"] + "/api")
    monkeypatch.setattr(Client, "FUTURES_URL", settings["BINANCE_FUTURES_BASE_URL"] + "/fapi")
    monkeypatch.setattr(Client, "FUTURES_DATA_URL", settings["BINANCE_FUTURES_BASE_URL"] + "/futures/data")
    return Client()


def test_python_binance(binance_client: Any, demo: Web) -> None:
    from binance.exceptions import BinanceAPIException

    rows = binance_client.get_historical_klines("BTCUSDT", "1h", "2013-01-01", "2013-02-28")
    assert len(rows) == 58 * 24 + 1
    plain = demo.json(f"/binance-spot/api/v3/klines?symbol=BTCUSDT&interval=1h&limit=1000&startTime={rows[0][0]}")
    assert rows[:1000] == plain
    futures = binance_client.futures_klines(symbol="BTCUSDT", interval="1d", limit=5)
    assert len(futures) == 5
    assert len(binance_client.futures_funding_rate(symbol="SOLUSDT", limit=7)) == 7
    assert len(binance_client.futures_open_interest_hist(symbol="BTCUSDT", period="5m", limit=9)) == 9
    assert binance_client.futures_open_interest(symbol="BTCUSDT")["symbol"] == "BTCUSDT"
    assert len(binance_client.futures_global_longshort_ratio(symbol="BTCUSDT", period="1h")) == 30
    with pytest.raises(BinanceAPIException) as caught:
        binance_client.get_klines(symbol="NOPE", interval="1h")
    assert caught.value.code == -1121


@pytest.fixture
def yfinance_session(tmp_path: Path) -> Iterator[Any]:
    """yfinance with every Yahoo host rewritten to a simulator, and no memory of other tests."""
    import yfinance
    from curl_cffi import requests as curl
    from yfinance.data import YfData

    class Session(curl.Session):  # type: ignore[type-arg]
        base = ""

        def request(self, method: Any, url: str, *args: Any, **options: Any) -> Any:
            parts = urlsplit(url)
            target = self.base + parts.path + (f"?{parts.query}" if parts.query else "")
            return super().request(method, target, *args, **options)

    yfinance.set_tz_cache_location(str(tmp_path))
    hidden = yfinance.config.debug.hide_exceptions
    yfinance.config.debug.hide_exceptions = False
    YfData.cache_get.cache_clear()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield Session()
    yfinance.config.debug.hide_exceptions = hidden
    YfData.cache_get.cache_clear()


def test_yfinance(yfinance_session: Any, demo_simulator: Simulator) -> None:
    import yfinance

    yfinance_session.base = demo_simulator.environment()["YAHOO_BASE_URL"]
    apple = yfinance.Ticker("AAPL", session=yfinance_session)
    days = apple.history(start="2000-06-19", end="2000-06-24", auto_adjust=False)
    assert days["Close"].tolist() == pytest.approx([24.155, 25.3125, 27.815, 26.875, 25.845], rel=1e-6)
    assert days["Stock Splits"].tolist() == [0, 0, 2, 0, 0]
    assert str(days.index[0]) == "2000-06-19 00:00:00-04:00"
    hours = yfinance.Ticker("BTC-USD", session=yfinance_session).history(
        start="2013-02-20", end="2013-02-22", interval="1h"
    )
    assert len(hours) == 48 and str(hours.index[0]) == "2013-02-20 00:00:00+00:00"
    halves = yfinance.Ticker("BTC-USD", session=yfinance_session).history(
        start="2013-02-20", end="2013-02-21", interval="30m"
    )
    assert len(halves) == 48


def test_yfinance_errors(yfinance_session: Any, own: Web) -> None:
    import yfinance
    from yfinance.exceptions import YFPricesMissingError, YFRateLimitError

    yfinance_session.base = own.simulator.environment()["YAHOO_BASE_URL"]
    ibm = yfinance.Ticker("IBM", session=yfinance_session)
    assert len(ibm.history(start="2013-01-02", end="2013-01-05")) == 3
    own.simulator.add_fault(kind="status", status=429, provider="yahoo", endpoint="bars")
    with pytest.raises(YFRateLimitError):
        ibm.history(start="2013-01-07", end="2013-01-10")
    own.simulator.clear_faults()
    with pytest.raises(YFPricesMissingError, match="730 days"):
        yfinance.Ticker("BTC-USD", session=yfinance_session).history(
            start="2010-02-01", end="2010-02-05", interval="1h"
        )
    own.simulator.add_fault(kind="body", body="Will be right back", provider="yahoo", endpoint="bars", count=1)
    with pytest.raises(Exception, match="CURRENTLY DOWN"):
        ibm.history(start="2013-01-14", end="2013-01-17")


def test_yfinance_on_the_recorded_split(yfinance_session: Any, recorded_simulator: Simulator) -> None:
    import yfinance

    yfinance_session.base = recorded_simulator.environment()["YAHOO_BASE_URL"]
    nvidia = yfinance.Ticker("NVDA", session=yfinance_session).history(start="2021-07-10", end="2021-07-31")
    assert nvidia["Stock Splits"].max() == 4 and len(nvidia) == 15
