"""Binance's futures websocket with the forceOrder streams, as docs/reference/providers.md records it.

Events are sent as the clock passes them: by itself when it follows the real time, by `/_simulator/clock` when it
stands still, and whenever `/_simulator/liquidations` is given some.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Iterable
from typing import Any

import orjson
from aiohttp import WSMsgType, web

from scripts.simulator.world import World

PATHS = ("/ws", "/stream", "/market/ws", "/market/stream")
ALL = "!forceOrder@arr"
POLL_SECONDS = 0.2


@dataclasses.dataclass(eq=False)
class Subscriber:
    """One connection: its streams, and whether events come wrapped as {"stream","data"}."""

    socket: web.WebSocketResponse
    streams: set[str]
    wrapped: bool


class Streams:
    """All websocket connections of one simulator."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.subscribers: set[Subscriber] = set()
        self._sent_until = world.clock()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Follow the clock while it runs."""
        self._task = asyncio.create_task(self._follow())

    async def stop(self) -> None:
        if self._task:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self.drop()

    async def connect(self, request: web.Request, path: str) -> web.StreamResponse:
        """Serve one connection until the client leaves."""
        wrapped = path.endswith("stream")
        named = request.query.get("streams", "") if wrapped else path.partition("/ws")[2].strip("/")
        faults = self.world.faults.take("binance-stream", "liquidations", None, None)
        refusal = next((fault for fault in faults if fault.kind == "status"), None)
        if refusal and refusal.status:
            return web.Response(status=refusal.status)
        socket = web.WebSocketResponse(heartbeat=180)
        await socket.prepare(request)
        if any(fault.kind == "disconnect" for fault in faults):
            await socket.close(code=1011)
            return socket
        subscriber = Subscriber(socket, {name for name in named.split("/") if name}, wrapped)
        self.subscribers.add(subscriber)
        try:
            async for message in socket:
                if message.type == WSMsgType.TEXT:
                    await self._command(subscriber, message.data)
        finally:
            self.subscribers.discard(subscriber)
        return socket

    async def _command(self, subscriber: Subscriber, text: str) -> None:
        try:
            asked = orjson.loads(text)
            method, names = asked["method"], set(asked.get("params", []))
        except (orjson.JSONDecodeError, KeyError, TypeError):
            error = {"error": {"code": 3, "msg": "Invalid JSON: expected value at line 1 column 1"}}
            await subscriber.socket.send_bytes(orjson.dumps(error))
            return
        result: list[str] | None = None
        if method == "SUBSCRIBE":
            subscriber.streams |= names
        elif method == "UNSUBSCRIBE":
            subscriber.streams -= names
        elif method == "LIST_SUBSCRIPTIONS":
            result = sorted(subscriber.streams)
        await subscriber.socket.send_str(orjson.dumps({"result": result, "id": asked.get("id")}).decode())

    async def clock_moved(self) -> None:
        """Send what was liquidated between the last time sent and the clock."""
        now = self.world.clock()
        start, self._sent_until = self._sent_until, now
        if self.subscribers and start < now:
            events = [
                event
                for instrument in self.world.dataset.futures.values()
                if instrument.derivatives
                for event in instrument.derivatives.liquidations(start + 1, now + 1)
            ]
            await self.send(sorted(events, key=lambda event: int(event["o"]["T"])))

    async def send(self, events: Iterable[dict[str, Any]]) -> int:
        """Send events to whom they concern: at most the newest per symbol and second. Returns how many were left."""
        newest = {(event["o"]["s"], event["o"]["T"] // 1000): event for event in events}
        faults = self.world.faults.take("binance-stream", "liquidations", None, None) if newest else []
        kinds = {fault.kind for fault in faults}
        bodies = [fault.body for fault in faults if fault.kind == "body" and fault.body is not None]
        for event in newest.values():
            name = f"{event['o']['s'].lower()}@forceOrder"
            for subscriber in list(self.subscribers):
                for stream in subscriber.streams & {name, ALL}:
                    if "missing" in kinds:
                        continue
                    body = event if not subscriber.wrapped else {"stream": stream, "data": event}
                    text = bodies[0] if bodies else orjson.dumps(body).decode()
                    for _ in range(2 if "duplicated" in kinds else 1):
                        with contextlib.suppress(ConnectionError):
                            await subscriber.socket.send_str(text[: len(text) // 2] if "truncated" in kinds else text)
        return len(newest)

    async def drop(self) -> int:
        """Cut every connection, as Binance does at least every 24 hours."""
        dropped = list(self.subscribers)
        for subscriber in dropped:
            await subscriber.socket.close(code=1001)
        return len(dropped)

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(POLL_SECONDS)
            await self.clock_moved()
