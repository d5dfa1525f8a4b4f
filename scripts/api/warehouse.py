"""The API's connections: a pool that can only read, opened when the first request comes, and errors as HTTP answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, LiteralString

import psycopg
from fastapi import HTTPException
from psycopg import sql
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from scripts import reading

# Two cores are busy with fewer; more connections would only make each answer slower.
CONNECTIONS = 8
POOL_TIMEOUT = 5.0
# An export is one statement, so that all its bars are of one moment; it may outlast a page, but not for ever.
EXPORT_TIMEOUT_MS = 120_000
EXPORTS_AT_ONCE = 2
BUSY = {"Retry-After": "5"}
Values = Mapping[str, Any] | Sequence[Any]


class ExportSlots:
    """Who exports at the moment: few at once, one for each reader, and none for ever. A reader that takes the answer byte by
    byte is not stopped by the server's time limit, so the slot has one of its own."""

    def __init__(self, count: int = EXPORTS_AT_ONCE, seconds: float = EXPORT_TIMEOUT_MS / 1000) -> None:
        self._free = asyncio.Semaphore(count)
        self._seconds = seconds
        self._held: dict[object, str] = {}

    async def take(self, reader: str, end: Callable[[], object]) -> object:
        """A slot, to be given back; when its time is up, `end` is called and the slot is free. HTTPException 503 where the
        reader has one already, or none is free."""
        if reader in self._held.values():
            raise HTTPException(503, "an export of yours is running: wait for its end", BUSY)
        slot = object()
        self._held[slot] = reader
        try:
            await asyncio.wait_for(self._free.acquire(), POOL_TIMEOUT)
        except BaseException as error:
            del self._held[slot]
            if isinstance(error, TimeoutError):
                message = f"{EXPORTS_AT_ONCE} exports are running: try again in a while"
                raise HTTPException(503, message, BUSY) from None
            raise
        asyncio.get_running_loop().call_later(self._seconds, self._expire, slot, end)
        return slot

    def give_back(self, slot: object) -> None:
        """Free a slot; one whose time was up is free already."""
        if self._held.pop(slot, None) is not None:
            self._free.release()

    def _expire(self, slot: object, end: Callable[[], object]) -> None:
        if slot in self._held:
            self.give_back(slot)
            end()


class Warehouse:
    """Reads for one event loop."""

    def __init__(self) -> None:
        self._pool: AsyncConnectionPool | None = None
        self._opening = asyncio.Lock()
        self._exports = ExportSlots()

    async def row(self, statement: LiteralString | sql.Composed, values: Values) -> tuple[Any, ...] | None:
        """The first row of a select."""
        rows = await self.rows(statement, values)
        return rows[0] if rows else None

    async def rows(self, statement: LiteralString | sql.Composed, values: Values) -> list[tuple[Any, ...]]:
        """The rows of a select that has few."""
        with _as_http():
            pool = await self._opened()
            try:
                return await _all(pool, statement, values)
            except psycopg.OperationalError as error:
                if isinstance(error, PoolTimeout | psycopg.errors.QueryCanceled):
                    raise
                # The server was restarted: none of the connections that wait in the pool is any good.
                await pool.check()
                return await _all(pool, statement, values)

    @asynccontextmanager
    async def copy(
        self, statement: sql.Composed, values: Mapping[str, Any], reader: str
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """The chunks of a COPY, on a connection of its own: a slow reader must not hold one that pages need."""
        ending: list[Callable[[], object]] = []
        slot = await self._exports.take(reader, lambda: [end() for end in ending])
        try:
            with _as_http():
                url = await asyncio.to_thread(reading.dsn)
                chosen = reading.options(await asyncio.to_thread(reading.read_role, url), EXPORT_TIMEOUT_MS)
                connection = await psycopg.AsyncConnection.connect(
                    url, options=chosen, application_name="market serve: export"
                )
            # The answer breaks off: what was sent is no whole file, and the reader sees that.
            ending.append(connection.pgconn.finish)
            async with connection:
                with _as_http():
                    async with connection.cursor() as cursor, cursor.copy(statement, values) as chunks:
                        yield (bytes(chunk) async for chunk in chunks)
        finally:
            self._exports.give_back(slot)

    async def close(self) -> None:
        if self._pool is not None:
            await self._pool.close()

    async def _opened(self) -> AsyncConnectionPool:
        async with self._opening:
            if self._pool is None:
                url = await asyncio.to_thread(reading.dsn)
                chosen = reading.options(await asyncio.to_thread(reading.read_role, url))
                pool = AsyncConnectionPool(
                    url,
                    min_size=1,
                    max_size=CONNECTIONS,
                    timeout=POOL_TIMEOUT,
                    open=False,
                    kwargs={"options": chosen, "autocommit": True, "application_name": "market serve"},
                )
                await pool.open()
                self._pool = pool
        return self._pool


async def _all(pool: AsyncConnectionPool, statement: Any, values: Values) -> list[tuple[Any, ...]]:
    async with pool.connection() as connection:
        cursor = await connection.execute(statement, values, prepare=True)
        return await cursor.fetchall()


class _as_http:
    """Turns what goes wrong with the warehouse into an HTTP answer with a plain message."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, PoolTimeout):
            raise HTTPException(503, "the warehouse does not answer, or is too busy: try again", BUSY) from None
        if isinstance(error, reading.Unreadable):
            raise HTTPException(503, str(error), BUSY) from None
        if isinstance(error, psycopg.Error):
            message = reading.in_plain_words(error)
            if isinstance(error, psycopg.errors.UndefinedFunction):
                raise HTTPException(404, message) from None
            if message is not None:
                raise HTTPException(503, message, BUSY) from None
