"""The application: its routes, room by room. Every answer with data says how old they are; every refusal says in plain words
why."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version as version_of
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException as StarletteHTTPException

from scripts import reading
from scripts.api import answers, bars, site, state, trigger
from scripts.api.bars import Columns
from scripts.api.bodies import NoBodies
from scripts.api.descriptions import PROBLEMS, UNREADABLE, documented, refuse, refuse_input, unexpected
from scripts.api.parameters import (
    one_or_more,
    refuse_unknown_parameters,
)
from scripts.api.warehouse import Warehouse


def create_app(command: tuple[str, ...] | None = None) -> FastAPI:
    """The application; `command` stands for `market run` in tests."""
    warehouse = Warehouse()
    columns = Columns(warehouse)
    starter = trigger.Trigger(warehouse, command)

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        yield
        await warehouse.close()

    app = FastAPI(
        title="Market warehouse",
        version=version_of("market-warehouse"),
        description=(
            "Bars, features and the state of the warehouse. Reading is open; it listens on 127.0.0.1 unless `--host`"
            " says otherwise. Numbers are exact decimals; times are ISO-8601 in UTC."
        ),
        lifespan=life,
        # Described below: the columns are those of the warehouse.
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
    )
    app.add_middleware(NoBodies)
    app.add_exception_handler(RequestValidationError, refuse_input)
    app.add_exception_handler(StarletteHTTPException, refuse)
    app.add_exception_handler(Exception, unexpected)
    v1 = APIRouter(prefix="/api/v1", dependencies=[Depends(refuse_unknown_parameters)])
    v1.include_router(state.routes_of(warehouse, starter))
    v1.include_router(bars.routes_of(warehouse, columns))
    app.include_router(v1)

    checked = [Depends(refuse_unknown_parameters)]
    refused: dict[str, Any] = {"description": PROBLEMS[422], "model": answers.Problem}

    @app.get("/metrics", summary="The same for Prometheus, as OpenMetrics", responses={422: refused, 503: UNREADABLE},
             response_class=Response, dependencies=checked)  # fmt: skip
    def openmetrics() -> Response:
        from scripts.monitoring import metrics

        try:
            return Response(metrics.render(), media_type=None, headers={"Content-Type": metrics.CONTENT_TYPE})
        except reading.Unreadable as error:
            raise HTTPException(503, str(error)) from None

    @app.get("/healthz", summary="Whether the warehouse can be read", **documented("health", answers.Health, 422),
             dependencies=checked)  # fmt: skip
    async def health() -> Response:
        row = await warehouse.row("select count(*) from marts.enrichment_status where is_enabled", {})
        return JSONResponse({"status": "ok", "version": app.version, "series": row[0] if row else 0})

    @app.get("/openapi.json", include_in_schema=False)
    async def description() -> Response:
        schema = copy.deepcopy(app.openapi())
        # Without a warehouse that answers, any name may be a column's.
        with suppress(HTTPException):
            names = "|".join(await columns.of(None))
            for path in ("/api/v1/data/{symbol}", "/api/v1/data"):
                for parameter in schema["paths"][path]["get"]["parameters"]:
                    if parameter["name"] == "columns":
                        parameter["schema"]["pattern"] = one_or_more(f"({names})")
        return JSONResponse(schema)

    site.add_to(app)
    return app
