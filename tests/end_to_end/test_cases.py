"""The inputs that providers really sent and this project once got wrong (../shared/cases), replayed as users meet them: the
recorded bodies over HTTP, `market extract` at the clock of then, `dbt build`, and the marts.

One registry, one warehouse: each case is a symbol of its own, so every case also proves that it harms no other.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from typer.testing import CliRunner

from scripts.cli import app
from scripts.simulator import environment
from tests.conftest import ROOT
from tests.extract.conftest import forget
from tests.warehouse import MakeWarehouse, Warehouse, crypto, stock

CASES = ROOT.parent / "shared" / "cases"
# The evenings at which the cases were asked, New York 17:30.
JUNE_9, JUNE_10, JUNE_11, JUNE_12, JUNE_15 = (f"2026-06-{day:02}T21:30:00Z" for day in (9, 10, 11, 12, 15))
NOVEMBER = "2026-11-20T00:10:00Z"
NO_ROWS = {"results": [], "status": "OK"}

Answer = tuple[int, str]


class Providers(BaseHTTPRequestHandler):
    """The providers' hosts: whoever asks for a symbol gets its case's body, whatever the window."""

    charts: dict[str, str]
    ranges: dict[str, str]
    reference: dict[tuple[str, str], str]
    klines: dict[str, list[list[Any]]]
    asked: list[str]

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        provider, _, path = parts.path.lstrip("/").partition("/")
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self.asked.append(self.path)
        status, body = self._answer(provider, path, query)
        data = body.encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _answer(self, provider: str, path: str, query: dict[str, str]) -> Answer:
        if provider == "yahoo":
            if path.startswith("v8/finance/chart/"):
                body = self.charts.get(path.rsplit("/", 1)[1])
                missing = '{"chart":{"result":null,"error":{"code":"Not Found","description":"No data found"}}}'
                return (200, body) if body else (404, missing)
            return 200, "crumb"
        if provider == "polygon":
            if path == "v1/marketstatus/now":
                return 200, json.dumps({"market": "closed", "serverTime": "2026-06-10T17:30:00-04:00"})
            if path.startswith("v2/aggs/ticker/"):
                ticker = path.split("/")[3]
                return 200, self.ranges.get(ticker, json.dumps({**NO_ROWS, "ticker": ticker, "adjusted": False}))
            if path.startswith("v3/reference/"):
                kind = path.rsplit("/", 1)[1]
                if "cursor" in query:
                    return 200, self.reference["splits", query["cursor"]]
                return 200, self.reference.get((kind, query.get("ticker", "")), json.dumps(NO_ROWS))
        if provider == "binance-spot" and path == "api/v3/klines":
            first, last = int(query.get("startTime", 0)), int(query.get("endTime", 10**15))
            rows = self.klines.get(query["symbol"], [])
            return 200, json.dumps([row for row in rows if first <= row[0] <= last])
        return 404, "{}"

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing."""


def case(name: str, file: str) -> str:
    return (CASES / name / file).read_text()


def named(body: str, symbol: str) -> str:
    """A chart of X as one of another symbol."""
    return body.replace('"symbol": "X"', f'"symbol": "{symbol}"')


def polygon_days(ticker: str, closes: dict[str, float]) -> str:
    """Days of a ticker in Polygon's form, by the date (of New York's winter)."""
    rows = [
        {"v": 1000, "o": close, "h": close, "l": close, "c": close, "n": 10}
        | {"t": round(datetime.fromisoformat(f"{day}T05:00:00+00:00").timestamp() * 1000)}
        for day, close in closes.items()
    ]
    counts = {"queryCount": len(rows), "resultsCount": len(rows), "count": len(rows)}
    return json.dumps({"ticker": ticker, "adjusted": False, "status": "OK", "results": rows, **counts})


@pytest.fixture(scope="module")
def replayed(make_warehouse: MakeWarehouse) -> Iterator[Warehouse]:
    """All cases asked at their clocks, and built."""
    if not (CASES / "README.md").exists():
        pytest.skip("needs the recorded cases in ../shared/cases, which this machine does not have")
    Providers.charts, Providers.ranges, Providers.reference = {}, {}, {}
    Providers.klines, Providers.asked = {}, []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Providers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    warehouse = make_warehouse("warehouse")
    yahoo = {"polygon": "", "active_from": "2020-01-01"}
    polygon = {"yahoo": "", "active_from": "2020-01-01"}
    coin = {"polygon": "", "yahoo": "", "binance_futures": "", "coinmetrics": "", "active_from": "2026-11-01"}
    warehouse.assets(
        [
            *(stock(name, "1d", **yahoo) for name in ("YSPE", "YLATE0", "YLATE2", "YHOLE", "XY2", "XZ2", "YOK")),
            stock("YINT", "5m", **yahoo),
            *(stock(name, "1d", **polygon) for name in ("PSPD", "PSPINV", "PSPW", "XP4", "PNULL", "LOOP")),
            stock("PTHIN", "5m", asset_class="etf", **polygon),
            crypto("VOLD", "1w", **coin),
            crypto("TINY", "1h", **coin),
        ]
    )
    address, port = server.server_address[:2]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(warehouse.project.directory)
        for name, value in {**warehouse.database.environment, **environment(f"http://{address!s}:{port}")}.items():
            patch.setenv(name, value)
        run = commands(warehouse, patch)

        charts = Providers.charts
        odd = "one_bad_field_stops_every_build"
        charts |= {
            "YSPE": case("yahoo_split_adjusted_evening_before", "day1.json"),
            "XY2": named(case(odd, "timestamp_text.json"), "XY2"),
            "XZ2": named(case(odd, "unknown_zone.json"), "XZ2"),
            "YOK": named(case(odd, "timestamp_text.json"), "YOK").replace('"1781011800"', "1781011800"),
            "YHOLE": case("yahoo_backfill_before_unseen_split", "body.json"),
        }
        Providers.ranges |= {
            "PTHIN": case("thin_etf_never_valid", "body.json"),
            "PNULL": case("polygon_results_null", "body.json"),
            "PSPW": case("split_of_a_wrong_ratio_unnoticed", "bars.json"),
            # The reverse split 1:15 of the two rows is the one that took place; 4:1 of the two inverse ones.
            "PSPD": polygon_days("PSPD", {"2026-02-27": 10.0, "2026-03-02": 150.0, "2026-03-03": 151.0}),
            "PSPINV": polygon_days("PSPINV", {"2026-03-02": 400.0, "2026-03-03": 100.5, "2026-03-04": 101.0}),
        }
        Providers.reference |= {
            ("splits", "PSPD"): case("polygon_two_splits_on_one_date", "pspd.json"),
            ("splits", "PSPINV"): case("polygon_two_splits_on_one_date", "pspinv.json"),
            ("splits", "PSPW"): case("split_of_a_wrong_ratio_unnoticed", "body.json"),
            ("splits", "XP4"): case(odd, "split_date.json"),
            ("splits", "LOOP"): case("polygon_reference_next_url_loops", "body.json"),
        }
        run(JUNE_10, "backfill", "--start", "2023-01-03", "--end", "2023-01-06", "--symbols", "YHOLE")
        run(JUNE_9, "extract", "--symbols", "PTHIN")
        # A bar of the next day: coarser bars are made once one shows that they are over.
        thin = json.loads(Providers.ranges["PTHIN"])
        thin["results"].append({**thin["results"][0], "t": thin["results"][0]["t"] + 86_400_000})
        counts = dict.fromkeys(("queryCount", "resultsCount", "count"), len(thin["results"]))
        Providers.ranges["PTHIN"] = json.dumps({**thin, **counts})
        run(JUNE_10, "extract", "--symbols", "YSPE XY2 XZ2 YOK PTHIN PNULL XP4 PSPD PSPINV PSPW LOOP")
        charts["YSPE"] = case("yahoo_split_adjusted_evening_before", "day2.json")
        run(JUNE_11, "extract", "--symbols", "YSPE")
        charts["YLATE2"] = case("yahoo_split_late_amended_bar", "day1.json")
        run(JUNE_12, "extract", "--symbols", "YLATE2")
        charts |= {
            "YLATE2": case("yahoo_split_late_amended_bar", "day2.json"),
            "YLATE0": case("yahoo_split_late_first_load", "body.json"),
            "YINT": case("yahoo_intraday_never_adjusted", "body.json"),
        }
        run(JUNE_15, "extract", "--symbols", "YLATE2 YLATE0 YINT")
        warehouse.build(tests=True, unit_tests=False)
        Providers.klines |= {
            "VOLDUSDT": json.loads(case("volume_above_1e15", "row.json")),
            "TINYUSDT": json.loads(case("price_below_1e-9", "row.json")),
        }
        run(NOVEMBER, "extract", "--symbols", "VOLD TINY")
        warehouse.build(tests=True, unit_tests=False)
        yield warehouse
        forget()
    server.shutdown()


def commands(warehouse: Warehouse, patch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`market` at a clock. One answer's trouble is on record (exit 3), and never ends a run."""

    def run(clock: str, *arguments: str) -> None:
        patch.setenv("WAREHOUSE_NOW", clock)
        warehouse.now = datetime.fromisoformat(clock)
        forget()
        result = CliRunner().invoke(app, list(arguments))
        assert result.exit_code in (0, 3), result.output

    return run


def bars(warehouse: Warehouse, symbol: str, timeframe: str = "1d") -> list[dict[str, Any]]:
    return warehouse.query(
        "select session_date, timestamp, open, close, volume, split_factor, is_validated, revision, log_return,"
        " validation_notes from marts.market_data_v2 where symbol = %s and timeframe = %s order by timestamp",
        symbol,
        timeframe,
    )


def on(found: list[dict[str, Any]], day: str) -> dict[str, Any]:
    return next(row for row in found if row["session_date"].isoformat() == day)


def suspicions(warehouse: Warehouse, symbol: str) -> list[dict[str, Any]]:
    return warehouse.query("select * from marts.split_suspicions where symbol = %s", symbol)


def test_a_split_that_yahoo_tells_before_it_adjusts(replayed: Warehouse) -> None:
    found = bars(replayed, "YLATE0")
    assert float(on(found, "2026-06-12")["close"]) == pytest.approx(398.76, rel=1e-6)
    assert float(on(found, "2026-06-15")["close"]) == pytest.approx(99.13, rel=1e-6)


def test_a_history_that_yahoo_adjusted_the_evening_before(replayed: Warehouse) -> None:
    assert float(on(bars(replayed, "YSPE"), "2026-06-10")["close"]) == pytest.approx(405.48, rel=1e-6)


def test_a_bar_that_was_amended_before_yahoo_adjusted_it(replayed: Warehouse) -> None:
    bar = on(bars(replayed, "YLATE2"), "2026-06-12")
    assert float(bar["close"]) == pytest.approx(399.0, rel=1e-6)
    fields = replayed.query(
        "select field_corrected from marts.data_corrections as corrections"
        " inner join marts.market_data_v2 as bars on bars.id = corrections.original_record_id"
        " where bars.symbol = 'YLATE2' and field_corrected in ('open', 'high', 'low', 'close')"
    )
    assert fields == []


def test_intraday_bars_that_yahoo_never_adjusts(replayed: Warehouse) -> None:
    for timeframe in ("5m", "1h", "1d"):
        found = [row for row in bars(replayed, "YINT", timeframe) if row["session_date"].isoformat() == "2026-06-12"]
        assert found and all(380 < row["close"] < 420 for row in found), timeframe


def test_an_old_window_before_a_split_that_nobody_has_told(replayed: Warehouse) -> None:
    """The splits since are not to be had here (every answer is the window's), so the basis is said to be unknown."""
    found = bars(replayed, "YHOLE")
    assert found
    for row in found:
        known = float(row["close"]) == pytest.approx(403.36, rel=1e-3)
        assert known or (not row["is_validated"] and "basis" in row["validation_notes"])


def test_one_bad_field_costs_its_row_or_its_answer_only(replayed: Warehouse) -> None:
    assert len(bars(replayed, "YOK")) == 3 and all(row["is_validated"] for row in bars(replayed, "YOK"))
    assert {row["session_date"].isoformat() for row in bars(replayed, "XY2")} >= {"2026-06-08", "2026-06-10"}
    assert bars(replayed, "XZ2") == []
    refused = replayed.query("select reason from marts.rejected_bars where symbol = 'XZ2'")
    quarantined = replayed.query("select 1 from raw_yahoo.responses where symbol = 'XZ2' and status = 'quarantined'")
    assert refused or quarantined
    assert replayed.query("select kind from marts.rejected_rows where symbol = 'XP4'") == [{"kind": "split"}]


def test_two_rows_of_one_split_are_never_mixed(replayed: Warehouse) -> None:
    for symbol, right in (("PSPD", Decimal(1) / 15), ("PSPINV", Decimal(4))):
        ratio = bars(replayed, symbol)[-1]["split_factor"]
        assert abs(ratio - right) < Decimal("1e-12") or (ratio == 1 and suspicions(replayed, symbol)), symbol


def test_a_split_whose_ratio_the_prices_contradict_is_a_suspicion(replayed: Warehouse) -> None:
    assert suspicions(replayed, "PSPW")


def test_a_loop_of_pages_ends_and_is_on_record(replayed: Warehouse) -> None:
    asked = [path for path in Providers.asked if "cursor=LOOP" in path]
    assert 1 <= len(asked) <= 20
    failed = replayed.query(
        "select error from raw_polygon.responses where symbol = 'LOOP' and endpoint = 'splits'"
        " and status in ('failed', 'quarantined')"
    )
    assert failed


def test_null_results_are_no_bars_and_no_drift(replayed: Warehouse) -> None:
    statuses = replayed.query("select distinct status from raw_polygon.responses where symbol = 'PNULL'")
    assert {"status": "quarantined"} not in statuses


def test_bars_of_a_thin_etf_are_valid(replayed: Warehouse) -> None:
    for timeframe in ("5m", "1h", "1d"):
        found = [row for row in bars(replayed, "PTHIN", timeframe) if row["session_date"].isoformat() == "2026-06-09"]
        assert found and all(row["is_validated"] for row in found), timeframe


def test_a_volume_of_a_meme_coin_and_a_price_that_the_column_cannot_hold(replayed: Warehouse) -> None:
    (week,) = bars(replayed, "VOLD", "1w")
    assert week["volume"] == Decimal("2345678901234567")
    assert bars(replayed, "TINY", "1h") == []
    assert replayed.query("select 1 as n from marts.rejected_bars where symbol = 'TINY'") == [{"n": 1}]
