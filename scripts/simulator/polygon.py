"""Polygon's REST API as docs/reference/providers.md records it."""

from __future__ import annotations

import base64
import datetime as dt
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlencode

import numpy as np
import orjson

from scripts.simulator.bars import (
    DAY,
    NEW_YORK,
    Bars,
    Interval,
    Ints,
    date_of,
    local_midnight,
    window_starts,
)
from scripts.simulator.calendar import CLOSES
from scripts.simulator.encode import Decimal, Text, encode_rows, listed
from scripts.simulator.instruments import Grid, Instrument
from scripts.simulator.polygon_errors import decoded, error, request_id
from scripts.simulator.polygon_reference import (
    adjusted_splits,
    dividends,
    market_holidays,
    market_status,
    splits,
    ticker,
    tickers,
)
from scripts.simulator.world import Call, Reply, World

GRID = Grid(sunday_weeks=True)
SPANS = "second|minute|hour|day|week|month|quarter|year"

DAILY = Interval(1, "day")


def encode(adjusted: bool, clock: Callable[[], int]) -> Callable[[Instrument, Bars], Text]:
    """Rows of range aggregates, each with a comma behind it; vw and n only where the source knows them."""

    def encoder(instrument: Instrument, bars: Bars) -> Text:
        return encode_rows(_cells(instrument.adjusted(bars, clock()) if adjusted else bars, bars.time), len(bars))

    return encoder


def _cells(bars: Bars, times: np.ndarray) -> list[bytes | Decimal]:
    price = bars.price_scale
    cells: list[bytes | Decimal] = [b'{"v":', Decimal(bars.volume, bars.volume_scale, trim=True)]
    if bars.quote is not None:
        traded = np.maximum(bars.volume, 1) / 10**bars.volume_scale
        mean = np.rint(bars.quote / 10**bars.quote_scale / traded * 1e4).astype(np.int64)
        cells += [b',"vw":', Decimal(mean, 4, trim=True)]
    for name, column in (("o", bars.open), ("c", bars.close), ("h", bars.high), ("l", bars.low)):
        cells += [f',"{name}":'.encode(), Decimal(column, price, trim=True)]
    cells += [b',"t":', Decimal(times)]
    if bars.trades is not None:
        cells += [b',"n":', Decimal(bars.trades)]
    return [*cells, b"},"]


def range_aggregates(world: World, call: Call) -> Reply:
    """GET /v2/aggs/ticker/{ticker}/range/{multiplier}/{timespan}/{from}/{to}."""
    part = call.parameters
    ticker, multiplier, unit = part["ticker"], int(part["multiplier"]), part["timespan"]
    cursor = dict(parse_qsl(decoded(call.query.get("cursor", ""))))
    options = {**cursor, **{k: v for k, v in call.query.items() if k in ("adjusted", "sort", "limit")}}
    adjusted = options.get("adjusted", "true").lower() != "false"
    descending = options.get("sort", "asc") == "desc"
    limit = min(int(options.get("limit", "5000")), 50_000)
    if multiplier < 1 or limit < 1:
        return error(400, "'multiplier' and 'limit' must be greater than 0")
    instrument = world.dataset.polygon.get(ticker)
    zone = instrument.zone if instrument else NEW_YORK
    interval = Interval(multiplier, unit)
    try:
        start, end = _bound(part["from"], zone, last=False), _bound(part["to"], zone, last=True)
    except ValueError:
        return error(400, "Could not parse the time parameter: use YYYY-MM-DD or Unix MS Timestamp")
    if start > world.clock():
        return error(403)
    start, end = (int(window_starts(np.array([at]), interval, zone, sunday_weeks=True)[0]) for at in (start, end))
    end += 1  # `to` is inclusive: the window that contains it belongs to the answer
    base = (
        multiplier
        * {"hour": 60, "minute": 1, "second": 1, "day": 1, "week": 5, "month": 21, "quarter": 63, "year": 252}[unit]
    )
    count = max(limit // base, 1)
    times, pieces, following = np.empty(0, np.int64), list[memoryview](), ""
    if instrument:
        style, encoder = f"polygon:{adjusted}", encode(adjusted, world.clock)

        def rows(start: int, end: int, limit: int) -> tuple[Ints, list[memoryview]]:
            return world.rows(call, instrument, interval, GRID, style, encoder, start, end, limit, newest=descending)

        times, pieces = rows(start, end, count)
        if len(times) == count:
            others, _ = rows(start, int(times[0]), 1) if descending else rows(int(times[-1]) + 1, end, 1)
            if len(others):
                following = f"{part['from']}/{others[0]}" if descending else f"{others[0]}/{part['to']}"
    pieces = listed(pieces)
    if instrument and instrument.security == "INDEX":
        pieces = [memoryview(re.sub(rb'"(?:v|vw|n)":[^,}]+,|,"(?:v|vw|n)":[^,}]+', b"", b"".join(pieces)))]
    if descending and pieces:
        pieces = [memoryview(b"},".join(reversed((b"".join(pieces) + b",").split(b"},")[:-1])) + b"}")]
    number = len(times)
    head = orjson.dumps({"ticker": ticker, "queryCount": number * base, "resultsCount": number, "adjusted": adjusted})
    tail: dict[str, Any] = {"status": "OK", "request_id": request_id(call.path, call.query, number), "count": number}
    if following:
        kept = {"adjusted": "false"} if not adjusted else {}
        kept |= {"limit": str(limit), "sort": "desc" if descending else "asc"}
        cursor_text = base64.urlsafe_b64encode(urlencode(kept).encode()).decode().rstrip("=")
        path = f"/v2/aggs/ticker/{ticker}/range/{multiplier}/{unit}/{following}"
        tail["next_url"] = f"{call.base}{path}?cursor={cursor_text}"
    results: list[bytes | memoryview] = [b',"results":[', *pieces, b"]"] if number else []
    return Reply(200, b"".join([head[:-1], *results, b",", orjson.dumps(tail)[1:]]))


def _bound(text: str, zone: str, *, last: bool) -> int:
    """An instant of `from` or `to`: Unix ms, or a date (its first or its last millisecond in the market's zone)."""
    if re.fullmatch(r"\d{4}-\d\d-\d\d", text):
        day = dt.date.fromisoformat(text)
        return local_midnight(day + dt.timedelta(days=1), zone) - 1 if last else local_midnight(day, zone)
    return int(text)


def _day_rows(
    world: World, instruments: list[Instrument], day: dt.date, adjusted: bool, call: Call
) -> list[dict[str, Any]]:
    """One row per instrument for a day, stamped at the END of the session as grouped and prev answers are."""
    rows = []
    for instrument in instruments:
        midnight = local_midnight(day, instrument.zone)
        bars = instrument.bars(DAILY, midnight, midnight + 1, world.clock(), GRID)
        if bars is None or not len(bars):
            continue
        end = midnight + CLOSES if instrument.kind == "stock" else midnight + DAY - 1
        if adjusted:
            bars = instrument.adjusted(bars, world.clock())
        text = encode_rows(_cells(bars, np.array([end])), 1).data
        rows.append({"T": instrument.symbol, **orjson.loads(text[:-1])})
    return rows


def grouped_daily(world: World, call: Call) -> Reply:
    """GET /v2/aggs/grouped/locale/{us|global}/market/{stocks|crypto}/{date}: the whole market in one answer."""
    day = dt.date.fromisoformat(call.parameters["date"])
    kind = "stock" if call.parameters["market"] == "stocks" else "crypto"
    adjusted = call.query.get("adjusted", "true").lower() != "false"
    if day > date_of(world.clock(), NEW_YORK if kind == "stock" else "UTC"):
        return error(403)
    rows = _day_rows(
        world,
        [i for i in world.dataset.polygon.values() if i.kind == kind and i.security != "INDEX"],
        day,
        adjusted,
        call,
    )
    body: dict[str, Any] = {"queryCount": len(rows), "resultsCount": len(rows), "adjusted": adjusted}
    if rows:
        body["results"] = rows
    return Reply.json(200, {**body, "status": "OK", "request_id": request_id(call.path, day), "count": len(rows)})


def previous_day(world: World, call: Call) -> Reply:
    """GET /v2/aggs/ticker/{ticker}/prev: the last session before today."""
    ticker = call.parameters["ticker"]
    adjusted = call.query.get("adjusted", "true").lower() != "false"
    rows: list[dict[str, Any]] = []
    if instrument := world.dataset.polygon.get(ticker):
        today = local_midnight(date_of(world.clock(), instrument.zone), instrument.zone)
        bars = instrument.bars(DAILY, today - 14 * DAY, today, world.clock(), GRID)
        if bars is not None and len(bars):
            rows = _day_rows(world, [instrument], date_of(int(bars.time[-1]), instrument.zone), adjusted, call)
    body: dict[str, Any] = {"ticker": ticker, "queryCount": len(rows), "resultsCount": len(rows), "adjusted": adjusted}
    if rows:
        body["results"] = rows
    return Reply.json(200, {**body, "status": "OK", "request_id": request_id(call.path), "count": len(rows)})


TICKER = r"(?P<ticker>[A-Za-z0-9:.\-]+)"
WINDOW = rf"(?P<multiplier>\d+)/(?P<timespan>{SPANS})/(?P<from>[^/]+)/(?P<to>[^/]+)"
MARKET_DAY = r"(?P<market>stocks|crypto)/(?P<date>\d{4}-\d\d-\d\d)"
ROUTES = [
    (rf"/v2/aggs/ticker/{TICKER}/range/{WINDOW}", "bars", range_aggregates),
    (rf"/v2/aggs/grouped/locale/(?:us|global)/market/{MARKET_DAY}", "grouped_daily", grouped_daily),
    (rf"/v2/aggs/ticker/{TICKER}/prev", "prev", previous_day),
    (r"/v3/reference/splits", "splits", splits),
    (r"/stocks/v1/splits", "splits", adjusted_splits),
    (r"/v3/reference/dividends", "dividends", dividends),
    (r"/v3/reference/tickers", "tickers", tickers),
    (rf"/v3/reference/tickers/{TICKER}", "tickers", ticker),
    (r"/v1/marketstatus/now", "market_status", market_status),
    (r"/v1/marketstatus/upcoming", "market_holidays", market_holidays),
]  # fmt: skip
