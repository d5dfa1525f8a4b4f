"""Polygon's REST API as docs/reference/providers.md records it."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import math
import re
from collections.abc import Callable
from fractions import Fraction
from typing import Any
from urllib.parse import parse_qsl, urlencode

import numpy as np
import orjson

from scripts.simulator.bars import (
    DAY,
    HOUR,
    MINUTE,
    NEW_YORK,
    Bars,
    Interval,
    Ints,
    date_of,
    local_midnight,
    window_starts,
)
from scripts.simulator.calendar import CLOSES, OPENS, early_closes, nyse
from scripts.simulator.encode import Decimal, Text, encode_rows, listed
from scripts.simulator.instruments import Grid, Instrument
from scripts.simulator.world import Call, Reply, World

GRID = Grid(sunday_weeks=True)
SPANS = "second|minute|hour|day|week|month|quarter|year"
UPGRADE = "Please upgrade your plan at https://polygon.io/pricing"
TOO_MANY = (
    "You've exceeded the maximum requests per minute, please wait or upgrade your subscription to continue. "
    "https://polygon.io/pricing"
)
MESSAGES = {
    403: f"Your plan doesn't include this data timeframe. {UPGRADE}",
    404: "Not found.",
    429: TOO_MANY,
    401: "Unknown API Key",
}
DAILY = Interval(1, "day")


def error(status: int, message: str | None = None) -> Reply:
    """An error body: 403 says ``message``, the others ``error``."""
    text = message or MESSAGES.get(status, "Internal server error")
    if status == 403:
        return Reply.json(status, {"status": "NOT_AUTHORIZED", "request_id": request_id(text), "message": text})
    return Reply.json(status, {"status": "ERROR", "request_id": request_id(text), "error": text})


def request_id(*parts: object) -> str:
    """32 hexadecimal digits; the same request has the same id, so that recorded runs compare."""
    return hashlib.md5("|".join(map(str, parts)).encode(), usedforsecurity=False).hexdigest()


def admit(world: World, call: Call) -> Reply | None:
    """Key and rate limit, as checked before any endpoint."""
    bearer = call.headers.get("Authorization", "")
    key = bearer.removeprefix("Bearer ") if bearer.startswith("Bearer ") else call.query.get("apiKey", "")
    if not key:
        return error(401, "API Key was not provided")
    if key not in world.polygon_keys:
        return error(401, "Unknown API Key")
    if not world.polygon_budget.spend(1):
        return error(429)
    return None


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
    cursor = dict(parse_qsl(_decode(call.query.get("cursor", ""))))
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


def _decode(cursor: str) -> str:
    return base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()


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


def _listing(
    call: Call, rows: list[dict[str, Any]], default_sort: str, default_order: str, default_limit: int
) -> Reply:
    """A v3 reference answer: filters by field (and .gt .gte .lt .lte), sort, order, limit, next_url with a cursor."""
    options = dict(parse_qsl(_decode(call.query["cursor"]))) if "cursor" in call.query else dict(call.query)
    for name, wanted in options.items():
        field, _, operator = name.partition(".")
        if field in ("limit", "sort", "order", "apiKey", "offset", "active", "search", "date", "market") or not wanted:
            continue
        rows = [row for row in rows if _passes(row.get(field), operator, wanted)]
    sort = options.get("sort", default_sort)
    rows = sorted(rows, key=lambda row: str(row.get(sort, "")), reverse=options.get("order", default_order) == "desc")
    limit, offset = min(int(options.get("limit", default_limit)), 1000), int(options.get("offset", 0))
    page = rows[offset : offset + limit]
    body: dict[str, Any] = {"results": page, "status": "OK", "request_id": request_id(call.path, options)}
    if default_limit == 100:
        body["count"] = len(page)
    if offset + limit < len(rows):
        kept = {k: v for k, v in options.items() if k not in ("apiKey", "cursor")} | {"offset": str(offset + limit)}
        body["next_url"] = (
            f"{call.base}{call.path}?cursor={base64.urlsafe_b64encode(urlencode(kept).encode()).decode().rstrip('=')}"
        )
    return Reply.json(200, body)


def _passes(value: Any, operator: str, wanted: str) -> bool:
    if isinstance(value, bool):
        return value == (wanted.lower() == "true")
    text = str(value)
    match operator:
        case "gte":
            return text >= wanted
        case "gt":
            return text > wanted
        case "lte":
            return text <= wanted
        case "lt":
            return text < wanted
        case "any_of":
            return text in wanted.split(",")
        case _:
            return text == wanted


def splits(world: World, call: Call) -> Reply:
    """GET /v3/reference/splits; a split is announced (listed) a week before it takes effect."""
    horizon = (world.now() + dt.timedelta(days=7)).date()
    rows = [
        {
            "id": "E" + request_id(i.symbol, s.effective),
            "execution_date": s.effective.isoformat(),
            "split_from": s.old,
            "split_to": s.new,
            "ticker": i.symbol,
        }
        for i in world.dataset.polygon.values()
        for s in i.splits
        if s.effective <= horizon
    ]
    if call.query.get("reverse_split"):
        reverse = call.query["reverse_split"].lower() == "true"
        rows = [row for row in rows if (row["split_from"] > row["split_to"]) == reverse]  # type: ignore[operator]
    return _listing(call, rows, "execution_date", "desc", 10)


def dividends(world: World, call: Call) -> Reply:
    """GET /v3/reference/dividends; declared a month before the ex-date. Amounts are per share as traded."""
    horizon = (world.now() + dt.timedelta(days=30)).date()
    rows = [
        {
            "id": "E" + request_id(i.symbol, d.ex_date, "dividend"),
            "cash_amount": float(d.amount),
            "currency": "USD",
            "declaration_date": (d.ex_date - dt.timedelta(days=30)).isoformat(),
            "dividend_type": kind,
            "ex_dividend_date": d.ex_date.isoformat(),
            "frequency": 4,
            "pay_date": (d.ex_date + dt.timedelta(days=14)).isoformat(),
            "record_date": (d.ex_date + dt.timedelta(days=2)).isoformat(),
            "ticker": i.symbol,
        }
        for i in world.dataset.polygon.values()
        for kind, d in [*(("CD", one) for one in i.dividends), *(("LT", one) for one in i.capital_gains)]
        if d.ex_date <= horizon
    ]
    return _listing(call, rows, "ex_dividend_date", "desc", 10)


def adjusted_splits(world: World, call: Call) -> Reply:
    """GET /stocks/v1/splits: as v3, plus the factor that brings earlier prices into today's shares."""
    rows = []
    for instrument in world.dataset.polygon.values():
        known = [s for s in instrument.splits if s.effective <= (world.now() + dt.timedelta(days=7)).date()]
        for split in known:
            later = math.prod((s.ratio for s in known if s.effective >= split.effective), start=Fraction(1))
            rows.append(
                {
                    "id": "E" + request_id(instrument.symbol, split.effective),
                    "ticker": instrument.symbol,
                    "execution_date": split.effective.isoformat(),
                    "split_from": split.old,
                    "split_to": split.new,
                    "adjustment_type": "forward_split" if split.new > split.old else "reverse_split",
                    "historical_adjustment_factor": float(1 / later),
                }
            )
    return _listing(call, rows, "execution_date", "desc", 10)


def tickers(world: World, call: Call) -> Reply:
    """GET /v3/reference/tickers; `active` (default true) splits listed from delisted ones, on `date` or now."""
    date = call.query.get("date")
    seen = local_midnight(dt.date.fromisoformat(date), NEW_YORK) + DAY if date else world.clock()
    rows = [_ticker(i, seen) for i in world.dataset.polygon.values() if i.first <= seen]
    active = call.query.get("active", "true").lower() == "true"
    rows = [row for row in rows if row["active"] == active]
    if market := call.query.get("market"):
        rows = [row for row in rows if row["market"] == market]
    if search := call.query.get("search"):
        rows = [row for row in rows if search.lower() in (row["ticker"] + row["name"]).lower()]
    return _listing(call, rows, "ticker", "asc", 100)


def ticker(world: World, call: Call) -> Reply:
    """GET /v3/reference/tickers/{ticker}."""
    instrument = world.dataset.polygon.get(call.parameters["ticker"])
    if instrument is None:
        body = {"status": "NOT_FOUND", "request_id": request_id(call.path), "message": "Ticker not found."}
        return Reply.json(404, body)
    row = _ticker(instrument, world.clock())
    row["list_date"] = date_of(instrument.first, instrument.zone).isoformat()
    return Reply.json(200, {"request_id": request_id(call.path), "results": row, "status": "OK"})


def _ticker(i: Instrument, seen: int) -> dict[str, Any]:
    today = date_of(seen, "UTC")
    gone = i.delisted is not None and i.delisted <= today
    row: dict[str, Any] = {"ticker": i.symbol, "name": i.name, "market": "stocks", "locale": "us"}
    if i.security == "INDEX":
        row |= {"market": "indices", "active": not gone, "source_feed": "CME"}
    elif i.kind == "stock":
        row |= {"primary_exchange": i.exchange, "type": i.security, "active": not gone, "currency_name": "usd"}
    else:
        row |= {"market": "crypto", "locale": "global", "active": not gone, "currency_symbol": "USD"}
        row |= {"currency_name": "United States dollar", "base_currency_symbol": i.base, "base_currency_name": i.base}
    if gone and i.delisted:
        row["delisted_utc"] = f"{i.delisted.isoformat()}T00:00:00Z"
    row["last_updated_utc"] = f"{today.isoformat()}T00:00:00Z"
    return row


def market_status(world: World, call: Call) -> Reply:
    """GET /v1/marketstatus/now."""
    from zoneinfo import ZoneInfo

    now = world.now().astimezone(ZoneInfo(NEW_YORK))
    state, early, after = "closed", False, False
    if nyse().is_session(now.date().isoformat()):
        wall = now.hour * HOUR + now.minute * MINUTE
        close = early_closes().get(now.date(), CLOSES)
        early, after = 4 * HOUR <= wall < OPENS, close <= wall < 20 * HOUR
        state = "open" if OPENS <= wall < close else "extended-hours" if early or after else "closed"
    return Reply.json(
        200,
        {
            "afterHours": after,
            "currencies": {"crypto": "open", "fx": "open" if now.weekday() < 5 else "closed"},
            "earlyHours": early,
            "exchanges": {"nasdaq": state, "nyse": state, "otc": state},
            "indicesGroups": {"s_and_p": state, "dow_jones": state, "nasdaq": state},
            "market": state,
            "serverTime": now.isoformat(timespec="seconds"),
        },
    )


def market_holidays(world: World, call: Call) -> Reply:
    """GET /v1/marketstatus/upcoming: the next year's closed and half days, a row per exchange, as a bare array."""
    calendar, today = nyse(), world.now().date()
    rows: list[dict[str, Any]] = []
    for ahead in range(365):
        day = today + dt.timedelta(days=ahead)
        if day.weekday() >= 5:
            continue
        row: dict[str, Any] | None = None
        if not calendar.is_session(day.isoformat()):
            row = {"date": day.isoformat(), "name": "Market holiday", "status": "closed"}
        elif (close := early_closes().get(day)) is not None:
            midnight = local_midnight(day, NEW_YORK)
            row = {"date": day.isoformat(), "name": "Early close", "status": "early-close"}
            row |= {"open": _iso(midnight + OPENS), "close": _iso(midnight + close)}
        if row:
            rows += [{"exchange": exchange, **row} for exchange in ("NYSE", "NASDAQ")]
    return Reply.json(200, rows)


def _iso(at: int) -> str:
    return dt.datetime.fromtimestamp(at / 1000, dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


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
