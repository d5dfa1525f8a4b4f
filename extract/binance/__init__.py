"""Binance: spot klines, USD-M futures statistics, and its file archive.

Data flow: tasks -> api.binance.com, fapi.binance.com, data.binance.vision -> raw_binance.responses.

What is older than two days comes from archive files where a file is worth its two requests, the rest over REST. A
geo-block (451) sends spot requests to the keyless market-data mirror and futures requests to the archive.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import reduce

from extract import state
from extract.binance import archive
from extract.binance.asking import Asking, KnownSha, from_archive
from extract.binance.settings import (
    ARCHIVE_AGE,
    ARCHIVE_FILE_ROWS,
    FILE_REVISED_FOR,
    FILES_A_RUN,
    FIRST_FUNDING_REACH,
    FIRST_STATISTICS_REACH,
    FUNDING_REQUESTS_PER_MINUTE,
    FUTURES_KLINES,
    FUTURES_WEIGHT_PER_MINUTE,
    SPOT_KLINES,
    SPOT_WEIGHT_PER_MINUTE,
    STATISTICS,
    STATISTICS_PERIODS,
    STATISTICS_REACH,
    STATISTICS_REQUESTS_PER_MINUTE,
    STATISTICS_ROWS,
)
from extract.budget import WEIGHT_SHARE
from extract.provider import Fetched, Need, Provider
from extract.registry import Asset
from extract.responses import Task
from extract.state import Loaded
from extract.timeframes import STEPS, day_start, floor
from extract.windows import Window, chunks, common, merged, missing


class Binance(Provider):
    NAME = "binance"
    TIMEFRAMES = frozenset(STEPS)
    requests_are_scarce = False

    def __init__(self) -> None:
        super().__init__()
        self._asking = Asking(self.source)

    def close(self) -> None:
        self._asking.close()

    def needs(self, tasks: Sequence[Task]) -> list[Need]:
        files = [task for task in tasks if task.origin == "archive"]
        asked = [task for task in tasks if task.origin != "archive"]
        spot = [task for task in asked if task.endpoint == "bars" and task.via == "spot"]
        futures = [task for task in asked if task.endpoint == "bars" and task.via != "spot"]
        funding = [task for task in asked if task.endpoint == "funding"]
        statistics = [task for task in asked if task.endpoint in STATISTICS]
        now = [task for task in asked if task.endpoint == "open_interest_now"]
        return [
            Need("weight of spot", SPOT_KLINES[2] * len(spot), int(SPOT_WEIGHT_PER_MINUTE * WEIGHT_SHARE)),
            Need(
                "weight of futures",
                FUTURES_KLINES[2] * len(futures) + len(now),
                int(FUTURES_WEIGHT_PER_MINUTE * WEIGHT_SHARE),
            ),
            Need("requests of funding", len(funding), FUNDING_REQUESTS_PER_MINUTE),
            Need("requests of statistics", len(statistics), STATISTICS_REQUESTS_PER_MINUTE),
            Need("requests of files", sum(task.requests for task in files), None),
        ]

    def symbol_of(self, asset: Asset) -> str | None:
        return asset.binance or asset.binance_futures

    def reach(self, timeframe: str) -> timedelta | None:
        return None

    def bar_tasks(self, asset: Asset, timeframe: str, start: datetime, end: datetime, now: datetime) -> list[Task]:
        via = "spot" if asset.binance else "futures"
        task = Task(
            self.NAME, "bars", start, end, asset.symbol, asset.asset_class, self.symbol_of(asset), timeframe, via=via
        )
        files = self._file_windows(start, end, timeframe, now)
        _, rows, _ = SPOT_KLINES if via == "spot" else FUTURES_KLINES
        return [from_archive(task, window) for window in files] + [
            task.part(*window)
            for gap in missing(start, end, merged(files))
            for window in chunks(*gap, rows * STEPS[timeframe])
        ]

    def extra_tasks(
        self, assets: Sequence[Asset], loaded: Loaded, now: datetime, window: Window | None = None
    ) -> list[Task]:
        tasks: list[Task] = []
        for asset in assets:
            if asset.binance_futures:
                base = Task(self.NAME, "", now, now, asset.symbol, asset.asset_class, asset.binance_futures)
                active = asset.active_window()
                tasks += self._funding_tasks(replace(base, endpoint="funding"), loaded, now, active, window)
                tasks += self._statistics_tasks(asset, base, loaded, now, active, window)
        return tasks if window else tasks + self._revision_tasks(assets, now)

    def may_answer(self, task: Task) -> bool:
        # The archive is another host, and REST stands in for each of its files.
        return task.origin == "archive" or super().may_answer(task)

    def fetch(self, task: Task, known_sha: KnownSha) -> Iterator[Fetched]:
        return self._asking.fetch(task, known_sha)

    # --- planning ---

    @staticmethod
    def _file_windows(start: datetime, end: datetime, timeframe: str, now: datetime) -> list[Window]:
        """The months and days of [start, end) that are there as files and worth it."""
        horizon = min(end, day_start(now - ARCHIVE_AGE, "crypto"))
        per_day = timedelta(days=1) / STEPS[timeframe]
        files: list[Window] = []
        if per_day * 28 >= ARCHIVE_FILE_ROWS:
            files = [month for month in archive.months(start, horizon) if archive.month_is_published(month[0], now)]
        if per_day >= ARCHIVE_FILE_ROWS:
            files += [day for gap in missing(start, horizon, files) for day in archive.days(*gap)]
        return files

    def _funding_tasks(
        self, task: Task, loaded: Loaded, now: datetime, active: Window, window: Window | None
    ) -> list[Task]:
        """Settled rates: files for whole months, REST for the rest."""
        end = floor(now, "1h", "crypto")
        covered = loaded.covered("funding", task.symbol)
        if window:
            gaps = missing(max(window[0], active[0]), min(window[1], end, active[1]), covered)
        else:
            start = day_start(now - FIRST_FUNDING_REACH, "crypto")
            newest = max((stop for _, stop in covered), default=start)
            reread = day_start(min(newest, end) - ARCHIVE_AGE, "crypto") if covered else start
            gaps = merged([*missing(start, reread, covered), (reread, end)])
            gaps = [(max(begin, active[0]), min(stop, active[1])) for begin, stop in gaps]
        tasks = []
        for begin, stop in gaps:
            horizon = min(stop, day_start(now - ARCHIVE_AGE, "crypto"))
            files = [month for month in archive.months(begin, horizon) if archive.month_is_published(month[0], now)]
            tasks += [from_archive(task, month) for month in files]
            tasks += [task.part(*gap) for gap in missing(begin, stop, files)]
        return tasks

    def _statistics_tasks(
        self, asset: Asset, base: Task, loaded: Loaded, now: datetime, active: Window, window: Window | None
    ) -> list[Task]:
        """Open interest and ratios: a metrics file holds all of them for a day, REST reaches 30 days back."""
        period = next((one for one in STATISTICS_PERIODS if one in asset.timeframes), "1h")
        horizon = day_start(now - ARCHIVE_AGE, "crypto")
        end = floor(now, period, "crypto")
        start = day_start(now - FIRST_STATISTICS_REACH, "crypto")
        if window:
            start, end = window[0], min(window[1], end)
        start, end = max(start, active[0]), min(end, active[1])
        in_all = reduce(common, (loaded.covered(name, asset.symbol, period) for name in STATISTICS))
        covered = merged([*loaded.covered("metrics", asset.symbol), *in_all])
        days = [day for gap in missing(start, min(horizon, end), covered) for day in archive.days(*gap)]
        # The period tells what to ask over REST where a file is missing.
        tasks = [from_archive(replace(base, endpoint="metrics", via=period), day) for day in days]
        earliest = floor(now - STATISTICS_REACH, period, "crypto") + STEPS[period]
        for endpoint in STATISTICS:
            known = merged([*days, *loaded.covered("metrics", asset.symbol)])
            known = merged([*known, *loaded.covered(endpoint, asset.symbol, period)])
            task = replace(base, endpoint=endpoint, timeframe=period)
            tasks += [
                replace(task.part(*part), expires_in=part[0] - earliest)
                for gap in missing(max(start, earliest), end, known)
                for part in chunks(floor(gap[0], period, "crypto"), gap[1], STATISTICS_ROWS * STEPS[period])
            ]
        if not window and active[0] <= now < active[1]:
            tasks.append(replace(base, endpoint="open_interest_now", start=now, end=now))
        return tasks

    def _revision_tasks(self, assets: Sequence[Asset], now: datetime) -> list[Task]:
        """Files that are loaded and may have been replaced since: their CHECKSUM is looked at again."""
        tasks = []
        due = state.files_due(self.NAME, [asset.symbol for asset in assets], now, FILE_REVISED_FOR, FILES_A_RUN)
        for asset in assets:
            for file in due:
                if file.symbol != asset.symbol or file.provider_symbol not in (asset.binance, asset.binance_futures):
                    continue
                via = "spot" if file.endpoint == "bars" and asset.binance else ""
                about = (asset.symbol, asset.asset_class, file.provider_symbol, file.timeframe)
                tasks.append(
                    Task(self.NAME, file.endpoint, *file.window, *about, origin="archive", via=via, purpose="revision")
                )
        return tasks
