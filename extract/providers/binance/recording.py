"""The requests of Binance again, for `market record`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from urllib.parse import urlencode

from extract.calendar.timeframes import DAY
from extract.load.responses import Task
from extract.providers.base import milliseconds
from extract.providers.binance import archive
from extract.providers.binance.settings import (
    FUNDING,
    FUTURES_KLINES,
    INTERVALS,
    OPEN_INTEREST_NOW,
    SPOT_KLINES,
    STATISTICS,
)
from extract.symbols.registry import Asset

WHOLE_MARKET = ()


def request_of(task: Task, assets: Sequence[Asset]) -> str:
    """The path and query of a task below the setting that names its host."""
    is_spot = task.endpoint == "bars" and any(
        asset.symbol == task.symbol and asset.names.get("binance") == task.provider_symbol for asset in assets
    )
    task = replace(task, via="spot" if is_spot else "")
    if task.origin == "archive":
        return f"BINANCE_ARCHIVE_BASE_URL{archive.file_path(task)}"
    if task.origin == "stream":
        return f"BINANCE_STREAM_URL/ws/{(task.provider_symbol or '').lower()}@forceOrder"
    query: dict[str, str | int] = {"symbol": task.provider_symbol or ""}
    if task.endpoint == "open_interest_now":
        return f"BINANCE_FUTURES_BASE_URL{OPEN_INTEREST_NOW}?{urlencode(query)}"
    query |= {"startTime": milliseconds(task.start), "endTime": milliseconds(task.end) - 1}
    if task.endpoint == "bars":
        base = "BINANCE_FUTURES_BASE_URL"
        if is_spot:
            base = "BINANCE_DATA_API_BASE_URL" if task.origin == "data_api" else "BINANCE_SPOT_BASE_URL"
        path = (SPOT_KLINES if is_spot else FUTURES_KLINES)[0]
        return f"{base}{path}?{urlencode(query | {'interval': INTERVALS[task.timeframe or DAY]})}"
    if task.endpoint in STATISTICS:
        path = STATISTICS[task.endpoint][0]
        return f"BINANCE_FUTURES_BASE_URL{path}?{urlencode(query | {'period': task.timeframe or ''})}"
    return f"BINANCE_FUTURES_BASE_URL{FUNDING}?{urlencode(query)}"
