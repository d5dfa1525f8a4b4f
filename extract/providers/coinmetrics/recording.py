"""The requests of Coin Metrics again, for `market record`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from urllib.parse import urlencode

from extract.load.responses import Task
from extract.providers.coinmetrics.settings import METRIC, PATH
from extract.symbols.registry import Asset

WHOLE_MARKET = ()


def request_of(task: Task, assets: Sequence[Asset]) -> str:
    """The path and query of a task below the setting that names its host."""
    query = {
        "assets": task.provider_symbol or "",
        "metrics": METRIC,
        "frequency": "1d",
        "start_time": f"{task.start:%Y-%m-%d}",
        "end_time": f"{task.end - timedelta(milliseconds=1):%Y-%m-%d}",
    }
    return f"COINMETRICS_BASE_URL{PATH}?{urlencode(query)}"
