"""`market doctor`: one line a check, the remedy where it is not good, never a secret."""

from __future__ import annotations

import os

from extract.core import database
from extract.transport.budget import Block
from extract.transport.retry_policy import RETRY_POLICY
from scripts.simulator import running
from tests.extract.conftest import AAPL, BTC, Market


def test_all_is_well(market: Market) -> None:
    market.assets({**BTC, "binance_futures": "BTCUSDT"}, AAPL)
    market.set(BINANCE_API_KEY="key-4711", BINANCE_API_SECRET="secret-4711")
    output = market.run("doctor")
    assert "FAIL" not in output and "4711" not in output
    for line in (
        "settings: all valid",
        "POLYGON_API_KEY: set",
        "run lock: free",
        "symbols of binance: all 2 names known",
    ):
        assert f"ok    {line}" in output
    assert "WAREHOUSE_NOW replaces it by 2013-03-02 02:00:00 UTC" in output


def test_a_wrong_symbol_is_named_with_its_source(market: Market) -> None:
    market.assets({**BTC, "binance": "NOSUCH"}, {**AAPL, "polygon": "NOSUCH", "yahoo": "NOSUCH"})
    output = market.run("doctor", expect=1)
    assert "FAIL  symbols of binance: binance bars BTC 1d: HTTP 400" in output
    assert "FAIL  symbols of polygon: polygon bars AAPL 1d: no bars in the whole window" in output
    assert "FAIL  symbols of yahoo: yahoo bars AAPL 1d: HTTP 404" in output
    assert "-> correct the symbol in assets.csv" in output


def test_a_source_that_is_left_alone_is_said_once_with_its_remedy(market: Market) -> None:
    market.assets(BTC, {**BTC, "symbol": "ETH", "binance": "ETHUSDT", "yahoo": "ETH-USD"}, AAPL)
    Block("binance").set(7200)
    output = market.run("doctor", expect=1)
    assert "FAIL  symbols of binance: not asked: left alone until " in output
    assert "-> wait, or ask it again: market unblock binance" in output and "correct the symbol" not in output
    assert not [request for request in market.asked() if request["provider"] == "binance-spot"]
    assert "may be asked again" in market.run("unblock", "binance")
    assert "ok    symbols of binance: all 2 names known" in market.run("doctor")


def test_a_source_that_does_not_answer_is_asked_once(market: Market) -> None:
    market.assets(AAPL, {**AAPL, "symbol": "IBM", "polygon": "IBM", "yahoo": "IBM"})
    market.set(POLYGON_BASE_URL="http://127.0.0.1:9/polygon")
    waits = RETRY_POLICY.backoff
    output = market.run("doctor", expect=1)
    assert "FAIL  symbols of polygon: polygon bars AAPL 1d: no answer after 1 attempts" in output
    assert "; the other 1 names are not asked for" in output and "IBM" not in output
    assert "ok    symbols of yahoo: all 2 names known" in output and waits == RETRY_POLICY.backoff


def test_a_symbol_that_coin_metrics_does_not_know(market: Market) -> None:
    market.set(COINMETRICS_ENABLED="true")
    market.assets({**BTC, "coinmetrics": "btc"}, {**BTC, "symbol": "ETH", "coinmetrics": "nosuch"})
    output = market.run("doctor", expect=1)
    assert "FAIL  symbols of coinmetrics: coinmetrics exchange_inflow ETH: HTTP 400" in output


def test_a_delisted_symbol_is_told_until_the_registry_ends_it(market: Market) -> None:
    gone = {**AAPL, "symbol": "SIMD", "polygon": "SIMD", "yahoo": "SIMD"}
    with running("synthetic", "2026-03-10T15:00:00Z") as synthetic:
        market.set(**synthetic.environment())
        market.assets(gone)
        market.run("extract", "--start", "2026-02-02", "--end", "2026-02-27")
        (row,) = market.rows("polygon", "endpoint = 'tickers'")
        assert row["payload"]["results"][0]["delisted_utc"] == "2026-02-27T00:00:00Z"
        output = market.run("doctor", "--quick", expect=1)
        assert "FAIL  listings: SIMD (SIMD) is delisted since 2026-02-27\n      -> set its active_to" in output
        market.assets({**gone, "active_to": "2026-02-27"})
        assert "ok    listings: no enabled symbol is delisted" in market.run("doctor", "--quick")


def test_a_missing_key_and_a_held_lock_are_told_with_their_remedies(market: Market) -> None:
    market.set(POLYGON_API_KEY=None)
    # The key is no fault: every other source works without it.
    assert "WARN  POLYGON_API_KEY: not set\n      -> put POLYGON_API_KEY into .env" in market.run("doctor", "--quick")
    with database.run_lock("extract"):
        output = market.run("doctor", "--quick", expect=1)
    assert f"FAIL  run lock: market extract (process {os.getpid()})" in output and "symbols of" not in output


def test_bad_settings_and_an_unreachable_database(market: Market) -> None:
    market.set(YAHOO_TIMEOUT="never")
    assert "FAIL  settings: " in market.run("doctor", expect=1)
    market.set(YAHOO_TIMEOUT=None, PGPORT="1")
    from tests.extract.conftest import forget

    forget()
    output = market.run("doctor", expect=1)
    assert "FAIL  database: " in output and "check PGHOST" in output


def test_a_faulty_registry_is_told(market: Market) -> None:
    market.assets({**BTC, "timeframes": "9m"})
    assert "FAIL  asset registry: " in market.run("doctor", "--quick", expect=1)
