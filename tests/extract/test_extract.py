"""`market extract` as a user sees it: simulator -> HTTP -> dlt -> raw rows in Postgres."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal

import orjson
import pytest

from extract.core import settings
from extract.load.pipeline import DLT_SETTINGS
from extract.symbols import registry_file
from scripts.simulator import API_KEY, running
from scripts.simulator.datasets import DEMO_CLOCK, demo
from scripts.simulator.instruments import Dividend
from tests.extract.conftest import AAPL, BTC, Market


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_first_extract_brings_the_default_reach_as_received(market: Market) -> None:
    market.assets({**BTC, "timeframes": "1d"})
    market.run("extract", "--symbols", "BTC")
    (row,) = market.rows("binance", "endpoint = 'bars'")
    assert (row["symbol"], row["provider_symbol"], row["timeframe"]) == ("BTC", "BTCUSDT", "1d")
    assert (row["window_start"], row["window_end"]) == (at("2011-03-03"), at("2013-03-02"))
    assert (row["status"], row["origin"], row["http_status"], row["row_count"]) == ("ok", "rest", 200, 730)
    assert row["requested_at"] == row["fetched_at"] == at("2013-03-02 02:00")
    assert row["breaker_state"] == "CLOSED" and row["quota_remaining"] > 0 and row["error"] is None
    assert len(row["payload"]) == 731 and len(row["payload"][0]) == 12, "as received, the running day included"
    assert isinstance(row["payload"][0][1], str), "prices stay the strings Binance sent"


def test_every_raw_schema_exists_even_where_nothing_was_asked(market: Market) -> None:
    market.assets({**BTC, "timeframes": "1d"})
    market.run("extract")
    for source in ("polygon", "binance", "yahoo", "coinmetrics"):
        for table in ("responses", "_dlt_loads"):
            assert market.query(f"select to_regclass('raw_{source}.{table}') is not null as is_there") == [
                {"is_there": True}
            ]


def test_only_closed_bars_count_as_loaded(market: Market) -> None:
    """The bar of the running hour is shown but does not count; when its hour is over, it is asked for again."""
    market.at("2013-03-02T02:30:00Z")
    market.run("extract")
    assert max(row["window_end"] for row in market.rows("binance")) == at("2013-03-02 02:00")
    market.at("2013-03-02T03:01:00Z")
    market.run("extract")
    newest = market.rows("binance", "endpoint = 'bars'")[-1]
    assert newest["window_end"] == at("2013-03-02 03:00")
    opened = [row[0] / 1000 for row in newest["payload"][-2:]]
    assert opened == [at("2013-03-02 02:00").timestamp(), at("2013-03-02 03:00").timestamp()]


def test_a_run_without_news_stores_no_payload(market: Market) -> None:
    market.assets(BTC, AAPL)
    for _ in range(2):
        market.run("extract")
    market.asked()
    output = market.run("extract")
    assert "BTC 1h: unchanged at binance (2 requests)" in output
    assert "AAPL 1d: unchanged at polygon (1 request)" in output
    last = market.query("select max(load_id) as id from raw_binance._dlt_loads")[0]["id"]
    rows = market.rows("binance", f"_dlt_load_id = '{last}'")
    assert {row["status"] for row in rows} == {"unchanged"} and not any(row["payload"] for row in rows)
    assert len(market.asked("bars")) == 3


def test_an_amended_bar_inside_the_lookback_is_stored_again(market: Market) -> None:
    for _ in range(2):
        market.run("extract")
    market.simulator.add_fault(
        kind="amended", provider="binance-spot", endpoint="bars",
        start="2013-02-28T05:00:00Z", end="2013-02-28T06:00:00Z",
    )  # fmt: skip
    before = {row["_dlt_load_id"] for row in market.rows("binance")}
    market.run("extract")
    changed = [row for row in market.rows("binance", "status = 'ok'") if row["_dlt_load_id"] not in before]
    assert [(row["window_start"], row["row_count"]) for row in changed] == [(at("2013-02-28"), 48)]


def test_revision_lookback_widens_what_is_read_again(market: Market) -> None:
    market.run("extract")
    market.set(REVISION_LOOKBACK="5")
    market.run("extract")
    reread = market.rows("binance", "endpoint = 'bars' and origin = 'rest'")[-2:]
    assert min(row["window_start"] for row in reread) == at("2013-02-25")


def test_the_digest_is_of_the_rows_alone(market: Market) -> None:
    """Polygon's request_id changes with every answer."""
    market.assets(AAPL)
    market.run("extract")
    (row,) = market.rows("polygon", "endpoint = 'bars'")
    assert row["payload"]["request_id"]
    results = orjson.dumps(row["payload"]["results"])
    assert len(row["payload_sha"]) == 64 and b"request_id" not in results
    assert row["payload"]["adjusted"] is False


def test_old_bars_come_from_verified_archive_files(market: Market) -> None:
    market.assets({**BTC, "timeframes": "5m"})
    market.run("extract")
    files = market.rows("binance", "origin = 'archive'")
    assert len(files) == 8 and max(row["window_end"] for row in files) == at("2013-02-28")
    payload = files[0]["payload"]
    assert payload["file"] == "BTCUSDT-5m-2013-02-20.zip" and payload["checksum"] == files[0]["payload_sha"]
    assert len(payload["rows"]) == 288 and all(isinstance(cell, str) for cell in payload["rows"][0])
    market.asked()
    market.run("extract", "--start", "2013-02-21", "--end", "2013-02-23")
    asked = [one["path"] for one in market.asked() if one["provider"] == "binance-archive"]
    assert len(asked) == 3 and all(path.endswith(".CHECKSUM") for path in asked)
    assert len(market.rows("binance", "origin = 'archive' and status = 'unchanged'")) == 3


def test_an_amended_archive_file_is_noticed_by_its_checksum(market: Market) -> None:
    market.assets({**BTC, "timeframes": "5m"})
    market.run("extract")
    market.simulator.add_fault(
        kind="amended", provider="binance-archive", start="2013-02-22T00:00:00Z", end="2013-02-22T01:00:00Z"
    )
    market.run("extract", "--start", "2013-02-21", "--end", "2013-02-23")
    again = market.rows("binance", "origin = 'archive' and window_start = '2013-02-22 00:00Z'")
    assert [row["status"] for row in again] == ["ok", "ok"]
    assert again[0]["payload_sha"] != again[1]["payload_sha"]


def test_a_loaded_file_is_looked_at_again_the_seldomer_the_older_it_is(market: Market) -> None:
    """A plain run notices what Binance has replaced, for one small request a file."""
    market.assets({**BTC, "timeframes": "5m"})
    market.run("extract")
    market.asked()
    market.run("extract")
    assert not [one for one in market.asked() if one["provider"] == "binance-archive"], "all were seen just now"
    market.at("2013-03-05T02:00:00Z")
    market.simulator.add_fault(
        kind="amended", provider="binance-archive", start="2013-02-27T00:00:00Z", end="2013-02-27T01:00:00Z"
    )
    output = market.run("extract")
    files = [one["path"].rsplit("-5m-")[1] for one in market.asked() if one["provider"] == "binance-archive"]
    # Three days have passed since: more than a third of the age of the files of the last nine days.
    again = [f"2013-02-{day}.zip.CHECKSUM" for day in (24, 25, 26, 27)]
    assert [name for name in files if name in again] and "2013-02-27.zip" in files
    assert not [name for name in files if name < "2013-02-24"]
    assert "BTC 5m revision: 288 rows from binance in 4 requests" in output
    (old, new) = market.rows("binance", "origin = 'archive' and window_start = '2013-02-27 00:00Z'")
    assert old["payload_sha"] != new["payload_sha"] and new["status"] == "ok"


def test_so_many_files_a_run_and_a_failure_is_none_of_the_series(
    market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("extract.providers.binance.derivatives.FILES_A_RUN", 2)
    market.assets({**BTC, "timeframes": "5m"})
    market.run("extract")
    market.at("2013-03-05T02:00:00Z")
    assert "BTC 5m revision: unchanged at binance (2 requests)" in market.run("extract")
    market.simulator.add_fault(kind="status", status=403, provider="binance-archive")
    assert "WARNING BTC 5m revision: not all of it from binance (2 requests)" in market.run("extract")


def test_a_file_that_is_not_there_is_asked_for_over_rest(market: Market) -> None:
    market.assets({**BTC, "timeframes": "5m"})
    market.simulator.add_fault(kind="status", status=404, provider="binance-archive", count=1)
    assert "1 file not in the archive" in market.run("extract")
    (absent,) = market.rows("binance", "status = 'failed'")
    rest = market.rows("binance", f"origin = 'rest' and window_start = '{absent['window_start']}'")
    assert [row["row_count"] for row in rest] == [288]


def test_futures_statistics_arrive_with_their_endpoints(market: Market) -> None:
    market.assets({**BTC, "timeframes": "5m", "binance_futures": "BTCUSDT"})
    market.run("extract")
    endpoints = {row["endpoint"] for row in market.rows("binance", "status = 'ok'")}
    assert endpoints == {
        "bars", "funding", "open_interest", "open_interest_now", "long_short_ratio", "taker_ratio", "metrics"
    }  # fmt: skip
    ratios = market.rows("binance", "endpoint = 'long_short_ratio'")
    assert {row["timeframe"] for row in ratios} == {"5m"}
    assert min(row["window_start"] for row in ratios) == at("2013-02-28"), "older days come as metrics files"
    assert {"longAccount", "timestamp"} <= ratios[0]["payload"][0].keys()
    market.asked()
    market.run("extract")
    market.run("extract")
    again = market.asked("long_short_ratio")
    assert [request["query"]["startTime"] for request in again] == ["1362186000000"] * 2, (
        "the last hour, in one request"
    )
    newest = market.rows("binance", "endpoint = 'long_short_ratio'")[-1]
    assert newest["status"] == "unchanged" and newest["window_start"] == at("2013-03-02 01:00")


def test_usd_m_bars_where_there_is_no_spot_symbol(market: Market) -> None:
    market.assets({**BTC, "binance": "", "binance_futures": "BTCUSDT", "source_priority": "binance"})
    market.run("extract")
    assert {request["provider"] for request in market.asked("bars")} == {"binance-futures"}
    assert market.rows("binance", "endpoint = 'bars' and status = 'ok'")


def test_yahoo_answers_are_kept_as_chart_json_with_their_events(market: Market) -> None:
    market.assets({**AAPL, "source_priority": "yahoo"})
    market.run("extract", "--start", "2005-02-01", "--end", "2005-03-31")
    row, later = market.rows("yahoo")
    assert (row["endpoint"], later["endpoint"]) == ("bars", "events")
    assert later["window_start"] == row["window_end"], "prices are divided by the splits up to now"
    result = row["payload"]["chart"]["result"][0]
    assert row["origin"] == "chart" and row["row_count"] == len(result["timestamp"])
    assert [split["splitRatio"] for split in result["events"]["splits"].values()] == ["2:1"]


def test_pages_of_one_window_become_rows_of_their_own_windows(market: Market, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("extract.providers.polygon.asking.PAGE_LIMIT", 5000)
    market.run("extract", "--source", "polygon", "--start", "2013-02-01", "--end", "2013-02-20")
    rows = market.rows("polygon", "endpoint = 'bars'")
    assert len(rows) > 2 and all(
        one["window_end"] == two["window_start"] for one, two in zip(rows, rows[1:], strict=False)
    )
    times = [bar["t"] for row in rows for bar in row["payload"]["results"]]
    assert times == sorted(set(times)) and len(times) == 480
    assert all(request["authenticated"] for request in market.asked("bars"))
    assert not any(row["payload"]["adjusted"] for row in rows)


def test_days_of_many_stocks_are_one_answer_about_the_whole_market(market: Market) -> None:
    symbols = ("AAPL", "MSFT", "IBM", "GOOG")
    market.assets(*({**AAPL, "symbol": symbol, "polygon": symbol, "yahoo": symbol} for symbol in symbols))
    market.set(REVISION_LOOKBACK="0")
    market.run("extract")
    market.asked()
    market.at("2013-03-05T02:00:00Z")
    market.run("extract")
    requests = market.asked()
    assert not [one for one in requests if one["provider"] == "polygon" and one["endpoint"] == "bars"]
    rows = market.rows("polygon", "endpoint = 'grouped_daily'")
    assert rows and all(row["symbol"] is None and row["window_start"].hour == 5 for row in rows)
    assert {"AAPL", "MSFT"} <= {bar["T"] for bar in rows[0]["payload"]["results"]}
    market.run("extract", "--symbols", "AAPL", "--dry-run")


@pytest.mark.parametrize(("count", "endpoint", "requests"), [(3, "grouped_daily", 1), (2, "bars", 2)])
def test_one_date_of_three_stocks_is_one_request(market: Market, count: int, endpoint: str, requests: int) -> None:
    symbols = ("AAPL", "MSFT", "IBM")[:count]
    market.assets(*({**AAPL, "symbol": symbol, "polygon": symbol} for symbol in symbols))
    output = market.run("extract", "--source", "polygon", "--start", "2013-02-28T05:00", "--end", "2013-03-01T05:00")
    rows = market.rows("polygon", "endpoint in ('bars', 'grouped_daily')")
    assert [row["endpoint"] for row in rows] == [endpoint] * requests
    assert all(f"{symbol} 1d: " in output for symbol in symbols)


def test_what_a_source_serves_no_longer_tomorrow_is_asked_first(
    market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Yahoo keeps 5m bars for 60 days, 1h bars for 730, days for ever."""
    for setting in ("extract.workers", "extract.max_parallel_items"):
        monkeypatch.setitem(DLT_SETTINGS, setting, 1)
    market.assets({**BTC, "timeframes": "1d 1h 5m", "source_priority": "yahoo"})
    dry = market.run("extract", "--source", "yahoo", "--dry-run")
    assert "49 days" in dry and "709 days" in dry
    market.run("extract", "--source", "yahoo")
    charts = [one["timeframe"] for one in market.asked("bars")]
    assert charts == ["5m", "1h", "1d"]


def test_dry_run_counts_against_each_quota_and_tells_the_time(market: Market) -> None:
    market.assets(
        {**BTC, "timeframes": "5m", "binance_futures": "BTCUSDT"},
        *({**AAPL, "symbol": f"S{number}", "polygon": f"S{number}"} for number in range(3)),
    )
    market.set(POLYGON_REQUESTS_PER_MINUTE="5", COLUMNS="200")
    output = market.run("extract", "--dry-run")
    # 3 series, each with splits, dividends and a listing; the market's status and holidays.
    assert "polygon: 14 requests, quota 5 a minute" in output and "polygon: done at the soonest in 0:02:00 h" in output
    assert "binance: 2 weight of spot, quota 5,400 a minute" in output
    assert "requests of statistics, quota 200 a minute" in output and "requests of files, no limit" in output
    assert not market.asked()


def test_reference_data_is_asked_once_a_day(market: Market) -> None:
    market.assets(AAPL)
    market.run("extract")
    assert {row["endpoint"] for row in market.rows("polygon")} == {
        "bars", "splits", "dividends", "tickers", "market_status", "market_holidays"
    }  # fmt: skip
    (splits,) = market.rows("polygon", "endpoint = 'splits'")
    assert [(row["execution_date"], row["split_to"]) for row in splits["payload"]["results"]] == [
        ("2000-06-21", 2),
        ("2005-02-28", 2),
    ]
    market.asked()
    market.run("extract")
    assert not market.asked("splits")
    market.at("2013-03-03T02:00:00Z")
    market.run("extract")
    assert len(market.asked("splits")) == 1


def test_a_bad_symbol_goes_to_the_next_source_and_is_on_record(market: Market) -> None:
    market.assets({**BTC, "binance": "NOSUCH", "source_priority": "binance yahoo", "timeframes": "1d"})
    output = market.run("extract")
    assert "asking yahoo" in output and "BTC 1d: 730 rows from yahoo" in output
    (failed,) = market.rows("binance", "status = 'failed'")
    assert failed["http_status"] == 400 and "Invalid symbol" in failed["error"]
    assert "binance bars BTC 1d" in failed["error"]


def test_a_series_that_no_source_gives_leaves_the_others_loaded(market: Market) -> None:
    market.assets({**BTC, "timeframes": "1d"}, {**AAPL, "polygon": "NOSUCH", "yahoo": "NOSUCH"})
    output = market.run("extract", expect=3)
    assert "AAPL 1d" in output.splitlines()[-1]
    assert market.rows("binance", "status = 'ok'")


def test_an_index_and_a_fund_that_pays_out_its_gains(market: Market) -> None:
    """Found by name, asked for, and stored: bars without a volume are Polygon's of an index; gains are asked of Yahoo."""
    ibm, known = demo().polygon["IBM"], demo()
    index = replace(ibm, symbol="I:SPX", name="S&P 500", security="INDEX", splits=(), dividends=())
    gains = (Dividend(date(2013, 2, 20), Decimal("1.5")),)
    fund = replace(ibm, symbol="FND", name="A fund", security="ETF", splits=(), dividends=(), capital_gains=gains)
    data = replace(
        known,
        polygon={**known.polygon, "I:SPX": index, "FND": fund},
        yahoo={**known.yahoo, "^SPX": replace(index, symbol="^SPX"), "FND": fund},
    )
    with running(data, DEMO_CLOCK) as simulator:
        market.set(**simulator.environment())
        market.assets()
        output = market.run("add", "SPX", "FND", "--yes")
        assert "new  SPX: index, 1d, calendar XNYS" in output and "polygon          I:SPX        S&P 500" in output
        (row, _) = registry_file.rows(market.directory / settings.ASSETS)
        assert (row["asset_class"], row["polygon"], row["yahoo"]) == ("index", "I:SPX", "^SPX")
        market.run("extract", "--start", "2013-02-01", "--end", "2013-02-28")
        (bars,) = market.rows("polygon", "symbol = 'SPX' and endpoint = 'bars'")
        # With the last day of January: Polygon widens a window to whole days of New York.
        assert (bars["status"], bars["row_count"]) == ("ok", 20)
        assert set(bars["payload"]["results"][0]) == {"t", "o", "h", "l", "c"}
        # Nobody splits an index.
        assert {row["endpoint"] for row in market.rows("polygon", "symbol = 'SPX'")} == {"bars"}
        market.run("extract", "--source", "yahoo", "--start", "2013-02-01", "--end", "2013-02-28")
        (chart,) = market.rows("yahoo", "symbol = 'FND' and endpoint = 'bars'")
        (paid,) = chart["payload"]["chart"]["result"][0]["events"]["capitalGains"].values()
        assert paid["amount"] == 1.5
        (dividend,) = market.rows("polygon", "symbol = 'FND' and endpoint = 'dividends'")
        assert [one["dividend_type"] for one in dividend["payload"]["results"]] == ["LT"]


def test_without_a_key_polygon_is_loudly_left_out(market: Market) -> None:
    market.assets(AAPL)
    market.set(POLYGON_API_KEY=None)
    output = market.run("extract")
    assert "polygon is UNAVAILABLE in this run: POLYGON_API_KEY is not set" in output
    assert "AAPL 1d: 503 rows from yahoo" in output


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_is_loud_on_record_and_where_required_an_error(market: Market, status: int) -> None:
    market.assets(AAPL)
    market.set(POLYGON_API_KEY="wrong-key")
    if status == 403:
        market.simulator.add_fault(kind="status", status=403, provider="polygon")
    words = f"POLYGON_API_KEY is refused (HTTP {status}): put a valid key into .env"
    output = market.run("extract")
    assert words in output and "AAPL 1d: 503 rows from yahoo" in output
    market.set(POLYGON_REQUIRED="true")
    output += market.run("extract", expect=78)
    refusals = market.rows("polygon")
    assert [(row["endpoint"], row["status"], row["http_status"]) for row in refusals] == [
        ("market_status", "failed", status)
    ] * 2
    assert all(words in row["error"] for row in refusals)
    assert "wrong-key" not in output + str(refusals)
    (run_id,) = {row["run_id"] for row in market.rows("yahoo")}
    assert [row["run_id"] for row in refusals].count(run_id) == 1
    market.simulator.clear_faults()
    market.set(POLYGON_API_KEY=API_KEY)
    market.run("extract")
    assert market.rows("polygon", "endpoint = 'market_status' and status = 'ok'")


def test_a_stock_keeps_to_one_grid_of_hours(market: Market) -> None:
    """Polygon's hours begin on the clock, Yahoo's at 09:30: the second source is no substitute."""
    market.assets({**AAPL, "timeframes": "1h", "polygon": "NOSUCH"})
    market.run("extract", "--start", "2013-02-01", "--end", "2013-02-22", expect=3)
    assert not market.rows("yahoo")
    market.set(POLYGON_API_KEY=None)
    market.run("extract", "--start", "2013-02-01", "--end", "2013-02-22", expect=1)
    assert market.rows("yahoo"), "without a key, Yahoo's grid is the series' grid"


def test_a_named_source_without_the_symbol_is_a_warning_and_a_failed_series(market: Market) -> None:
    output = market.run("extract", "--source", "binance", "--symbols", "BTC", "--timeframes", "1d")
    assert "730 rows" in output
    market.assets(AAPL)
    output = market.run("extract", "--source", "binance", expect=1)
    assert "AAPL 1d: binance does not have it" in output


def test_beyond_a_sources_reach_is_said_and_not_counted_as_done(market: Market) -> None:
    market.assets({**BTC, "source_priority": "yahoo"})
    output = market.run("extract", "--timeframes", "5m", "--start", "2012-01-01", "--end", "2012-01-31", expect=3)
    assert "yahoo BTC 5m: it serves 5m bars only from 2013-01-01" in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--symbols", "NOPE"), "not enabled there: NOPE (`market list` shows it, `market add NOPE` adds"),
        (("--timeframes", "7m"), "7m is none of"),
        (("--source", "bloomberg"), "bloomberg is none of"),
        (("--start", "yesterday"), "neither a date"),
    ],
)
def test_bad_options_are_configuration_errors(market: Market, arguments: tuple[str, str], message: str) -> None:
    assert message in market.run("extract", *arguments, expect=78)


def test_dry_run_prints_requests_and_asks_nothing(market: Market) -> None:
    market.assets(BTC, AAPL)
    market.set(POLYGON_REQUESTS_PER_MINUTE="5")
    output = market.run("extract", "--dry-run")
    assert "binance: " in output and "quota 5 a minute" in output
    assert not market.asked() and not market.rows("binance")


def test_a_secret_appears_neither_in_rows_nor_in_the_output(market: Market) -> None:
    market.assets(AAPL)
    market.simulator.add_fault(kind="body", body="you sent simulator", status=403, provider="polygon", endpoint="bars")
    output = market.run("extract", expect=0)
    (row,) = market.rows("polygon", "endpoint = 'bars'")
    assert "you sent ***" in row["error"] and "you sent simulator" not in output
