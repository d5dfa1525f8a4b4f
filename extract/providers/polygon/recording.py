"""The requests of Polygon again, for `market record`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from urllib.parse import urlencode

from extract.calendar.timeframes import DAY
from extract.load.responses import Task
from extract.providers.base import milliseconds
from extract.providers.polygon import STATUS_PATH
from extract.providers.polygon.asking import DATED, HOLIDAYS_PATH, US
from extract.providers.polygon.settings import PAGE_LIMIT, SPANS
from extract.symbols.registry import Asset

# What answers about the whole market are part of a symbol's story: its days, splits and dividends may be in them.
WHOLE_MARKET = ("grouped_daily", "splits", "dividends", "market_status", "market_holidays")


def request_of(task: Task, assets: Sequence[Asset]) -> str:
    """The path and query of a task below the setting that names its host."""
    return f"POLYGON_BASE_URL{_path(task)}"


def _path(task: Task) -> str:
    if task.endpoint == "bars":
        multiplier, span = SPANS[task.timeframe or DAY]
        window = f"{milliseconds(task.start)}/{milliseconds(task.end) - 1}"
        query = urlencode({"adjusted": "false", "sort": "asc", "limit": PAGE_LIMIT})
        return f"/v2/aggs/ticker/{task.provider_symbol}/range/{multiplier}/{span}/{window}?{query}"
    if task.endpoint == "grouped_daily":
        day = task.start.astimezone(US.zone).date()
        return f"/v2/aggs/grouped/locale/us/market/stocks/{day}?adjusted=false&include_otc=false"
    if field := DATED.get(task.endpoint):
        last = task.end - timedelta(milliseconds=1)
        query = urlencode({f"{field}.gte": f"{task.start:%Y-%m-%d}", f"{field}.lte": f"{last:%Y-%m-%d}"})
        ticker = f"&ticker={task.provider_symbol}" if task.provider_symbol else ""
        return f"/v3/reference/{task.endpoint}?{query}{ticker}"
    if task.endpoint == "tickers":
        return f"/v3/reference/tickers?ticker={task.provider_symbol}"
    return {"market_status": STATUS_PATH, "market_holidays": HOLIDAYS_PATH}.get(task.endpoint, f"/{task.endpoint}")
