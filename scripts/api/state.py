"""The state of the warehouse: freshness, quality, sources, runs; and what starts one."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from datetime import date
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import JSONResponse

from scripts.api import answers, queries, trigger
from scripts.api.descriptions import documented, json_answer
from scripts.api.freshness import freshness_of, spelled, unknown
from scripts.api.parameters import LARGEST_PAGE, Day, Symbol, clean
from scripts.api.queries import TIMEFRAMES
from scripts.api.warehouse import Warehouse

# Metrics read every series: many clients who ask in the same second get the same answer.
METRICS_SECONDS = 1.0


class _Remembered:
    """One answer for everybody who asks within so many seconds."""

    def __init__(self, ask: Callable[[], Awaitable[Any]], seconds: float) -> None:
        self._ask, self._seconds = ask, seconds
        self._until, self._answer = 0.0, None
        self._asking = asyncio.Lock()

    async def get(self) -> Any:
        async with self._asking:
            if time.monotonic() >= self._until:
                self._answer = await self._ask()
                self._until = time.monotonic() + self._seconds
            return self._answer


def routes_of(warehouse: Warehouse, starter: trigger.Trigger) -> APIRouter:
    """The routes under /enrichment, /data/quality and /symbols."""
    routes = APIRouter()

    @routes.get("/enrichment/status/{symbol}", summary="How fresh, complete and good a symbol's series are",
             **documented("status", answers.Status, 404, 422))  # fmt: skip
    async def status(symbol: Symbol) -> Response:
        for name in (clean(symbol), *(await spelled(warehouse, [symbol]))):
            if row := await warehouse.row(queries.STATUS, {"symbol": name, "timeframes": list(TIMEFRAMES)}):
                return json_answer(row[0])
        raise await unknown(warehouse, symbol)

    metrics_answer = _Remembered(lambda: warehouse.row(queries.METRICS, {}), METRICS_SECONDS)

    @routes.get("/enrichment/metrics", summary="Sources, quality, freshness and computation, over all series",
             **documented("metrics", answers.Metrics, 422))  # fmt: skip
    async def enrichment_metrics() -> Response:
        return json_answer((await metrics_answer.get())[0])

    @routes.post("/enrichment/trigger", status_code=202, summary="Start a run, unless one is under way",
              **documented("trigger", answers.Started, 401, 403, 409, 422, code=202))  # fmt: skip
    async def start_run(
        authorization: Annotated[str | None, Header(description="Bearer <API_TOKEN>")] = None,
    ) -> Response:
        trigger.authorise(authorization)
        run_id = await starter.start()
        return JSONResponse({"run_id": run_id, "status": "started"}, 202)

    @routes.get("/data/quality/{symbol}", summary="A symbol's quality by day, and its open gaps",
             **documented("quality", answers.Quality, 304, 404, 422))  # fmt: skip
    async def quality(
        request: Request,
        symbol: Symbol,
        start: Day = None,
        end: Day = None,
        limit: Annotated[int, Query(ge=1, le=LARGEST_PAGE, description="the newest so many days")] = 30,
    ) -> Response:
        freshness = await freshness_of(warehouse, [symbol], None)
        symbol = freshness.series[0][0]
        headers = freshness.headers(request)
        if freshness.is_known_to(request):
            return Response(status_code=304, headers=headers)
        values = {"symbol": symbol, "start": start or date.min, "end": end or date.max, "limit": limit}
        row = await warehouse.row(queries.QUALITY, values)
        assert row is not None
        summary, gaps, rejected, columns = row
        return json_answer(
            f'{{"symbol":{json.dumps(symbol)},{freshness.json},"summary":{summary},"open_gaps":{gaps},'
            f'"rejected_bars":{rejected},"columns":{columns}}}',
            headers,
        )

    @routes.get("/symbols", summary="What there is, from when to when", **documented("symbols", answers.Symbols, 422))
    async def symbols() -> Response:
        row = await warehouse.row(queries.SYMBOLS, {"timeframes": list(TIMEFRAMES)})
        assert row is not None
        return json_answer(row[0])

    return routes
