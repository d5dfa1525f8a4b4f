"""Polygon's reference data: splits, dividends, tickers, the state of the market and its holidays."""

from __future__ import annotations

import base64
import datetime as dt
import math
from fractions import Fraction
from typing import Any
from urllib.parse import parse_qsl, urlencode

from scripts.simulator.bars import (
    DAY,
    HOUR,
    MINUTE,
    NEW_YORK,
    date_of,
    local_midnight,
)
from scripts.simulator.calendar import CLOSES, OPENS, early_closes, nyse
from scripts.simulator.instruments import Instrument
from scripts.simulator.polygon_errors import decoded, request_id
from scripts.simulator.world import Call, Reply, World


def _listing(
    call: Call, rows: list[dict[str, Any]], default_sort: str, default_order: str, default_limit: int
) -> Reply:
    """A v3 reference answer: filters by field (and .gt .gte .lt .lte), sort, order, limit, next_url with a cursor."""
    options = dict(parse_qsl(decoded(call.query["cursor"]))) if "cursor" in call.query else dict(call.query)
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
    reverse = call.query.get("reverse_split", "").lower()
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
        if s.effective <= horizon and (not reverse or (s.old > s.new) == (reverse == "true"))
    ]
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
    is_delisted = i.delisted is not None and i.delisted <= today
    row: dict[str, Any] = {"ticker": i.symbol, "name": i.name, "market": "stocks", "locale": "us"}
    if i.security == "INDEX":
        row |= {"market": "indices", "active": not is_delisted, "source_feed": "CME"}
    elif i.kind == "stock":
        row |= {"primary_exchange": i.exchange, "type": i.security, "active": not is_delisted, "currency_name": "usd"}
    else:
        row |= {"market": "crypto", "locale": "global", "active": not is_delisted, "currency_symbol": "USD"}
        row |= {"currency_name": "United States dollar", "base_currency_symbol": i.base, "base_currency_name": i.base}
    if is_delisted and i.delisted:
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
