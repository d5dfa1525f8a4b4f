"""The HTTP server: finds the provider and endpoint of a request, applies faults, logs, and obeys `/_simulator`."""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import gzip
import re
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import orjson
from aiohttp import web

from scripts.simulator import (
    archive,
    binance,
    binance_errors,
    coinmetrics,
    polygon,
    polygon_errors,
    yahoo,
    yahoo_chart,
)
from scripts.simulator.faults import ANSWER_KINDS, BAR_KINDS, Fault, instant, looping, relabelled, shorten, spoil_rows
from scripts.simulator.stream import PATHS, Streams
from scripts.simulator.world import Call, Reply, World

Handler = Callable[[World, Call], Reply]
SECRETS = ("apiKey", "crumb", "signature")
HTML = b"<!doctype html><html><head><title>Error</title></head><body>Service temporarily unavailable</body></html>"


@dataclasses.dataclass(frozen=True)
class Provider:
    """A provider's path prefix, its routes, how its errors look and what it checks before answering."""

    name: str
    routes: list[tuple[re.Pattern[str], str, Handler]]
    error: Callable[..., Reply]
    admit: Callable[[World, Call], Reply | None] | None = None


def _routes(rows: Sequence[tuple[str, str, Handler]]) -> list[tuple[re.Pattern[str], str, Handler]]:
    return [(re.compile(pattern), endpoint, handler) for pattern, endpoint, handler in rows]


# In this order a path without a prefix finds its provider.
PROVIDERS = {
    provider.name: provider
    for provider in (
        Provider("polygon", _routes(polygon.ROUTES), polygon_errors.error, polygon_errors.admit),
        Provider("binance-spot", _routes(binance.SPOT_ROUTES), binance_errors.error),
        Provider("binance-data-api", _routes(binance.SPOT_ROUTES), binance_errors.error),
        Provider("binance-futures", _routes(binance.FUTURES_ROUTES), binance_errors.error),
        Provider("binance-archive", _routes(archive.ROUTES), archive.error),
        Provider("coinmetrics", _routes(coinmetrics.ROUTES), coinmetrics.error),
        Provider("yahoo", _routes(yahoo.ROUTES), yahoo_chart.error),
    )
}
TIMEFRAMES = {"minute": "m", "hour": "h", "day": "d", "week": "w", "month": "M"}


class Server:
    """Serves one World until stopped."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.log: collections.deque[dict[str, Any]] = collections.deque(maxlen=100_000)
        self.streams = Streams(world)
        self._runner: web.AppRunner | None = None

    async def start(self, port: int) -> int:
        """Listen on the loopback interface; returns the port (0 asks for a free one)."""
        app = web.Application(client_max_size=2**24)
        app.router.add_route("*", "/{path:.*}", self.handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", port)
        await site.start()
        self.streams.start()
        return int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        await self.streams.stop()
        if self._runner:
            await self._runner.cleanup()
        # A request that hangs in a time-out fault outlives the clean-up.
        hanging = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in hanging:
            task.cancel()
        await asyncio.gather(*hanging, return_exceptions=True)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        path = request.path
        if path.startswith("/_simulator"):
            return await self._control(request)
        socket_path = path.removeprefix("/binance-stream")
        if any(socket_path == start or socket_path.startswith(f"{start}/") for start in PATHS):
            self._note(request, "binance-stream", None, 101, None)
            return await self.streams.connect(request, socket_path)
        first, _, rest = path[1:].partition("/")
        prefix = f"/{first}" if first in PROVIDERS else ""
        # The official Polygon client puts the path of next_url, prefix included, behind a base that has the prefix too.
        inner = f"/{rest.removeprefix(first + '/')}" if prefix else path
        # Without a prefix "/" is Yahoo's cookie page, not the archive's listing.
        bare = [PROVIDERS["yahoo"]] if path == "/" and "prefix" not in request.query else list(PROVIDERS.values())
        for provider in [PROVIDERS[first]] if prefix else bare:
            for pattern, endpoint, handler in provider.routes:
                if match := pattern.fullmatch(inner):
                    call = _call(request, provider.name, endpoint, inner, prefix, match.groupdict())
                    return await self._answer(request, provider, call, handler)
        name = first if prefix else None
        self._note(request, name, None, 404, None)
        reply = PROVIDERS[name].error(404) if name else Reply.json(404, {"error": f"no provider answers {path}"})
        return _response(reply)

    async def _answer(
        self, request: web.Request, provider: Provider, call: Call, handler: Handler
    ) -> web.StreamResponse:
        faults = call.faults = self.world.faults.take(call.provider, call.endpoint, call.symbol, call.timeframe)
        reply: Reply | None = None
        for fault in faults:
            if fault.kind in ("timeout", "disconnect"):
                self._note(request, call.provider, call, 0, None)
                if fault.kind == "timeout":
                    await asyncio.sleep(fault.seconds if fault.seconds is not None else 3600)
                if request.transport:
                    request.transport.abort()
                return web.Response(status=503)
            if fault.kind == "status":
                assert fault.status is not None
                reply = provider.error(fault.status, fault.message)
                if fault.retry_after is not None:
                    reply.headers["Retry-After"] = str(fault.retry_after)
            elif fault.kind == "html":
                reply = Reply(fault.status or 200, HTML, {}, "text/html")
            elif fault.kind == "body":
                reply = Reply(fault.status or 200, (fault.body or "").encode())
            elif fault.kind == "large":
                reply = _large(fault)
        if reply is None and provider.admit:
            reply = provider.admit(self.world, call)
        if reply is None:
            try:
                recording = self.world.recording
                reply = recording.answer(call, self.world.clock(), provider.error) if recording else None
                if reply is None:
                    reply = handler(self.world, call)
            except ValueError as problem:  # a parameter that is not the number or date it should be
                reply = provider.error(400, str(problem))
            for fault in faults:
                if fault.kind == "schema":
                    reply.body = orjson.dumps(spoil_rows(orjson.loads(reply.body), fault))
                elif fault.kind == "label" and reply.status == 200:
                    reply.body = orjson.dumps(relabelled(orjson.loads(reply.body), fault.seconds or 0))
                elif fault.kind == "truncated":
                    reply.body = reply.body[: len(reply.body) // 2]
                elif fault.kind == "edit":
                    reply.body = re.sub(fault.find or "", fault.body or "", reply.body.decode()).encode()
                elif fault.kind == "loop":
                    reply.body = orjson.dumps(
                        looping(orjson.loads(reply.body), f"{call.base}{call.path}?{request.query_string}")
                    )
                elif fault.kind == "short":
                    reply.body = orjson.dumps(shorten(orjson.loads(reply.body), fault))
        for fault in faults:
            if fault.kind == "headers":
                reply.headers |= fault.headers
        reply.headers["X-Simulator"] = "synthetic" if self._synthetic(call) else "recorded"
        compress = (
            call.provider == "polygon"
            and not self.world.dataset.unlimited
            and "gzip" in request.headers.get("Accept-Encoding", "")
            and len(reply.body) > 1400
            and "Content-Encoding" not in reply.headers
        )
        if compress:
            reply.body = gzip.compress(reply.body, 1)
            reply.headers |= {"Content-Encoding": "gzip", "Vary": "Accept-Encoding"}
        self._note(request, call.provider, call, reply.status, reply)
        for fault in faults:
            if fault.kind == "drip":
                return await _drip(request, reply, fault.seconds or 0.05)
        return _response(reply)

    def _synthetic(self, call: Call) -> bool:
        if call.provider == "coinmetrics":
            return True
        known = self.world.dataset.instruments(call.provider)
        asked = [known[call.symbol]] if call.symbol in known else list(known.values())
        return any(instrument.synthetic for instrument in asked)

    def _note(
        self, request: web.Request, provider: str | None, call: Call | None, status: int, reply: Reply | None
    ) -> None:
        secret = (
            request.headers.get("Authorization") or request.headers.get("X-MBX-APIKEY") or request.query.get("apiKey")
        )
        self.log.append(
            {
                "method": request.method,
                "path": request.path,
                "query": {k: "***" if k in SECRETS else v for k, v in request.query.items()},
                "provider": provider,
                "endpoint": call.endpoint if call else None,
                "symbol": call.symbol if call else None,
                "timeframe": call.timeframe if call else None,
                "status": status,
                "bytes": len(reply.body) if reply else 0,
                "authenticated": bool(secret),
                "at": time.time(),
            }
        )

    async def _control(self, request: web.Request) -> web.Response:
        try:
            return await self._command(request)
        except (ValueError, TypeError, KeyError) as problem:
            return _plain(400, {"error": str(problem)})

    async def _command(self, request: web.Request) -> web.Response:
        world = self.world
        data = orjson.loads(await request.read() or b"null")
        match request.method, request.path:
            case "GET", "/_simulator" | "/_simulator/" | "/_simulator/info":
                return _plain(200, self._info())
            case "GET", "/_simulator/faults":
                return _plain(200, [dataclasses.asdict(fault) for fault in world.faults.all()])
            case "POST", "/_simulator/faults":
                parsed = [Fault.parse(item) for item in (data if isinstance(data, list) else [data])]
                return _plain(200, [world.faults.add(fault).id for fault in parsed])
            case "DELETE", "/_simulator/faults":
                world.faults.remove(int(request.query["id"]) if "id" in request.query else None)
                return _plain(200, {})
            case "POST", "/_simulator/clock":
                text = data["clock"]
                world.fixed_clock = None if text is None else instant(text)
                await self.streams.clock_moved()
                return _plain(200, {"clock": world.now().isoformat()})
            case "POST", "/_simulator/liquidations":
                return _plain(200, {"sent": await self.streams.send(data)})
            case "GET", "/_simulator/streams":
                return _plain(200, [sorted(subscriber.streams) for subscriber in self.streams.subscribers])
            case "DELETE", "/_simulator/streams":
                return _plain(200, {"dropped": await self.streams.drop()})
            case "GET", "/_simulator/requests":
                return _plain(200, list(self.log))
            case "DELETE", "/_simulator/requests":
                self.log.clear()
                return _plain(200, {})
            case "DELETE", "/_simulator/budgets":
                self.world.clear_budgets()
                return _plain(200, {})
        return _plain(404, {"error": "commands: info, faults, clock, requests, budgets, liquidations, streams"})

    def _info(self) -> dict[str, Any]:
        dataset = self.world.dataset
        return {
            "what": "a simulator of market data providers; nothing here is investment data",
            "dataset": dataset.name,
            "clock": self.world.now().isoformat(),
            "clock_stands_still": self.world.fixed_clock is not None,
            "symbols": {
                name: {s: "synthetic" if i.synthetic else "recorded" for s, i in dataset.instruments(name).items()}
                for name in PROVIDERS
            },
            "fault_kinds": ANSWER_KINDS | BAR_KINDS,
        }


def _call(
    request: web.Request, provider: str, endpoint: str, path: str, prefix: str, parameters: dict[str, str]
) -> Call:
    query = request.query
    symbol = parameters.get("ticker") or parameters.get("symbol") or query.get("symbol") or query.get("ticker")
    symbol = symbol or query.get("assets")
    timeframe = query.get("interval") or query.get("period") or parameters.get("interval")
    if "timespan" in parameters:
        timeframe = parameters["multiplier"] + TIMEFRAMES.get(parameters["timespan"], parameters["timespan"])
    timeframe = {"60m": "1h", "1wk": "1w"}.get(timeframe or "", timeframe)
    base = f"{request.scheme}://{request.host}{prefix}"
    return Call(provider, endpoint, path, query, request.headers, base, parameters, symbol, timeframe)


def _response(reply: Reply) -> web.Response:
    return web.Response(
        status=reply.status, body=reply.body, headers={**reply.headers, "Content-Type": reply.content_type}
    )


async def _drip(request: web.Request, reply: Reply, seconds: float) -> web.StreamResponse:
    """The body a byte at a time: no read of it takes long, all of it does."""
    response = web.StreamResponse(status=reply.status, headers={"Content-Length": str(len(reply.body))})
    await response.prepare(request)
    for byte in reply.body:
        await response.write(bytes([byte]))
        await asyncio.sleep(seconds)
    return response


def _large(fault: Fault) -> Reply:
    if not fault.is_packed:
        return Reply(fault.status or 200, b" " * fault.size)
    return Reply(fault.status or 200, gzip.compress(b" " * fault.size, 9), {"Content-Encoding": "gzip"})


def _plain(status: int, body: object) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(body), content_type="application/json")


class ServerThread:
    """A server with an event loop of its own, for use inside another program."""

    def __init__(self, world: World, port: int = 0) -> None:
        self.server = Server(world)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="simulator", daemon=True)
        self._thread.start()
        self.port = asyncio.run_coroutine_threadsafe(self.server.start(port), self._loop).result(30)

    def stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self.server.stop(), self._loop).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
