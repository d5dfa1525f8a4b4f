"""How old the data of an answer are, and which series it is about."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime

from fastapi import HTTPException, Request

from extract.core import clock
from scripts import reading
from scripts.api import ages, queries
from scripts.api.parameters import clean
from scripts.api.queries import TIMEFRAMES
from scripts.api.warehouse import Warehouse


class Freshness:
    """How old some series are, now or at the moment of an as-of answer, and which state of the warehouse it is from. Of
    several, the oldest; stale if one is."""

    def __init__(self, series: list[tuple[str, str]], age: int | None, is_stale: bool, version: str) -> None:
        self.series, self.version = series, version
        self._age, self._is_stale = age, is_stale

    @property
    def json(self) -> str:
        return f'"data_age_seconds":{json.dumps(self._age)},"is_stale":{json.dumps(self._is_stale)}'

    def headers(self, request: Request) -> dict[str, str]:
        """The age is a header, too: a 304 and a file have no other place for it."""
        return {
            "ETag": self._etag(request),
            "Cache-Control": "no-cache",
            "X-Data-Age-Seconds": "" if self._age is None else str(self._age),
            "X-Is-Stale": json.dumps(self._is_stale),
        }

    def is_known_to(self, request: Request) -> bool:
        given = {tag.strip() for tag in request.headers.get("if-none-match", "").split(",")}
        return bool(given & {"*", self._etag(request)})

    def _etag(self, request: Request) -> str:
        """Weak, because the age in two answers of one state differs; going stale makes it another answer."""
        text = f"{self.version} {self._is_stale} {request.url.path}?{request.url.query}"
        return f'W/"{hashlib.sha256(text.encode()).hexdigest()[:32]}"'


async def freshness_of(
    warehouse: Warehouse,
    symbols: list[str],
    timeframe: str | None,
    as_of: datetime | None = None,
    asset_class: str | None = None,
) -> Freshness:
    """How old these series are; 404 names what there is where one is unknown."""
    asked = {"symbols": [clean(one) for one in symbols], "timeframe": timeframe, "asset_class": asset_class}
    rows = await warehouse.rows(queries.FRESHNESS, asked)
    found = {row[0]: row[1:] for row in rows}
    if missing := [symbol for symbol in symbols if symbol not in found]:
        if (named := await spelled(warehouse, symbols)) != symbols:
            return await freshness_of(warehouse, named, timeframe, as_of, asset_class)
        raise await unknown(warehouse, missing[0], timeframe)
    series = [(symbol, found[symbol][0]) for symbol in symbols]
    aged = [(found[symbol][1], bool(found[symbol][2])) for symbol in symbols]
    if as_of is not None and timeframe is not None:
        moment = min(as_of, clock.now())
        aged = []
        for symbol, kind in series:
            key = {"symbol": symbol, "asset_class": kind, "timeframe": timeframe, "as_of": as_of}
            newest = await warehouse.row(queries.NEWEST_THEN, key) or (None, None)
            age = ages.at(moment, symbol, kind, timeframe, *newest)
            aged.append((age.seconds, age.is_stale))
    known = [age for age, _ in aged if age is not None]
    return Freshness(series, max(known, default=None), any(stale for _, stale in aged), rows[0][4])


async def spelled(warehouse: Warehouse, symbols: list[str]) -> list[str]:
    """The symbols as the warehouse spells them, in order, each once: `aapl` is AAPL."""
    known = (await warehouse.row(queries.KNOWN, {"symbol": ""}) or ([],))[0] or []
    return sorted({reading.spelled(symbol, known) for symbol in symbols})


async def unknown(warehouse: Warehouse, symbol: str, timeframe: str | None = None) -> HTTPException:
    """The 404 that says what there is."""
    symbols, timeframes = await warehouse.row(queries.KNOWN, {"symbol": symbol}) or (None, None)
    if timeframes:
        there = ", ".join(name for name in TIMEFRAMES if name in timeframes)
        return HTTPException(404, f"{symbol} has no {timeframe} bars; there are {there}")
    return HTTPException(404, reading.unknown_symbol(symbol[:100], symbols or []))
