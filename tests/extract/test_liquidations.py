"""The collector of liquidations, against the simulator's stream and a real Postgres."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from websockets.datastructures import Headers
from websockets.exceptions import InvalidStatus
from websockets.http11 import Response

from extract.calendar.windows import merged
from extract.commands import liquidations
from extract.commands.extraction import extra_tasks, extract_plan, load_series
from extract.commands.liquidations import Collector
from extract.commands.running import Run, open_providers
from extract.core import database
from extract.core.locks import Lock
from extract.core.settings import ConfigurationError
from extract.load import pipeline
from extract.providers.binance import forced_orders
from extract.symbols import registry
from extract.transport.retry_policy import RETRY_POLICY
from scripts.simulator.derivatives import force_order
from tests.extract.conftest import BTC, Market, environment
from tests.oracle.bars import Bar
from tests.warehouse import MakeProject, Warehouse, crypto

COIN = {**BTC, "binance_futures": "BTCUSDT"}
ETH = {**COIN, "symbol": "ETH", "binance": "ETHUSDT", "binance_futures": "ETHUSDT"}
START = "2013-03-02T02:00:00Z"


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def order(text: str, side: str = "SELL", quantity: str = "1.500", symbol: str = "BTCUSDT") -> dict[str, Any]:
    return force_order(symbol, side, quantity, "30000.10", int(at(text).timestamp() * 1000))


def wait_until(holds: Callable[[], Any]) -> Any:
    """The first true answer; a test that never gets one fails."""
    deadline = time.monotonic() + 60
    while not (answer := holds()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
    return answer


@pytest.fixture
def stream(market: Market) -> Market:
    """Two coins, a silent stream, one connection, and no ping in between, so that a test says what time is proven."""
    market.assets(COIN, ETH)
    market.patch.setattr(liquidations, "STAGGER_SECONDS", (0.0,))
    market.patch.setattr(liquidations, "PING_SECONDS", 600.0)
    return market


@contextmanager
def collecting(market: Market) -> Iterator[Collector]:
    """A collector in a thread; at the end it is stopped and has saved."""
    collector = Collector()
    loops: list[asyncio.AbstractEventLoop] = []
    results: list[bool] = []

    async def run() -> None:
        loops.append(asyncio.get_running_loop())
        results.append(await collector.run())

    thread = threading.Thread(target=lambda: asyncio.run(run()), name="collector")
    thread.start()
    try:
        wait_until(lambda: len(collector._watches) == 1 and market.simulator.streams)
        yield collector
    finally:
        wait_until(lambda: loops)
        loops[0].call_soon_threadsafe(collector.stop)
        thread.join(60)
    assert results == [True]


def prove(collector: Collector) -> None:
    """What the collector does by itself every few seconds."""
    (watch,) = collector._watches
    asyncio.run_coroutine_threadsafe(watch.prove(), watch._socket.loop).result(30)


def received(collector: Collector, count: int) -> None:
    wait_until(lambda: len(collector._seen) == count)


def saved(market: Market, where: str = "true") -> list[dict[str, Any]]:
    return market.rows("binance", f"endpoint = 'liquidations' and {where}")


def rows_saved(market: Market, count: int) -> None:
    wait_until(lambda: len(saved(market, "symbol = 'ETH'")) == count)


def spans(rows: list[dict[str, Any]], symbol: str) -> list[tuple[datetime, datetime]]:
    return merged([(row["window_start"], row["window_end"]) for row in rows if row["symbol"] == symbol])


def test_events_and_the_time_watched_are_saved(stream: Market) -> None:
    event = order("2013-03-02T02:03:00")
    with collecting(stream) as collector:
        assert sorted(stream.simulator.streams[0]) == ["btcusdt@forceOrder", "ethusdt@forceOrder"]
        stream.simulator.liquidate(event)
        stream.simulator.liquidate(event)
        stream.simulator.liquidate(order("2013-03-02T02:04:00", side="BUY"))
        received(collector, 2)
        stream.set(WAREHOUSE_NOW="2013-03-02T02:10:00Z")
    coin, other = sorted(saved(stream), key=lambda row: row["symbol"])
    assert coin["payload"] == {"events": [event, order("2013-03-02T02:04:00", side="BUY")]}, "a repeated one once"
    assert (coin["status"], coin["origin"], coin["row_count"], coin["error"]) == ("ok", "stream", 2, None)
    assert (coin["asset_class"], coin["provider_symbol"]) == ("crypto", "BTCUSDT")
    assert coin["fetched_at"] == coin["requested_at"] == at("2013-03-02T02:10:00")
    assert (other["symbol"], other["payload"], other["row_count"]) == ("ETH", {"events": []}, 0)
    for row in (coin, other):
        assert (row["window_start"], row["window_end"]) == (at("2013-03-02T02:00:00"), at("2013-03-02T02:10:00"))


def test_windows_follow_each_other_and_a_disconnect_leaves_a_hole(stream: Market) -> None:
    stream.set(BATCH_SIZE_MARKET_DATA="1")
    with collecting(stream) as collector:
        for minute in (1, 2):
            stream.set(WAREHOUSE_NOW=f"2013-03-02T02:0{minute}:00Z", BATCH_SIZE_MARKET_DATA="1")
            stream.simulator.liquidate(order(f"2013-03-02T02:0{minute}:00"))
            rows_saved(stream, minute)
        watch = next(iter(collector._watches))
        stream.set(WAREHOUSE_NOW="2013-03-02T02:05:00Z")
        stream.simulator.drop_streams()
        wait_until(lambda: watch not in collector._watches and len(collector._watches) == 1)
        stream.set(WAREHOUSE_NOW="2013-03-02T02:09:00Z")
    rows = saved(stream)
    for symbol in ("BTC", "ETH"):
        assert spans(rows, symbol) == [
            (at("2013-03-02T02:00:00"), at("2013-03-02T02:02:00")),
            (at("2013-03-02T02:05:00"), at("2013-03-02T02:09:00")),
        ]
    assert sum(row["row_count"] for row in rows) == 2


def test_what_the_second_connection_repeats_is_saved_once(stream: Market) -> None:
    stream.patch.setattr(liquidations, "STAGGER_SECONDS", (0.0, 0.0))
    collector = Collector()

    async def run() -> None:
        running = asyncio.create_task(collector.run())
        await asyncio.to_thread(wait_until, lambda: len(collector._watches) == 2)
        stream.simulator.liquidate(order("2013-03-02T02:00:00"))
        await asyncio.to_thread(received, collector, 1)
        stream.set(WAREHOUSE_NOW="2013-03-02T02:01:00Z")
        collector.stop()
        assert await running

    asyncio.run(run())
    rows = saved(stream)
    assert {row["symbol"]: row["row_count"] for row in rows} == {"BTC": 1, "ETH": 0} and len(rows) == 2


def test_one_connection_watches_while_the_other_is_cut(stream: Market) -> None:
    stream.patch.setattr(liquidations, "STAGGER_SECONDS", (0.0, 0.0))
    collector = Collector()

    async def run() -> None:
        running = asyncio.create_task(collector.run())
        await asyncio.to_thread(wait_until, lambda: len(collector._watches) == 2)
        cut, _ = collector._watches
        stream.set(WAREHOUSE_NOW="2013-03-02T02:05:00Z")
        await cut._socket.close()
        await asyncio.to_thread(wait_until, lambda: cut not in collector._watches and len(collector._watches) == 2)
        stream.set(WAREHOUSE_NOW="2013-03-02T02:09:00Z")
        collector.stop()
        assert await running

    asyncio.run(run())
    assert spans(saved(stream), "BTC") == [(at("2013-03-02T02:00:00"), at("2013-03-02T02:09:00"))]


def test_a_message_that_is_not_documented_is_kept_and_its_time_not_claimed(stream: Market) -> None:
    with collecting(stream) as collector:
        watch = next(iter(collector._watches))
        stream.set(WAREHOUSE_NOW="2013-03-02T02:01:00Z")
        stream.simulator.add_fault(kind="truncated", provider="binance-stream", count=1)
        stream.simulator.liquidate(order("2013-03-02T02:00:30"))
        wait_until(lambda: watch not in collector._watches and len(collector._watches) == 1)
        stream.set(WAREHOUSE_NOW="2013-03-02T02:02:00Z")
    (bad,) = saved(stream, "status <> 'ok'")
    assert bad["status"] == "quarantined" and bad["bad_payload"].startswith('{"stream"') and bad["symbol"] is None
    assert spans(saved(stream, "status = 'ok'"), "BTC") == [(at("2013-03-02T02:01:00"), at("2013-03-02T02:02:00"))]


def odd(**members: Any) -> str:
    """A message whose order has other members; text is put in as it is."""
    good = json.dumps({"stream": "btcusdt@forceOrder", "data": order("2013-03-02T02:00:30")})
    for name, value in members.items():
        member = f'"{name}": {value}'.replace("\\", r"\\")
        good = re.sub(rf'"{name}": ("[^"]*"|[0-9]+)', member, good)
    return good


ODD_MESSAGES = [
    "", "null", "[]", '"text"', '{"result": null, "id": 1}', '{"data": []}', '{"data": {"e": "forceOrder", "o": null}}',
    '{"data": {"e": "forceOrder", "o": {"s": "BTCUSDT"}}}', '{"data": {"e": "serverShutdown", "E": 1}}',
    odd(T='"1362189630000"'), odd(T="1e300"), odd(s='["BTCUSDT"]'), odd(s="null"),
    # What is deeper than can be written again, and what jsonb cannot hold.
    odd(z="[" * 300 + "]" * 300), odd(z='"\\u0000"'), odd(z="1e-20000"), odd(z="9" * 20_000), odd(z='"\\ud800"'),
]  # fmt: skip


def test_no_message_ends_the_collector_or_keeps_others_from_being_saved(stream: Market) -> None:
    def is_replaced(watch: object) -> bool:
        return watch not in collector._watches and len(collector._watches) == 1

    stream.patch.setattr(liquidations, "BACKOFF", (0.0,))
    with collecting(stream) as collector:
        for message in ODD_MESSAGES:
            watch = next(iter(collector._watches))
            stream.simulator.add_fault(kind="body", body=message, provider="binance-stream", count=1)
            stream.simulator.liquidate(order("2013-03-02T02:00:30"))
            wait_until(partial(is_replaced, watch))
            wait_until(lambda: stream.simulator.streams)
        # Whatever the members are that nobody needs, or that dbt rejects alone.
        for n, members in enumerate([{"z": "null"}, {"S": '"HOLD"'}, {"ap": "{}"}, {"E": '"late"'}]):
            stream.simulator.add_fault(
                kind="body", body=odd(T=1362189631000 + n, **members), provider="binance-stream", count=1
            )
            stream.simulator.liquidate(order(f"2013-03-02T02:00:3{n}"))
            received(collector, n + 1)
    bad = saved(stream, "status <> 'ok'")
    assert len(bad) == len(ODD_MESSAGES) and {row["status"] for row in bad} == {"quarantined"}
    assert sum(row["row_count"] for row in saved(stream, "status = 'ok'")) == 4


@pytest.mark.parametrize(
    ("named", "seconds"),
    [
        ([], 0), (["30"], 30), (["10, 20"], 20), (["10", "20"], 20), (["\u00b2"], 0), (["soon"], 0), (["-5"], 0),
        (["99999999999999999999"], RETRY_POLICY.longest_block), (["1e9"], 0),
        (["Fri, 01 Jan 2100 00:00:00 GMT"], RETRY_POLICY.longest_block),
    ],
)  # fmt: skip
def test_a_refused_handshake_asks_for_no_longer_than_a_source_may(named: list[str], seconds: float) -> None:
    response = Response(503, "Service Unavailable", Headers([("Retry-After", text) for text in named]))
    assert forced_orders.asked_to_wait(InvalidStatus(response)) == seconds


def test_a_refused_handshake_is_tried_again(stream: Market) -> None:
    stream.simulator.add_fault(kind="status", status=503, provider="binance-stream", count=2)
    with collecting(stream) as collector:
        stream.simulator.liquidate(order("2013-03-02T02:00:00"))
        received(collector, 1)
    # The clock stands still: the event is saved, and no time is claimed for it.
    (row,) = saved(stream)
    assert row["row_count"] == 1 and row["window_start"] == row["window_end"] == at("2013-03-02T02:00:00")


def test_what_could_not_be_saved_is_saved_later(stream: Market) -> None:
    failures = [OSError("the warehouse is away")]
    load = pipeline.load

    def failing(*arguments: Any) -> None:
        if failures:
            raise failures.pop()
        load(*arguments)

    stream.patch.setattr(pipeline, "load", failing)
    stream.set(BATCH_SIZE_MARKET_DATA="1")
    with collecting(stream) as collector:
        stream.simulator.liquidate(order("2013-03-02T02:00:00"))
        wait_until(lambda: not failures)
        stream.simulator.liquidate(order("2013-03-02T02:00:30"))
        received(collector, 2)
        stream.set(WAREHOUSE_NOW="2013-03-02T02:01:00Z")
    assert [row["row_count"] for row in saved(stream, "symbol = 'BTC'")] == [2]


def test_it_runs_beside_an_extract_but_not_beside_another_collector(stream: Market) -> None:
    with collecting(stream), database.held(Lock.COLLECTOR, "collect-liquidations"):
        stream.run("extract", "--source", "binance")
        assert "another collector" in stream.run("collect-liquidations", expect=75)
        stream.set(WAREHOUSE_NOW="2013-03-02T02:10:00Z")
    assert len(saved(stream)) == 2 and stream.rows("binance", "endpoint = 'bars' and status = 'ok'")
    schemas = stream.query("select distinct schema_name from raw_binance._dlt_loads where status = 0")
    assert {"market_liquidations", "market_binance"} <= {row["schema_name"] for row in schemas}


def test_on_an_empty_database_it_makes_the_tables_unless_an_extract_is_at_it(stream: Market) -> None:
    stream.execute("drop schema raw_binance cascade")
    with database.run_lock("extract"):
        assert "another run holds the lock" in stream.run("collect-liquidations", expect=75)
    with collecting(stream):
        stream.set(WAREHOUSE_NOW="2013-03-02T02:01:00Z")
    assert len(saved(stream)) == 2
    (index,) = stream.query(
        "select count(*) as n from pg_indexes where indexname = 'responses_series' and schemaname = 'raw_binance'"
    )
    assert index["n"] == 1, "the index that an extract reads its state by"


def test_without_a_futures_symbol_there_is_nothing_to_watch(market: Market) -> None:
    with pytest.raises(ConfigurationError, match="binance_futures"):
        Collector()
    market.run("collect-liquidations", expect=78)


def test_bars_know_what_was_liquidated_where_the_stream_was_watched(stream: Market, projects: MakeProject) -> None:
    asset = {**crypto("BTC", "5m"), "source_priority": "binance"}
    stream.assets(asset)
    stream.set(WAREHOUSE_NOW="2013-03-02T02:02:00Z")
    with collecting(stream) as collector:
        stream.simulator.liquidate(order("2013-03-02T02:06:00", "SELL", "1.500"))
        stream.simulator.liquidate(order("2013-03-02T02:07:00", "SELL", "0.250"))
        stream.simulator.liquidate(order("2013-03-02T02:09:00", "BUY", "0.125"))
        received(collector, 3)
        watch = next(iter(collector._watches))
        stream.set(WAREHOUSE_NOW="2013-03-02T02:12:00Z")
        prove(collector)
        stream.set(WAREHOUSE_NOW="2013-03-02T02:17:00Z")
        stream.simulator.drop_streams()
        wait_until(lambda: watch not in collector._watches and len(collector._watches) == 1)
        stream.set(WAREHOUSE_NOW="2013-03-02T02:30:00Z")
    stream.set(COINMETRICS_ENABLED="true")
    with ExitStack() as stack:
        providers = open_providers(stack)
        run = Run({"coinmetrics": providers["coinmetrics"]})
        load_series(run, [], extract_plan(run, None), extra_tasks(run, registry.load(), [], None))

    warehouse = Warehouse(stream.database, projects("collector"), now=at("2013-03-02T02:30:00"))
    warehouse.assets([asset])
    price = Decimal(30000)
    bars = [
        Bar(
            at("2013-03-02T02:00:00") + n * timedelta(minutes=5),
            price,
            price + 1,
            price - 1,
            price,
            Decimal(5),
            Decimal(1),
        )
        for n in range(6)
    ]
    warehouse.load_bars("binance", "BTC", "5m", bars)
    warehouse.build("+market_data_v2")
    found = warehouse.query(
        "select timestamp, liquidations_long, liquidations_short, liquidation_intensity, exchange_inflow"
        " from marts.market_data_v2 where symbol = 'BTC' and timeframe = '5m' order by timestamp"
    )
    assert [(row["liquidations_long"], row["liquidations_short"]) for row in found] == [
        (None, None),  # the first two minutes were not watched
        (Decimal("1.75"), Decimal("0.125")),
        (None, None),  # the hole
        (None, None),
        (0, 0),
        (0, 0),
    ]
    assert [row["liquidation_intensity"] for row in found] == [None, Decimal("0.375"), None, None, 0, 0]
    (inflow,) = stream.query(
        "select payload -> 'data' -> -1 ->> 'FlowInExNtv' as native from raw_coinmetrics.responses"
    )
    assert {row["exchange_inflow"] for row in found} == {Decimal(inflow["native"])}


@pytest.fixture
def process(stream: Market) -> Iterator[subprocess.Popen[bytes]]:
    """The command in a process of its own, on the real clock, once it is connected."""
    stream.set(WAREHOUSE_NOW=None)
    started = subprocess.Popen([sys.executable, "-m", "scripts.cli", "collect-liquidations"], env=environment())
    try:
        wait_until(lambda: stream.simulator.streams)
        yield started
    finally:
        started.kill()
        started.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_ends(stream: Market, process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    stream.simulator.liquidate(order("2013-03-02T02:00:00"))
    process.send_signal(number)
    assert process.wait(60) == 0
    rows = saved(stream)
    assert {row["symbol"]: row["row_count"] for row in rows} == {"BTC": 1, "ETH": 0}
    assert all(row["window_start"] < row["window_end"] <= datetime.now(UTC) for row in rows)


def test_a_killed_collector_claims_nothing_and_the_next_one_starts(
    stream: Market, process: subprocess.Popen[bytes]
) -> None:
    stream.simulator.liquidate(order("2013-03-02T02:00:00"))
    process.kill()
    process.wait()
    assert spans(saved(stream), "ETH") == []
    wait_until(lambda: not stream.simulator.streams)
    stream.set(WAREHOUSE_NOW=START)
    with collecting(stream):
        stream.set(WAREHOUSE_NOW="2013-03-02T02:01:00Z")
    assert len(spans(saved(stream), "ETH")) == 1
