"""Coin Metrics' community API v4, asset metrics, as docs/reference/providers.md records it."""

from __future__ import annotations

import base64
import datetime as dt
from typing import Any

import orjson

from scripts.simulator.bars import DAY
from scripts.simulator.faults import spoil_samples
from scripts.simulator.world import Call, Reply, World

METRICS = ("FlowInExNtv", "FlowInExUSD")


def error(status: int, message: str | None = None, kind: str | None = None) -> Reply:
    """`{"error":{"type","message"}}`."""
    kinds = {400: "bad_parameter", 401: "unauthorized", 403: "forbidden", 404: "not_found", 429: "rate_limit_exceeded"}
    body = {"error": {"type": kind or kinds.get(status, "internal"), "message": message or "The request failed."}}
    reply = Reply.json(status, body)
    if status == 429:
        reply.headers |= {"X-RateLimit-Limit": "10", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "6"}
    return reply


def asset_metrics(world: World, call: Call) -> Reply:
    """GET /v4/timeseries/asset-metrics: a row per asset and day, numbers as strings, a page token if there is more."""
    query = call.query
    budget = world.coinmetrics_budget
    allowed = budget.spend(1)
    headers = {
        "X-RateLimit-Limit": "10",
        "X-RateLimit-Remaining": str(max(10 - budget.used, 0)),
        "X-RateLimit-Reset": str(budget.seconds_left()),
        "X-RateLimit-Plan": "community",
    }
    if not allowed:
        reply = error(429, "Too many requests. Community limit is 10 requests per 6 seconds.")
        reply.headers |= headers
        return reply
    assets = [name for name in query.get("assets", "").split(",") if name]
    metrics = [name for name in query.get("metrics", "").split(",") if name]
    for name, values in (("assets", assets), ("metrics", metrics)):
        if not values:
            return error(400, f"Missing required parameter '{name}'.", "missing_parameter")
    known = world.dataset.inflow
    for asset in assets:
        if asset not in known:
            return error(400, f"Bad parameter 'assets'. Value '{asset}' is not supported.")
    for metric in metrics:
        if metric not in METRICS:
            return error(
                403, f"Requested metric '{metric}' with frequency '1d' is not available with supplied credentials."
            )
    if query.get("frequency", "1d") != "1d":
        return error(400, f"Bad parameter 'frequency'. Value '{query['frequency']}' is not supported.")
    try:
        start = _instant(query.get("start_time"), last=False)
        end = _instant(query.get("end_time"), last=True)
        size = int(query.get("page_size", "100"))
    except ValueError as problem:
        return error(400, str(problem))
    if not 1 <= size <= 10_000:
        return error(400, "Bad parameter 'page_size'. Value must be between 1 and 10000.")
    samples: list[tuple[int, dict[str, Any]]] = []
    for asset in sorted(assets):
        inflow = known[asset]
        first = max(start if start is not None else inflow.first, inflow.first)
        last = min(end if end is not None else world.clock(), world.clock())
        for day in range(-(-first // DAY) * DAY, last + 1, DAY):
            if value := inflow.value(day, world.clock()):
                row = {"asset": asset, "time": _iso(day)} | dict(zip(METRICS, value, strict=True))
                samples.append((day, {k: v for k, v in row.items() if k in ("asset", "time", *metrics)}))
    rows = [row for _, row in spoil_samples(samples, call.bar_faults, world.clock())]
    if query.get("format") == "json_stream":
        return Reply(200, b"".join(orjson.dumps(row) + b"\n" for row in rows), headers, "application/x-ndjson")
    token = query.get("next_page_token")
    offset = int(base64.urlsafe_b64decode(token)) if token else 0
    from_start = query.get("paging_from", "end") == "start"
    stop = offset + size if from_start else len(rows) - offset
    page = rows[offset:stop] if from_start else rows[max(stop - size, 0) : stop]
    body: dict[str, Any] = {"data": page}
    if offset + size < len(rows):
        body["next_page_token"] = base64.urlsafe_b64encode(str(offset + size).encode()).decode()
        kept = "&".join(f"{k}={v}" for k, v in query.items() if k != "next_page_token")
        body["next_page_url"] = f"{call.base}{call.path}?{kept}&next_page_token={body['next_page_token']}"
    return Reply(200, orjson.dumps(body), headers)


def _iso(day: int) -> str:
    return dt.datetime.fromtimestamp(day / 1000, dt.UTC).strftime("%Y-%m-%dT00:00:00.000000000Z")


def _instant(text: str | None, *, last: bool) -> int | None:
    """A time parameter, inclusive at both ends; a bare date means all of its day."""
    if not text:
        return None
    if len(text) == 10:
        day = int(dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC).timestamp() * 1000)
        return day + DAY - 1 if last else day
    head, _, fraction = text.rstrip("Z").partition(".")
    moment = dt.datetime.fromisoformat(f"{head}.{fraction[:6]}" if fraction else head)
    return int((moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)).timestamp() * 1000)


ROUTES = [(r"/v4/timeseries/asset-metrics", "exchange_inflow", asset_metrics)]
