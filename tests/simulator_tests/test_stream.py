"""The forceOrder stream."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from scripts.simulator.derivatives import force_order
from tests.simulator_tests.conftest import Web

LATER = "2013-03-02T06:00:00Z"
PUSHED = force_order("BTCUSDT", "SELL", "1.500", "30000.10", 1_362_204_000_123)


@contextmanager
def listening(web: Web, path: str) -> Iterator[ClientConnection]:
    """A connection that the simulator knows of."""
    with connect(web.simulator.environment()["BINANCE_STREAM_URL"] + path, proxy=None) as socket:
        socket.send(json.dumps({"method": "LIST_SUBSCRIPTIONS", "id": 7}))
        assert json.loads(socket.recv(timeout=5))["id"] == 7
        yield socket


def drain(web: Web, socket: ClientConnection) -> list[dict[str, Any]]:
    """All that was sent before a marker of ours."""
    web.simulator.liquidate({**PUSHED, "E": -1})
    events: list[dict[str, Any]] = []
    while True:
        event = json.loads(socket.recv(timeout=5))
        if event.get("data", event)["E"] == -1:
            return events
        events.append(event)


def test_events_come_as_the_clock_passes_them(own: Web) -> None:
    with listening(own, "/ws/btcusdt@forceOrder") as socket:
        own.simulator.set_clock(LATER)
        events = drain(own, socket)
    orders = [event["o"] for event in events]
    assert len(orders) > 5 and {order["s"] for order in orders} == {"BTCUSDT"}
    assert set(events[0]) == {"e", "E", "o"} and events[0]["e"] == "forceOrder"
    assert set(orders[0]) == {"s", "S", "o", "f", "q", "p", "ap", "X", "l", "z", "T"}
    times = [order["T"] for order in orders]
    assert times == sorted(times) and len({at // 1000 for at in times}) == len(times)
    assert times[0] > 1_362_189_600_000 and times[-1] <= 1_362_204_000_000


def test_combined_and_all_market_streams(own: Web) -> None:
    with (
        listening(own, "/stream?streams=btcusdt@forceOrder/ethusdt@forceOrder") as combined,
        listening(own, "/market/ws/!forceOrder@arr") as everything,
    ):
        own.simulator.set_clock(LATER)
        some, most = drain(own, combined), []
        while (event := json.loads(everything.recv(timeout=5)))["E"] != -1:
            most.append(event)
    assert {event["stream"] for event in some} == {"btcusdt@forceOrder", "ethusdt@forceOrder"}
    assert {event["o"]["s"] for event in most} == {"BTCUSDT", "ETHUSDT", "SOLUSDT"}
    assert [e["data"] for e in some] == [e for e in most if e["o"]["s"] != "SOLUSDT"]


def test_subscribing_later(own: Web) -> None:
    with listening(own, "/ws") as socket:
        own.simulator.liquidate(PUSHED)
        socket.send(json.dumps({"method": "SUBSCRIBE", "params": ["btcusdt@forceOrder"], "id": 1}))
        assert json.loads(socket.recv(timeout=5)) == {"result": None, "id": 1}
        own.simulator.liquidate(PUSHED)
        assert json.loads(socket.recv(timeout=5)) == PUSHED
        socket.send("nonsense")
        assert json.loads(socket.recv(timeout=5))["error"]["code"] == 3


def test_only_the_newest_of_a_second_is_sent(own: Web) -> None:
    with listening(own, "/ws/btcusdt@forceOrder") as socket:
        twin = force_order("BTCUSDT", "BUY", "2.000", "30001.00", PUSHED["o"]["T"] + 500)
        own.simulator.liquidate(PUSHED, twin)
        assert drain(own, socket) == [twin]


def test_faults_of_the_stream(own: Web) -> None:
    with listening(own, "/ws/btcusdt@forceOrder") as socket:
        own.simulator.add_fault(kind="duplicated", provider="binance-stream", count=1)
        own.simulator.liquidate(PUSHED)
        assert drain(own, socket) == [PUSHED, PUSHED]
        own.simulator.drop_streams()
        with pytest.raises(ConnectionClosed):
            socket.recv(timeout=5)
    own.simulator.add_fault(kind="status", status=503, provider="binance-stream", count=1)
    with pytest.raises(InvalidStatus), listening(own, "/ws/btcusdt@forceOrder"):
        pass
    with listening(own, "/ws/btcusdt@forceOrder"):
        assert own.simulator.streams == [["btcusdt@forceOrder"]]
