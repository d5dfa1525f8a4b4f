"""Binance: spot klines, USD-M futures statistics, and its file archive.

Data flow: tasks -> api.binance.com, fapi.binance.com, data.binance.vision -> raw_binance.responses.

What is older than two days comes from archive files where a file is worth its two requests, the rest over REST. A
geo-block (451) sends spot requests to the keyless market-data mirror and futures requests to the archive.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from pydantic import AnyUrl

from extract.calendar.timeframes import A_DAY, STEPS, day_start
from extract.calendar.windows import Window, chunks, merged, missing
from extract.core.settings import load as load_settings
from extract.coverage.state import Loaded
from extract.load.responses import Task
from extract.providers.base import Fetched, Provider, QuotaCost, SettingCheck
from extract.providers.binance import archive, derivatives
from extract.providers.binance.asking import Asking, KnownSha
from extract.providers.binance.derivatives import from_archive
from extract.providers.binance.settings import (
    ARCHIVE_AGE,
    ARCHIVE_FILE_ROWS,
    FUNDING_REQUESTS_PER_MINUTE,
    FUTURES_KLINES,
    FUTURES_WEIGHT_PER_MINUTE,
    INTERVALS,
    SPOT_KLINES,
    SPOT_WEIGHT_PER_MINUTE,
    STATISTICS,
    STATISTICS_REQUESTS_PER_MINUTE,
)
from extract.symbols.registry import Asset
from extract.transport.budget import WEIGHT_SHARE


class Binance(Provider):
    NAME = "binance"
    TIMEFRAMES = frozenset(INTERVALS)
    requests_are_scarce = False

    def __init__(self) -> None:
        super().__init__()
        self._asking = Asking(self.source)

    def close(self) -> None:
        self._asking.close()

    def needs(self, tasks: Sequence[Task]) -> list[QuotaCost]:
        files = [task for task in tasks if task.origin == "archive"]
        asked = [task for task in tasks if task.origin != "archive"]
        spot = [task for task in asked if task.endpoint == "bars" and task.via == "spot"]
        futures = [task for task in asked if task.endpoint == "bars" and task.via != "spot"]
        funding = [task for task in asked if task.endpoint == "funding"]
        statistics = [task for task in asked if task.endpoint in STATISTICS]
        now = [task for task in asked if task.endpoint == "open_interest_now"]
        return [
            QuotaCost("weight of spot", SPOT_KLINES[2] * len(spot), int(SPOT_WEIGHT_PER_MINUTE * WEIGHT_SHARE)),
            QuotaCost(
                "weight of futures",
                FUTURES_KLINES[2] * len(futures) + len(now),
                int(FUTURES_WEIGHT_PER_MINUTE * WEIGHT_SHARE),
            ),
            QuotaCost("requests of funding", len(funding), FUNDING_REQUESTS_PER_MINUTE),
            QuotaCost("requests of statistics", len(statistics), STATISTICS_REQUESTS_PER_MINUTE),
            QuotaCost("requests of files", sum(task.requests for task in files), None),
        ]

    @classmethod
    def urls(cls) -> list[AnyUrl | None]:
        chosen = load_settings()
        return [
            chosen.binance_spot_base_url, chosen.binance_data_api_base_url, chosen.binance_futures_base_url,
            chosen.binance_archive_base_url, chosen.binance_stream_url,
        ]  # fmt: skip

    @classmethod
    def check_settings(cls) -> list[SettingCheck]:
        chosen = load_settings()
        both = (chosen.binance_api_key is None) == (chosen.binance_api_secret is None)
        found = f"{'not set' if chosen.binance_api_key is None else 'set'} (not needed for market data)"
        return [SettingCheck("BINANCE_API_KEY", both, found, "set BINANCE_API_KEY and BINANCE_API_SECRET, or neither")]

    def names_to_try(self, asset: Asset) -> list[Asset]:
        """Again for its futures symbol, which bars alone would not try."""
        if asset.names.keys() >= {"binance", "binance_futures"}:
            futures_only = {column: name for column, name in asset.names.items() if column != "binance"}
            return [asset, replace(asset, names=futures_only)]
        return [asset]

    def reach(self, timeframe: str) -> timedelta | None:
        return None

    def bar_tasks(self, asset: Asset, timeframe: str, start: datetime, end: datetime, now: datetime) -> list[Task]:
        return self._bar_tasks(asset, timeframe, start, end, self._file_windows(start, end, timeframe, now))

    def repair_tasks(self, asset: Asset, timeframe: str, start: datetime, end: datetime, now: datetime) -> list[Task]:
        """Over REST only: files lack hours and whole days that REST has."""
        return self._bar_tasks(asset, timeframe, start, end, [])

    def _bar_tasks(
        self, asset: Asset, timeframe: str, start: datetime, end: datetime, files: list[Window]
    ) -> list[Task]:
        via = "spot" if asset.names.get("binance") else "futures"
        task = Task(
            self.NAME, "bars", start, end, asset.symbol, asset.asset_class, self.symbol_of(asset), timeframe, via=via
        )
        _, rows, _ = SPOT_KLINES if via == "spot" else FUTURES_KLINES
        return [from_archive(task, window) for window in files] + [
            task.part(*window)
            for gap in missing(start, end, merged(files))
            for window in chunks(*gap, rows * STEPS[timeframe])
        ]

    def extra_tasks(
        self, assets: Sequence[Asset], loaded: Loaded, now: datetime, window: Window | None = None
    ) -> list[Task]:
        return derivatives.tasks(self.NAME, assets, loaded, now, window)

    def may_answer(self, task: Task) -> bool:
        # The archive is another host, and REST replaces each of its files.
        return task.origin == "archive" or super().may_answer(task)

    def fetch(self, task: Task, known_sha: KnownSha) -> Iterator[Fetched]:
        return self._asking.fetch(task, known_sha)

    # --- planning ---

    @staticmethod
    def _file_windows(start: datetime, end: datetime, timeframe: str, now: datetime) -> list[Window]:
        """The months and days of [start, end) that are there as files and worth it."""
        horizon = min(end, day_start(now - ARCHIVE_AGE, UTC))
        per_day = A_DAY / STEPS[timeframe]
        files: list[Window] = []
        if per_day * 28 >= ARCHIVE_FILE_ROWS:
            files = [month for month in archive.months(start, horizon) if archive.month_is_published(month[0], now)]
        if per_day >= ARCHIVE_FILE_ROWS:
            files += [day for gap in missing(start, horizon, files) for day in archive.days(*gap)]
        return files


PROVIDER = Binance
