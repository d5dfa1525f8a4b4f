"""Bars of an old window are divided by splits that their answer does not tell: Yahoo is asked for those, too."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from tests import payloads
from tests.dbt.test_yahoo_basis import adjusted, traded
from tests.extract.conftest import Market
from tests.oracle.bars import Bar
from tests.warehouse import MakeProject, Warehouse, stock

SPLIT = {date(2023, 9, 1): (4, 1)}
HOLE = {
    "symbol": "YHOLE", "asset_class": "stock", "timeframes": "1d", "yahoo": "YHOLE", "source_priority": "yahoo",
    "calendar": "XNYS",
}  # fmt: skip


@dataclass
class Yahoo:
    """Charts of days with one split, and the windows that were asked for. `is_down` after so many charts."""

    bars: list[Bar]
    asked: list[tuple[date, date]] = field(default_factory=list)
    fails_from: int = 1000

    def chart(self, start: datetime, end: datetime) -> tuple[int, str]:
        self.asked.append((start.date(), end.date()))
        if len(self.asked) > self.fails_from:
            return 500, "{}"
        told = {day: ratio for day, ratio in SPLIT.items() if start.date() <= day <= end.date()}
        bars = [bar for bar in self.bars if start <= bar.timestamp <= end]
        document = json.loads(payloads.to_json(payloads.yahoo_chart(bars, "1d", splits=told)))
        document["chart"]["result"][0]["meta"] |= {"symbol": "YHOLE"}
        return 200, json.dumps(document)


@contextmanager
def serving(yahoo: Yahoo) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(url.query).items()}
            status, body = 200, "s1mUlat0r.x"
            if "/chart/" in url.path and "period1" in query:
                start, end = (datetime.fromtimestamp(int(query[name]), UTC) for name in ("period1", "period2"))
                status, body = yahoo.chart(start, end)
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def test_a_backfill_asks_for_the_splits_after_its_window(market: Market, projects: MakeProject) -> None:
    """Refused at first: the bars are held back. The next run asks again, for the events only, and they are right."""
    days = traded(date(2021, 12, 1), date(2024, 1, 3), SPLIT)
    asked = [bar for bar in days if datetime(2023, 1, 3, tzinfo=UTC) < bar.timestamp < datetime(2023, 3, 1, tzinfo=UTC)]
    yahoo = Yahoo(adjusted(days, SPLIT), fails_from=1)
    market.assets(HOLE)
    market.set(WAREHOUSE_NOW="2024-01-03T21:30:00Z")
    with serving(yahoo) as url:
        market.set(YAHOO_BASE_URL=url)
        market.run(
            "backfill", "--start", "2023-01-03", "--end", "2023-03-01", "--symbols", "YHOLE", "--source", "yahoo"
        )
        # From the New York day that holds 00:00 UTC on.
        assert yahoo.asked[0] == (date(2023, 1, 2), date(2023, 3, 1))
        assert set(yahoo.asked[1:]) == {(date(2023, 3, 2), date(2024, 1, 3))}
        warehouse = Warehouse(market.database, projects("collector"))
        warehouse.now = datetime(2024, 1, 3, 21, 30, tzinfo=UTC)
        warehouse.assets(
            [stock("YHOLE", "1d", **{name: HOLE[name] for name in ("yahoo", "source_priority")}, polygon="")]
        )
        warehouse.build("+market_data_v2 +split_suspicions")
        held = "select close, is_validated, validation_notes from marts.market_data_v2 where timeframe = '1d' order by timestamp"
        assert {(row["is_validated"], row["validation_notes"]) for row in market.query(held)} == {
            (False, "basis unknown")
        }
        assert len(market.query("select from marts.split_suspicions where suspicion like '%unknown'")) == 1

        yahoo.fails_from = 1000
        yahoo.asked.clear()
        market.execute("update ops.circuit_breaker set state = 'closed'")
        market.set(WAREHOUSE_NOW="2024-01-03T21:40:00Z")
        market.run("extract", "--symbols", "YHOLE", "--timeframes", "1d", "--source", "yahoo")
        assert (date(2023, 3, 2), date(2024, 1, 3)) in yahoo.asked
        warehouse.now += timedelta(minutes=10)
        warehouse.build("+market_data_v2 +split_suspicions")
    found = {row["timestamp"]: row for row in market.query("select * from marts.market_data_v2 where timeframe = '1d'")}
    assert [found[bar.timestamp]["close"] for bar in asked] == [bar.close for bar in asked]
    assert all(found[bar.timestamp]["is_validated"] for bar in asked)
    events = market.rows("yahoo", "endpoint = 'events' and status = 'ok'")[-1]
    assert (events["symbol"], events["timeframe"], events["row_count"]) == ("YHOLE", None, 1)
