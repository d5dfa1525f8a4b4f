"""The bars of one series or of several: pages as JSON, files as CSV or Parquet."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Query, Request, Response
from fastapi.responses import StreamingResponse

from market_warehouse import questions, selects
from market_warehouse.questions import Adjustment
from scripts.api import answers, bar_queries, export, queries
from scripts.api.bar_queries import Column
from scripts.api.descriptions import documented, json_answer
from scripts.api.freshness import freshness_of
from scripts.api.parameters import MOST_SYMBOLS, PAGE, BarsAsked, Limit, Symbol
from scripts.api.warehouse import Warehouse


class Columns:
    """The columns of market_data_v2 by name; asked for again when a build has changed the warehouse, as it may add one."""

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse
        self._version: str | None = None
        self._columns: dict[str, Column] = {}

    async def of(self, version: str | None) -> dict[str, Column]:
        """Those of a state of the warehouse; None: those of now. HTTPException 503 where it cannot be read."""
        if version is None or version != self._version:
            row = await self._warehouse.row(bar_queries.COLUMNS, {})
            assert row is not None
            self._columns = {name: Column(name, data_type) for name, data_type in zip(*row, strict=True)}
            self._version = version
        return self._columns


def _chosen(text: str | None, columns: dict[str, Column], adjusted: Adjustment | None) -> tuple[Column, ...]:
    """HTTPException 422 for one that is none."""
    if text is None and adjusted == "total_return":
        return tuple(column for column in columns.values() if column.is_return_known)
    if text is None:
        return tuple(columns.values())
    names = [name.strip() for name in text.split(",") if name.strip()]
    if unknown := [name for name in names if name not in columns]:
        raise HTTPException(422, questions.no_columns(unknown, columns))
    return tuple(columns[name] for name in dict.fromkeys(("timestamp", *names)))


def _refuse_total_return(asked: BarsAsked, chosen: tuple[Column, ...]) -> None:
    """HTTPException 404 where no total return is known: of the past, and of features."""
    if asked.adjusted != "total_return":
        return
    if asked.as_of is not None:
        raise HTTPException(404, "adjusted: total_return is not known as of a past moment; splits is")
    if odd := [column.name for column in chosen if not column.is_return_known]:
        raise HTTPException(404, f"columns: {', '.join(odd)} has no total return; ask for it with adjusted=splits")


async def _refuse_before_history(warehouse: Warehouse, as_of: datetime) -> None:
    """HTTPException 404 for a moment before the first build: nothing was known then, which is no empty answer."""
    begins = (await warehouse.row(queries.HISTORY_BEGINS, {}) or (None,))[0]
    if begins is not None and as_of < begins:
        raise HTTPException(404, questions.before_history(as_of, begins))


async def _shares(warehouse: Warehouse, asked: BarsAsked, as_of: datetime | None, symbol: str, kind: str) -> Any:
    """The split factor that prices are adjusted to; 1 where they are not."""
    if asked.adjusted is None:
        return 1
    key: tuple[Any, ...] = (symbol, kind, asked.timeframe)
    if as_of is None:
        row = await warehouse.row(selects.SHARES_TODAY, key)
    else:
        row = await warehouse.row(selects.SHARES_THEN, (as_of, *key))
    return selects.shares_of(row)


async def _exported(
    warehouse: Warehouse,
    format: str,
    shape: bar_queries.Shape,
    values: dict[str, Any],
    headers: dict[str, str],
    reader: str,
) -> Response:
    """A file, streamed. The first piece is there before the status is sent, so that an error still has one."""
    is_csv = format == "csv"
    statement = bar_queries.copy(shape, has_limit=values["limit"] is not None, header=is_csv)

    async def stream() -> AsyncIterator[bytes]:
        async with warehouse.copy(statement, values, reader) as chunks:
            made = export.pieces(chunks, export.CSV_PIECE) if is_csv else export.parquet(chunks, shape.shown)
            async for piece in made:
                yield piece

    pieces = stream()
    first = await anext(pieces, b"")

    async def all_of_it() -> AsyncIterator[bytes]:
        yield first
        async for piece in pieces:
            yield piece

    name = re.sub(r"[^A-Za-z0-9._-]", "_", f"{values.get('symbol', 'bars')}-{values['timeframe']}.{format}")
    headers |= {"Content-Disposition": f'attachment; filename="{name}"'}
    media_type = "text/csv; charset=utf-8" if is_csv else "application/vnd.apache.parquet"
    return StreamingResponse(all_of_it(), media_type=media_type, headers=headers)


def routes_of(warehouse: Warehouse, columns: Columns) -> APIRouter:
    """The routes /data/{symbol} and /data."""
    routes = APIRouter()

    @routes.get("/data/{symbol}", summary="Bars and features of one series; of several: AAPL,BTC",
            **documented("data", answers.Bars, 304, 404, 422))  # fmt: skip
    async def data(
        request: Request, symbol: Symbol, asked: Annotated[BarsAsked, Depends()], limit: Limit = None
    ) -> Response:
        return await _answer(warehouse, columns, request, symbol.split(","), "," in symbol, asked, limit)

    @routes.get("/data", summary="Bars and features of several symbols, in order of time, then symbol",
            **documented("many", answers.BarsOfMany, 304, 404, 422))  # fmt: skip
    async def data_of_many(
        request: Request,
        symbols: Annotated[
            str,
            Query(
                description=f"up to {MOST_SYMBOLS}, parted by commas",
                examples=["AAPL,BTC"],
                json_schema_extra={"pattern": f"^[^,]+(,[^,]+){{0,{MOST_SYMBOLS - 1}}}$"},
            ),
        ],
        asked: Annotated[BarsAsked, Depends()],
        limit: Limit = None,
    ) -> Response:
        return await _answer(warehouse, columns, request, symbols.split(","), True, asked, limit)

    return routes


async def _answer(
    warehouse: Warehouse,
    columns: Columns,
    request: Request,
    names: list[str],
    is_many: bool,
    asked: BarsAsked,
    limit: int | None,
) -> Response:
    """A page or a file of the bars; 304 where the reader has them."""
    names = sorted(set(filter(None, names)))
    if not 0 < len(names) <= MOST_SYMBOLS:
        raise HTTPException(422, f"symbols: name one to {MOST_SYMBOLS}, parted by commas")
    values = asked.values()
    freshness = await freshness_of(warehouse, names, asked.timeframe, values["as_of"], asked.asset_class)
    names = [one[0] for one in freshness.series]
    if asked.as_of is not None:
        await _refuse_before_history(warehouse, values["as_of"])
    chosen = _chosen(asked.columns, await columns.of(freshness.version), asked.adjusted)
    _refuse_total_return(asked, chosen)
    headers = freshness.headers(request)
    if freshness.is_known_to(request):
        return Response(status_code=304, headers=headers)
    shares = [await _shares(warehouse, asked, values["as_of"], *one) for one in freshness.series]
    if is_many:
        values |= {"symbols": names, "asset_classes": [one[1] for one in freshness.series], "shares": shares}
    else:
        values |= {"symbol": names[0], "asset_class": freshness.series[0][1], "shares": shares[0]}
    values |= {"timeframe": asked.timeframe, "limit": limit}
    shape = asked.shape(chosen, limit, is_many)
    if asked.format != "json":
        reader = request.client.host if request.client else ""
        return await _exported(warehouse, asked.format, shape, values, headers, reader)
    row = await warehouse.row(bar_queries.page(shape), {**values, "limit": limit or PAGE})
    assert row is not None
    count, is_more, first, last, first_symbol, last_symbol, *arrays = row
    next_cursor = bar_queries.cursor_of(shape.direction, first, last, (first_symbol, last_symbol)) if is_more else None
    body = ",".join(f'"{column.name}":{array}' for column, array in zip(shape.shown, arrays, strict=True))
    head: dict[str, Any] = {"symbols": names} if is_many else {"symbol": names[0]}
    if not is_many:
        head["asset_class"] = values["asset_class"]
    head |= {
        "timeframe": asked.timeframe, "as_of": values["as_of"] and values["as_of"].isoformat(),
        "adjusted": shape.adjusted, "count": count, "next_cursor": next_cursor,
    }  # fmt: skip
    return json_answer(f'{json.dumps(head)[:-1]},{freshness.json},"columns":{{{body}}}}}', headers)
