"""`market collect-liquidations`: Binance's forced orders, which only a stream reports and no archive stores.

Data flow: fstream.binance.com -> two connections -> events and watched time -> raw_binance.responses, origin stream.

| guarantee | how |
|---|---|
| "none" and "not watching" differ | each asset gets a row for the time watched, with or without events |
| no time is claimed that was not watched | what counts ends at an answered ping: all that was sent before is here |
| a kill costs what was not saved, and no more | rows are saved every five minutes; time that was not saved is not claimed |
| the cut that Binance makes every 24 hours leaves no hole | the second connection, made a minute later, watches meanwhile |
| runs in parallel to an extract | a dlt pipeline of its own, and a lock of its own that only a second collector meets |
"""

from __future__ import annotations

import asyncio
import logging
import signal
import time
import uuid
from collections import OrderedDict, defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from typing import Any

import dlt
import orjson
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus, WebSocketException

from extract.calendar.windows import Window, merged
from extract.commands.running import prepare_warehouse
from extract.core import clock, database, provenance, settings
from extract.core.locks import Lock
from extract.core.redaction import redact
from extract.core.settings import ConfigurationError
from extract.load import pipeline
from extract.load.responses import BadPayload, Parsed, Row, Task, make_row, sha256
from extract.providers.binance import Binance
from extract.providers.binance.forced_orders import PING_SECONDS, Collected, Watch, answer_of, asked_to_wait, event_of
from extract.symbols import registry
from extract.symbols.registry import Asset

# Seconds between two saves, unless BATCH_SIZE_MARKET_DATA events come first: the shortest bars that need them are as
# long, and saving each minute made 1,440 rows a day of every coin.
FLUSH_SECONDS = 300.0
# Seconds until a save that failed is tried again.
RETRY_SECONDS = 60.0

# The start of the second connection: Binance cuts each 24 hours after it was made.
STAGGER_SECONDS = (0.0, 60.0)
# Seconds before the next try, by how many connections in a row have been short-lived.
BACKOFF = (0.0, 0.0, 1.0, 5.0, 15.0, 60.0)
SETTLED_SECONDS = 60.0
# How many events are kept to recognize a repeated one; dbt drops those that are repeated later still.
KNOWN_EVENTS = 20_000

log = logging.getLogger(__name__)


def collect(symbols: Sequence[str] = ()) -> bool:
    """Collect until SIGTERM or SIGINT; False if the last events could not be saved.

    Raises LockHeld where another collector runs, and ConfigurationError where no asset has a futures symbol.
    """
    collector = Collector(symbols)

    async def until_stopped() -> bool:
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, collector.stop)
        return await collector.run()

    with database.held(Lock.COLLECTOR, "collect-liquidations"):
        return asyncio.run(until_stopped())


class Collector:
    """The resident process: connections, what they have brought, and its way into the warehouse."""

    def __init__(self, symbols: Sequence[str] = ()) -> None:
        provenance.refuse_mixing(Binance.urls())
        today = clock.now().date()
        self._assets = [
            asset
            for asset in registry.select(registry.load(), symbols)
            if asset.names.get("binance_futures") and asset.is_active(today)
        ]
        if not self._assets:
            raise ConfigurationError("no enabled asset has a symbol in column binance_futures of assets.csv")
        self._names = {asset.names.get("binance_futures") for asset in self._assets}
        streams = "/".join(sorted(f"{name.lower()}@forceOrder" for name in self._names if name))
        chosen = settings.load()
        self._url = f"{str(chosen.binance_stream_url).rstrip('/')}/stream?streams={streams}"
        self._batch = chosen.batch_size_market_data
        self._run_id = uuid.uuid4().hex
        self._collected = Collected()
        self._seen: OrderedDict[bytes, None] = OrderedDict()
        self._watches: set[Watch] = set()
        self._stopping = asyncio.Event()
        self._is_full = asyncio.Event()
        self._pipeline: dlt.Pipeline | None = None
        # dlt keeps its state per thread, and would take the signals over in the main one.
        self._saver = ThreadPoolExecutor(1, thread_name_prefix="save")

    def stop(self) -> None:
        """Save and end; to be called in the thread of the loop."""
        self._stopping.set()
        self._is_full.set()

    async def run(self) -> bool:
        """Watch until stopped; False if the last events could not be saved."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._saver, _prepare)
        connections = [asyncio.create_task(self._stay_connected(delay)) for delay in STAGGER_SECONDS]
        log.info("watching the forced orders of %s", ", ".join(asset.symbol for asset in self._assets))
        try:
            while not self._stopping.is_set():
                # Where saving has failed, a full batch is no reason to try again at once.
                wake, seconds = self._is_full, FLUSH_SECONDS
                if not await self._save():
                    wake, seconds = self._stopping, RETRY_SECONDS
                with suppress(TimeoutError):
                    await asyncio.wait_for(wake.wait(), seconds)
                for connection in connections:
                    if connection.done():
                        connection.result()  # raises: it ends by a fault of ours only
            return await self._save()
        finally:
            for connection in connections:
                connection.cancel()
            await asyncio.gather(*connections, return_exceptions=True)
            self._saver.shutdown()

    # --- watching ---

    async def _stay_connected(self, delay: float) -> None:
        await asyncio.sleep(delay)
        short_lived = 0
        while True:
            began, retry_after = time.monotonic(), 0.0
            try:
                # The pings are ours: only they say until when we have watched.
                async with connect(self._url, ping_interval=None) as socket:
                    log.info("connected to the stream")
                    await self._watch(socket)
                reason = "closed by Binance"
            except (OSError, WebSocketException, BadPayload) as problem:
                reason = redact(str(problem) or repr(problem))
                if isinstance(problem, InvalidStatus):
                    retry_after = asked_to_wait(problem)
            short_lived = 0 if time.monotonic() - began >= SETTLED_SECONDS else short_lived + 1
            pause = max(retry_after, BACKOFF[min(short_lived, len(BACKOFF) - 1)])
            log.warning("stream: %s; connecting again in %.0f s", reason, pause)
            await asyncio.sleep(pause)

    async def _watch(self, socket: ClientConnection) -> None:
        """Read until the connection ends, proving it alive every few seconds."""
        watch = Watch(socket, self._collected.watched)
        reader = asyncio.create_task(self._read(socket, watch))
        self._watches.add(watch)
        try:
            while not reader.done():
                await watch.prove()
                await asyncio.wait([reader], timeout=PING_SECONDS)
            await reader
        finally:
            self._watches.discard(watch)
            reader.cancel()
            with suppress(asyncio.CancelledError, WebSocketException, BadPayload):
                await reader

    async def _read(self, socket: ClientConnection, watch: Watch) -> None:
        """Raises BadPayload at a message that is not documented: who cannot read a stream is not watching it."""
        async for message in socket:
            body = message.encode() if isinstance(message, str) else message
            try:
                symbol, key, event = event_of(body)
            except BadPayload:
                watch.is_readable = False
                self._collected.bad_messages.append(body)
                raise
            self._take(symbol, key, event)

    def _take(self, symbol: str, key: bytes, event: dict[str, Any]) -> None:
        if key in self._seen or symbol not in self._names:
            return
        self._seen[key] = None
        if len(self._seen) > KNOWN_EVENTS:
            self._seen.popitem(last=False)
        self._collected.events.setdefault(symbol, []).append(event)
        if self._collected.event_count >= self._batch:
            self._is_full.set()

    # --- saving ---

    async def _save(self) -> bool:
        """Save what is proven until now; on failure keep it for the next time."""
        await asyncio.gather(*(watch.prove() for watch in self._watches), return_exceptions=True)
        if not self._collected:
            return True
        taken = Collected(list(self._collected.watched), self._collected.events, self._collected.bad_messages)
        # The list of watched time is shared with the connections.
        self._collected.watched.clear()
        self._collected.events, self._collected.bad_messages = {}, []
        if not self._stopping.is_set():
            self._is_full.clear()
        rows = self._rows(taken)
        try:
            await asyncio.get_running_loop().run_in_executor(self._saver, self._load, rows)
        except Exception as problem:
            # The warehouse may be away for a while; the collector outlives that.
            log.error("saving failed, will be tried again: %s", redact(str(problem)))
            unsaved = taken.followed_by(self._collected)
            self._collected.watched[:] = merged(unsaved.watched)
            self._collected.events, self._collected.bad_messages = unsaved.events, unsaved.bad_messages
            return False
        log.info("saved %d forced orders, %d rows", taken.event_count, len(rows))
        return True

    def _rows(self, taken: Collected) -> list[Row]:
        """One row per asset and unbroken time watched; the events are in the newest."""
        now = clock.now()
        windows = [window for window in merged(taken.watched) if window[0] < window[1]]
        rows = []
        for asset in self._assets:
            events = taken.events.get(asset.names.get("binance_futures") or "", [])
            for window in windows[:-1]:
                rows.append(self._row(window, now, asset, []))
            if windows:
                rows.append(self._row(windows[-1], now, asset, events))
            elif events:
                # No time is proven yet (or the clock is frozen): none is claimed.
                rows.append(self._row((now, now), now, asset, events))
        for body in taken.bad_messages:
            task = Task("binance", "liquidations", now, now, origin="stream")
            error = "the stream sent what is not documented; it is stored in bad_payload"
            rows.append(make_row(self._run_id, task, answer_of(body, now), None, None, error))
        return rows

    def _row(self, window: Window, now: datetime, asset: Asset, events: list[dict[str, Any]]) -> Row:
        about = (asset.symbol, asset.asset_class, asset.names.get("binance_futures"))
        task = Task("binance", "liquidations", *window, *about, origin="stream")
        parsed = Parsed(len(events), sha256(orjson.dumps(events)))
        return make_row(self._run_id, task, answer_of(orjson.dumps({"events": events}), now), parsed, None, None)

    def _load(self, rows: list[Row]) -> None:
        by_task: dict[Task, list[Row]] = defaultdict(list)
        for row in rows:
            by_task[row.task].append(row)
        if self._pipeline is None:
            self._pipeline = pipeline.make("binance", own_name="liquidations")
        try:
            pipeline.load(self._pipeline, list(by_task), lambda task: (row.to_arrow() for row in by_task[task]))
        except Exception:
            # A new one throws away what this one has left behind.
            self._pipeline = None
            raise


def _prepare() -> None:
    """The raw tables. An extract has made them, unless the collector comes first; then it must not meet one."""
    with database.pool().connection() as connection:
        exists = connection.execute("select to_regclass('raw_binance.responses') is not null").fetchone() == (True,)
    if not exists:
        with database.run_lock("collect-liquidations, making the tables"):
            prepare_warehouse()
