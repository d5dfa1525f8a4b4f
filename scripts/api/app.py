"""The routes. Every answer with data says how old they are; every refusal says in plain words why."""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, date, datetime, timedelta
from importlib.metadata import version as version_of
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, FastAPI, Header, HTTPException, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BeforeValidator
from starlette.exceptions import HTTPException as StarletteHTTPException

from extract.calendar.timeframes import DAY
from extract.core import clock
from extract.core.redaction import redact
from market_warehouse import questions
from market_warehouse.questions import Adjustment
from scripts import reading
from scripts.api import ages, answers, export, queries, site, trigger
from scripts.api.bodies import NoBodies
from scripts.api.examples import EXAMPLES
from scripts.api.queries import TIMEFRAMES, Column
from scripts.api.warehouse import Warehouse

PAGE, LARGEST_PAGE = 1000, 5000
# Of one question: each of them is looked up by itself.
MOST_SYMBOLS = 100
# Metrics read every series: many clients who ask in the same second get the same answer.
METRICS_SECONDS = 1.0

Symbol = Annotated[str, Path(description="as in the asset registry", examples=["BTC"])]
Day = Annotated[
    date | None,
    # Pydantic would take a number for days since 1970.
    BeforeValidator(lambda text: date.fromisoformat(text) if isinstance(text, str) else text),
    Query(description="session date, included", examples=["2013-02-01"]),
]
Limit = Annotated[int | None, Query(ge=1, le=LARGEST_PAGE, description="at most so many bars, 1000 by default in JSON")]
_INSTANT = {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "string", "format": "date"}]}

log = logging.getLogger("market.api")


def create_app(command: tuple[str, ...] | None = None) -> FastAPI:
    """The application; `command` stands for `market run` in tests."""
    warehouse = Warehouse()
    columns_of_bars = _Columns(warehouse)
    starter = trigger.Trigger(warehouse, command)

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        yield
        await warehouse.close()

    app = FastAPI(
        title="Market warehouse",
        version=version_of("market-warehouse"),
        description=(
            "Bars, features and the state of the warehouse. Reading is open; it listens on 127.0.0.1 unless told"
            " otherwise. Numbers are exact decimals; times are ISO-8601 in UTC."
        ),
        lifespan=life,
        # Described below: the columns are those of the warehouse.
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
    )
    app.add_middleware(NoBodies)
    app.add_exception_handler(RequestValidationError, _refuse_input)
    app.add_exception_handler(StarletteHTTPException, _refuse)
    app.add_exception_handler(Exception, _unexpected)
    v1 = APIRouter(prefix="/api/v1", dependencies=[Depends(_refuse_unknown_parameters)])

    @v1.get("/enrichment/status/{symbol}", summary="How fresh, complete and good a symbol's series are",
             **_documented("status", answers.Status, 404, 422))  # fmt: skip
    async def status(symbol: Symbol) -> Response:
        for name in (_clean(symbol), *(await _spelled(warehouse, [symbol]))):
            if row := await warehouse.row(queries.STATUS, {"symbol": name, "timeframes": list(TIMEFRAMES)}):
                return _json(row[0])
        raise await _unknown(warehouse, symbol)

    metrics_answer = _Remembered(lambda: warehouse.row(queries.METRICS, {}), METRICS_SECONDS)

    @v1.get("/enrichment/metrics", summary="Sources, quality, freshness and computation, over all series",
             **_documented("metrics", answers.Metrics, 422))  # fmt: skip
    async def enrichment_metrics() -> Response:
        return _json((await metrics_answer.get())[0])

    @v1.post("/enrichment/trigger", status_code=202, summary="Start a run, unless one is under way",
              **_documented("trigger", answers.Started, 401, 403, 409, 422, code=202))  # fmt: skip
    async def start_run(
        authorization: Annotated[str | None, Header(description="Bearer <API_TOKEN>")] = None,
    ) -> Response:
        trigger.authorise(authorization)
        run_id = await starter.start()
        return JSONResponse({"run_id": run_id, "status": "started"}, 202)

    @v1.get("/data/quality/{symbol}", summary="A symbol's quality by day, and its open gaps",
             **_documented("quality", answers.Quality, 304, 404, 422))  # fmt: skip
    async def quality(
        request: Request,
        symbol: Symbol,
        start: Day = None,
        end: Day = None,
        limit: Annotated[int, Query(ge=1, le=LARGEST_PAGE, description="the newest so many days")] = 30,
    ) -> Response:
        freshness = await _freshness(warehouse, [symbol], None)
        symbol = freshness.series[0][0]
        headers = freshness.headers(request)
        if freshness.is_known_to(request):
            return Response(status_code=304, headers=headers)
        values = {"symbol": symbol, "start": start or date.min, "end": end or date.max, "limit": limit}
        row = await warehouse.row(queries.QUALITY, values)
        assert row is not None
        summary, gaps, rejected, columns = row
        return _json(
            f'{{"symbol":{json.dumps(symbol)},{freshness.json},"summary":{summary},"open_gaps":{gaps},'
            f'"rejected_bars":{rejected},"columns":{columns}}}',
            headers,
        )

    @v1.get("/symbols", summary="What there is, from when to when", **_documented("symbols", answers.Symbols, 422))
    async def symbols() -> Response:
        row = await warehouse.row(queries.SYMBOLS, {"timeframes": list(TIMEFRAMES)})
        assert row is not None
        return _json(row[0])

    @v1.get("/data/{symbol}", summary="Bars and features of one series; of several: AAPL,BTC",
            **_documented("data", answers.Bars, 304, 404, 422))  # fmt: skip
    async def data(
        request: Request, symbol: Symbol, asked: Annotated[BarsAsked, Depends()], limit: Limit = None
    ) -> Response:
        return await answer(request, symbol.split(","), "," in symbol, asked, limit)

    @v1.get("/data", summary="Bars and features of several symbols, in order of time, then symbol",
            **_documented("many", answers.BarsOfMany, 304, 404, 422))  # fmt: skip
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
        return await answer(request, symbols.split(","), True, asked, limit)

    async def answer(
        request: Request, names: list[str], is_many: bool, asked: BarsAsked, limit: int | None
    ) -> Response:
        names = sorted(set(filter(None, names)))
        if not 0 < len(names) <= MOST_SYMBOLS:
            raise HTTPException(422, f"symbols: name one to {MOST_SYMBOLS}, parted by commas")
        values = asked.values()
        freshness = await _freshness(warehouse, names, asked.timeframe, values["as_of"], asked.asset_class)
        names = [one[0] for one in freshness.series]
        if asked.as_of is not None:
            await _refuse_before_history(warehouse, values["as_of"])
        chosen = _chosen(asked.columns, await columns_of_bars.of(freshness.version), asked.adjusted)
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
        row = await warehouse.row(queries.page(shape), {**values, "limit": limit or PAGE})
        assert row is not None
        count, is_more, first, last, first_symbol, last_symbol, *arrays = row
        next_cursor = queries.cursor_of(shape.direction, first, last, (first_symbol, last_symbol)) if is_more else None
        body = ",".join(f'"{column.name}":{array}' for column, array in zip(shape.shown, arrays, strict=True))
        head: dict[str, Any] = {"symbols": names} if is_many else {"symbol": names[0]}
        if not is_many:
            head["asset_class"] = values["asset_class"]
        head |= {
            "timeframe": asked.timeframe, "as_of": values["as_of"] and values["as_of"].isoformat(),
            "adjusted": shape.adjusted, "count": count, "next_cursor": next_cursor,
        }  # fmt: skip
        return _json(f'{json.dumps(head)[:-1]},{freshness.json},"columns":{{{body}}}}}', headers)

    app.include_router(v1)

    checked = [Depends(_refuse_unknown_parameters)]
    refused: dict[str, Any] = {"description": _PROBLEMS[422], "model": answers.Problem}

    @app.get("/metrics", summary="The same for Prometheus, as OpenMetrics", responses={422: refused, 503: _PROBLEM},
             response_class=Response, dependencies=checked)  # fmt: skip
    def openmetrics() -> Response:
        from scripts.monitoring import metrics

        try:
            return Response(metrics.render(), media_type=None, headers={"Content-Type": metrics.CONTENT_TYPE})
        except reading.Unreadable as error:
            raise HTTPException(503, str(error)) from None

    @app.get("/healthz", summary="Whether the warehouse can be read", **_documented("health", answers.Health, 422),
             dependencies=checked)  # fmt: skip
    async def health() -> Response:
        row = await warehouse.row("select count(*) from marts.enrichment_status where is_enabled", {})
        return JSONResponse({"status": "ok", "version": app.version, "series": row[0] if row else 0})

    @app.get("/openapi.json", include_in_schema=False)
    async def description() -> Response:
        schema = copy.deepcopy(app.openapi())
        # Without a warehouse that answers, any name may be a column's.
        with suppress(HTTPException):
            names = "|".join(await columns_of_bars.of(None))
            for path in ("/api/v1/data/{symbol}", "/api/v1/data"):
                for parameter in schema["paths"][path]["get"]["parameters"]:
                    if parameter["name"] == "columns":
                        parameter["schema"]["pattern"] = _one_or_more(f"({names})")
        return JSONResponse(schema)

    site.add_to(app)
    return app


# ------------------------------------------------------------ questions


def _refuse_unknown_parameters(request: Request) -> None:
    """HTTPException 422 for a parameter that the route does not know: a typing error would be answered by something else."""
    known = _parameters(request.scope["route"].dependant)
    if unknown := sorted(set(request.query_params) - known):
        accepted = ", ".join(sorted(known)) or "no parameters"
        raise HTTPException(422, f"unknown parameter {', '.join(unknown)[:200]}; this address takes {accepted}")


def _parameters(dependant: Any) -> set[str]:
    own = {one.alias for one in dependant.query_params}
    return own.union(*(_parameters(one) for one in dependant.dependencies))


class BarsAsked:
    """The parameters of a question for bars."""

    def __init__(
        self,
        timeframe: Annotated[answers.Timeframe, Query(description="length of the bars", examples=[DAY])],
        start: Annotated[
            str | None,
            Query(
                description="first bar at or after this; without it, the newest bars are given",
                examples=["2013-02-01"],
                json_schema_extra=_INSTANT,
            ),
        ] = None,
        end: Annotated[
            str | None,
            Query(description="last bar before this instant; a date includes its day", json_schema_extra=_INSTANT),
        ] = None,
        cursor: Annotated[
            str | None,
            Query(pattern=r"^(after|before)--?[0-9]{1,10}(-.{1,20})?$", description="next_cursor of the page before"),
        ] = None,
        as_of: Annotated[
            str | None, Query(description="as it was known at this instant", json_schema_extra=_INSTANT)
        ] = None,
        adjusted: Annotated[
            Literal["splits", "total_return", "true", "false"],
            Query(
                description="splits (or true): prices, features in prices and volumes in the shares of the newest bar;"
                " total_return: open, high, low, close with dividends, too"
            ),
        ] = "false",
        format: Annotated[
            Literal["json", "csv", "parquet"], Query(description="csv and parquet stream all bars unless limited")
        ] = "json",
        columns: Annotated[
            str | None,
            Query(
                description="only these columns, parted by commas; timestamp always comes first",
                examples=["close,volume"],
                json_schema_extra={"pattern": _one_or_more("[a-z][a-z0-9_]*")},
            ),
        ] = None,
        asset_class: Annotated[
            Literal["stock", "etf", "index", "crypto"] | None, Query(description="where a symbol is several assets")
        ] = None,
    ) -> None:
        self.timeframe, self.format, self.cursor, self.asset_class = timeframe, format, cursor, asset_class
        self.start, self.end, self.as_of = start, end, as_of
        self.adjusted: Adjustment | None = questions.adjustment(adjusted)
        self.columns = columns

    def values(self) -> dict[str, Any]:
        """The values of the select. HTTPException 422 for a time that is none."""
        return {
            "start": _instant("start", self.start), "end": _instant("end", self.end, is_end=True),
            "cursor": _cursor_instant(self.cursor), "cursor_symbol": _cursor_symbol(self.cursor),
            "as_of": _instant("as_of", self.as_of),
        }  # fmt: skip

    def shape(self, columns: tuple[Column, ...], limit: int | None, is_many: bool) -> queries.Shape:
        """The form of the select: on from the start or the cursor, or back from the newest."""
        direction: queries.Direction = "after" if self.start or (self.format != "json" and not limit) else "before"
        if self.cursor:
            direction = "after" if self.cursor.startswith("after") else "before"
        return queries.Shape(
            columns, direction, self.start is not None, self.end is not None, self.cursor is not None,
            self.as_of is not None, self.adjusted, is_many,
        )  # fmt: skip


def _clean(symbol: str) -> str:
    """Postgres knows no text with a NUL in it, so neither can a symbol have one."""
    if "\x00" in symbol:
        raise HTTPException(404, "unknown symbol")
    return symbol


def _instant(name: str, text: str | None, is_end: bool = False) -> datetime | None:
    """A time without an offset is UTC; an end that is a date includes that day."""
    if text is None:
        return None
    try:
        # A plus sign that was not encoded arrives as a blank.
        value = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
    except ValueError:
        message = (
            f"{name}: {text!r} is neither a date like 2024-01-31 nor an ISO-8601 instant like 2024-01-31T12:00:00Z"
        )
        raise HTTPException(422, message) from None
    try:
        value = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
        return value + timedelta(days=1) if is_end and len(text) == len("2024-01-31") else value
    except OverflowError:
        # Before the year 1, or after 9999: as good as the first or the last instant there is.
        return (datetime.min if value.year < 5000 else datetime.max).replace(tzinfo=UTC)


# after-1362027600, and of several symbols after-1362027600-AAPL.
_CURSOR = re.compile(r"(?:after|before)-(-?[0-9]{1,10})(?:-(.+))?", re.DOTALL)


def _cursor_instant(cursor: str | None) -> datetime | None:
    found = _CURSOR.fullmatch(cursor) if cursor else None
    return datetime.fromtimestamp(int(found[1]), UTC) if found else None


def _cursor_symbol(cursor: str | None) -> str:
    found = _CURSOR.fullmatch(cursor) if cursor else None
    return _clean(found[2] or "") if found else ""


def _one_or_more(name: str) -> str:
    """A pattern of names that are parted by commas."""
    return f"^{name}(,{name})*$"


class _Columns:
    """The columns of market_data_v2 by name; asked for again when a build has changed the warehouse, as it may add one."""

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse
        self._version: str | None = None
        self._columns: dict[str, Column] = {}

    async def of(self, version: str | None) -> dict[str, Column]:
        """Those of a state of the warehouse; None: those of now. HTTPException 503 where it cannot be read."""
        if version is None or version != self._version:
            row = await self._warehouse.row(queries.COLUMNS, {})
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


class _Freshness:
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


async def _freshness(
    warehouse: Warehouse,
    symbols: list[str],
    timeframe: str | None,
    as_of: datetime | None = None,
    asset_class: str | None = None,
) -> _Freshness:
    asked = {"symbols": [_clean(one) for one in symbols], "timeframe": timeframe, "asset_class": asset_class}
    rows = await warehouse.rows(queries.FRESHNESS, asked)
    found = {row[0]: row[1:] for row in rows}
    if missing := [symbol for symbol in symbols if symbol not in found]:
        if (named := await _spelled(warehouse, symbols)) != symbols:
            return await _freshness(warehouse, named, timeframe, as_of, asset_class)
        raise await _unknown(warehouse, missing[0], timeframe)
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
    return _Freshness(series, max(known, default=None), any(stale for _, stale in aged), rows[0][4])


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
        row = await warehouse.row(questions.SHARES_TODAY, key)
    else:
        row = await warehouse.row(questions.SHARES_THEN, (as_of, *key))
    return questions.shares_of(row)


async def _spelled(warehouse: Warehouse, symbols: list[str]) -> list[str]:
    """The symbols as the warehouse spells them, in order, each once: `aapl` is AAPL."""
    known = (await warehouse.row(queries.KNOWN, {"symbol": ""}) or ([],))[0] or []
    return sorted({reading.spelled(symbol, known) for symbol in symbols})


async def _unknown(warehouse: Warehouse, symbol: str, timeframe: str | None = None) -> HTTPException:
    """The 404 that says what there is."""
    symbols, timeframes = await warehouse.row(queries.KNOWN, {"symbol": symbol}) or (None, None)
    if timeframes:
        there = ", ".join(name for name in TIMEFRAMES if name in timeframes)
        return HTTPException(404, f"{symbol} has no {timeframe} bars; there are {there}")
    return HTTPException(404, reading.unknown_symbol(symbol[:100], symbols or []))


class _Remembered:
    """One answer for everybody who asks within so many seconds."""

    def __init__(self, ask: Callable[[], Awaitable[Any]], seconds: float) -> None:
        import asyncio

        self._ask, self._seconds = ask, seconds
        self._until, self._answer = 0.0, None
        self._asking = asyncio.Lock()

    async def get(self) -> Any:
        async with self._asking:
            if time.monotonic() >= self._until:
                self._answer = await self._ask()
                self._until = time.monotonic() + self._seconds
            return self._answer


# ------------------------------------------------------------ answers


def _json(text: str, headers: dict[str, str] | None = None) -> Response:
    return Response(text.encode(), media_type="application/json", headers=headers or {"Cache-Control": "no-store"})


async def _exported(
    warehouse: Warehouse,
    format: str,
    shape: queries.Shape,
    values: dict[str, Any],
    headers: dict[str, str],
    reader: str,
) -> Response:
    """A file, streamed. The first piece is there before the status is sent, so that an error still has one."""
    is_csv = format == "csv"
    statement = queries.copy(shape, has_limit=values["limit"] is not None, header=is_csv)

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


async def _refuse_input(request: Request, error: Exception) -> Response:
    """422, with a sentence instead of a list of lists."""
    assert isinstance(error, RequestValidationError)
    problems = "; ".join(f"{item['loc'][-1]}: {item['msg'][:1].lower()}{item['msg'][1:]}" for item in error.errors())
    return JSONResponse({"detail": problems}, 422)


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, StarletteHTTPException)
    return JSONResponse({"detail": redact(str(error.detail))}, error.status_code, headers=error.headers)


async def _unexpected(request: Request, error: Exception) -> Response:
    """500: what went wrong is in the log, and not for strangers."""
    return JSONResponse({"detail": "unexpected error; the server's log has it"}, 500)


_PROBLEM: dict[str, Any] = {"model": answers.Problem, "description": "The warehouse cannot be read now"}
_PROBLEMS: dict[int, str] = {
    304: "The answer you have is the current one",
    401: "No token, or a wrong one",
    403: "The server has no API_TOKEN: triggering is switched off",
    404: "There is no such symbol or series, or nothing is known of it at as_of, or as total return",
    409: "A run is under way",
    422: "A parameter is wrong; the message says which",
}


def _documented(name: str, model: type[answers.Answer], *problems: int, code: int = 200) -> dict[str, Any]:
    """What OpenAPI says of a route beyond its parameters."""
    success: dict[str, Any] = {"model": model, "description": "The run has begun" if code == 202 else "The answer"}
    success["content"] = {"application/json": {}}
    if name in EXAMPLES:
        success["content"] = {"application/json": {"example": EXAMPLES[name]}}
    if name in ("data", "many"):
        success["content"] |= {"text/csv": {"schema": {"type": "string"}}}
        success["content"] |= {"application/vnd.apache.parquet": {"schema": {"type": "string", "format": "binary"}}}
    if name in ("data", "many", "quality"):
        success["headers"] = {
            "ETag": {"description": "send it as If-None-Match", "schema": {"type": "string"}},
            "X-Data-Age-Seconds": {"description": answers.AGE, "schema": {"type": "string"}},
            "X-Is-Stale": {"description": answers.STALE, "schema": {"type": "string", "enum": ["true", "false"]}},
        }
    others: dict[int, Any] = {503: _PROBLEM}
    for problem in problems:
        others[problem] = {"description": _PROBLEMS[problem]} | ({} if problem == 304 else {"model": answers.Problem})
    if 404 in others or 422 in problems:
        others.setdefault(422, {"description": _PROBLEMS[422], "model": answers.Problem})
    return {"responses": {code: success, **others}}
