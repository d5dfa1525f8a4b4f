"""The requests of Yahoo again, for `market record`."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlencode

from extract.load.responses import Task
from extract.providers.yahoo.settings import EVENTS, INTERVALS
from extract.symbols.registry import Asset

WHOLE_MARKET = ()


def request_of(task: Task, assets: Sequence[Asset]) -> str:
    """The path and query of a task below the setting that names its host."""
    query = {
        "period1": int(task.start.timestamp()),
        "period2": int(task.end.timestamp()) - 1,
        "interval": INTERVALS.get(task.timeframe or "", ""),
        "includePrePost": "false",
        "events": EVENTS,
    }
    return f"YAHOO_BASE_URL/v8/finance/chart/{task.provider_symbol}?{urlencode(query)}"
