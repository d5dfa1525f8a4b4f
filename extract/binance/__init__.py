"""Binance: spot klines, USD-M futures statistics, and its file archive.

Data flow: tasks -> api.binance.com, fapi.binance.com, data.binance.vision -> raw_binance.responses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta

from extract import http
from extract.binance import helpers
from extract.binance.settings import (
    FUTURES_KLINES,
    FUTURES_WEIGHT_PER_MINUTE,
    SPOT_KLINES,
    SPOT_WEIGHT_PER_MINUTE,
)
from extract.budget import WeightPerMinute
from extract.provider import Fetched, Provider, examined, milliseconds
from extract.registry import Asset
from extract.responses import Answer, Task
from extract.settings import load as load_settings
from extract.timeframes import STEPS


class Binance(Provider):
    NAME = "binance"
    TIMEFRAMES = frozenset(STEPS)
    requests_are_scarce = False

    def __init__(self) -> None:
        super().__init__()
        chosen = load_settings()
        self._spot = str(chosen.binance_spot_base_url).rstrip("/")
        self._futures = str(chosen.binance_futures_base_url).rstrip("/")
        self._spot_weight = WeightPerMinute("binance_spot", SPOT_WEIGHT_PER_MINUTE)
        self._futures_weight = WeightPerMinute("binance_futures", FUTURES_WEIGHT_PER_MINUTE)
        self._session = http.session(connections=16)

    def close(self) -> None:
        self._session.close()

    def symbol_of(self, asset: Asset) -> str | None:
        return asset.binance or asset.binance_futures

    def reach(self, timeframe: str) -> timedelta | None:
        return None

    def bar_tasks(self, asset: Asset, timeframe: str, start: datetime, end: datetime, now: datetime) -> list[Task]:
        _, rows, _ = SPOT_KLINES if asset.binance else FUTURES_KLINES
        tasks = []
        while start < end:
            stop = min(start + rows * STEPS[timeframe], end)
            tasks.append(
                Task(self.NAME, "bars", start, stop, asset.symbol, asset.asset_class, self.symbol_of(asset), timeframe,
                     via="spot" if asset.binance else "futures")
            )  # fmt: skip
            start = stop
        return tasks

    def fetch(self, task: Task, known_sha: Callable[[Task], str | None]) -> Iterator[Fetched]:
        is_spot = task.via == "spot"
        path, rows, weight = SPOT_KLINES if is_spot else FUTURES_KLINES
        params: dict[str, str | int] = {
            "symbol": task.provider_symbol or "",
            "interval": task.timeframe or "",
            "startTime": milliseconds(task.start),
            "endTime": milliseconds(task.end) - 1,
            "limit": rows,
        }
        base, budget = (self._spot, self._spot_weight) if is_spot else (self._futures, self._futures_weight)
        yield examined(task, self._ask(base + path, params, budget, weight), helpers.klines)

    def _ask(self, url: str, params: Mapping[str, str | int], budget: WeightPerMinute, weight: int) -> Answer:
        def send() -> http.Response:
            budget.wait(weight)
            response = http.get(self._session, url, params)
            if used := response.headers.get("x-mbx-used-weight-1m"):
                budget.observe(int(used))
            return response

        return self.source.ask(send, quota=budget.remaining)
