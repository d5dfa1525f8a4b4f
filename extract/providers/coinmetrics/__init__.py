"""Coin Metrics' community API: what flows to exchanges, per asset and day.

Data flow: tasks -> community-api.coinmetrics.io -> raw_coinmetrics.responses. Off unless COINMETRICS_ENABLED: the data
are under CC BY-NC 4.0.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

from pydantic import AnyUrl
from pyrate_limiter import Duration, InMemoryBucket, Limiter, Rate, SingleBucketFactory

from extract.calendar.timeframes import day_start
from extract.calendar.windows import Window, missing
from extract.core.settings import load as load_settings
from extract.coverage.state import Loaded
from extract.load.responses import Answer, Task
from extract.providers.base import Fetched, Provider, examined, failed
from extract.providers.coinmetrics import helpers
from extract.providers.coinmetrics.settings import (
    FIRST_REACH,
    METRIC,
    NEVER_EMPTY,
    PAGE_SIZE,
    PATH,
    REQUESTS,
    REVISED_FOR,
    SECONDS,
)
from extract.symbols.registry import Asset
from extract.transport import headers, http


class CoinMetrics(Provider):
    NAME = "coinmetrics"
    # No bars: it is never a source of a series.
    TIMEFRAMES = frozenset()
    requests_are_scarce = False
    requests_per_minute = REQUESTS * 60 // SECONDS

    def __init__(self) -> None:
        super().__init__()
        self._url = str(load_settings().coinmetrics_base_url).rstrip("/") + PATH
        self._session = http.session(connections=8)
        bucket = InMemoryBucket([Rate(REQUESTS, SECONDS * Duration.SECOND)])
        # The library's thread that empties the bucket would outlive the run; a run's requests are few enough to keep.
        self._limiter = Limiter(SingleBucketFactory(bucket, schedule_leak=False))
        self._queue = threading.Lock()
        self._remaining: int | None = None

    @classmethod
    def urls(cls) -> list[AnyUrl | None]:
        return [load_settings().coinmetrics_base_url]

    def close(self) -> None:
        self._session.close()

    def symbol_of(self, asset: Asset) -> str | None:
        return asset.name_at(self.NAME, "exchange_inflow")

    def reach(self, timeframe: str) -> timedelta | None:
        return None

    def bar_tasks(self, asset: Asset, timeframe: str, start: datetime, end: datetime, now: datetime) -> list[Task]:
        """Never planned, for want of bars: it is what `market doctor` tries a symbol with."""
        return [self._task(asset, day_start(start, UTC), day_start(end, UTC))]

    def extra_tasks(
        self, assets: Sequence[Asset], loaded: Loaded, now: datetime, window: Window | None = None
    ) -> list[Task]:
        """One request per asset: the missing days and those before them that may be revised, or the window."""
        today = day_start(now, UTC)
        tasks = []
        for asset in assets:
            if asset.names.get("coinmetrics") is None:
                continue
            active_from, active_to = asset.active_window()
            first = max(today - FIRST_REACH, active_from)
            end = min(today, active_to)
            start = first
            if window:
                start = max(day_start(window[0], UTC), active_from)
                # A day that the window only touches is asked for as a whole.
                end = day_start(min(window[1], end) - timedelta(milliseconds=1), UTC, 1)
            elif covered := loaded.covered("exchange_inflow", asset.symbol):
                gaps = missing(first, end, covered)
                # A day's later runs ask for the window of its first one, so that what has not changed stores nothing.
                new = gaps[0][0] if gaps else end - timedelta(days=1)
                start = max(first, new - REVISED_FOR)
            if start < end:
                tasks.append(self._task(asset, start, end))
        return tasks

    def fetch(self, task: Task, known_sha: Callable[[Task], str | None]) -> Iterator[Fetched]:
        """The pages of a window; each is a row of its own, for its own part of the window."""
        # Times are inclusive; a date means its whole day.
        query: dict[str, str | int] = {
            "assets": task.provider_symbol or "",
            "metrics": METRIC,
            "frequency": "1d",
            "start_time": f"{task.start:%Y-%m-%d}",
            "end_time": f"{task.end - timedelta(milliseconds=1):%Y-%m-%d}",
            "page_size": PAGE_SIZE,
            "paging_from": "start",
        }
        part, tokens = task, set[str]()
        while True:
            may_be_empty = part.end - part.start < NEVER_EMPTY
            parse = partial(helpers.inflows, task=task, may_be_empty=may_be_empty)
            fetched = examined(part, self._ask(query), parse)
            if not fetched.parsed or fetched.answer.body is None:
                yield fetched
                return
            token, newest = helpers.next_page(fetched.answer.body), helpers.newest_day(fetched.answer.body)
            following = newest + timedelta(days=1) if newest else part.start
            if token is None or following >= part.end:
                yield fetched
                return
            if following <= part.start or token in tokens:
                problem = "a page with a next_page_token brings nothing new; the next run asks for the rest"
                yield failed(part, fetched.answer, problem)
                return
            yield replace(fetched, task=part.part(part.start, following))
            part = part.part(following, part.end)
            tokens.add(token)
            query["next_page_token"] = token

    def _task(self, asset: Asset, start: datetime, end: datetime) -> Task:
        return Task(
            self.NAME, "exchange_inflow", start, end, asset.symbol, asset.asset_class, asset.names.get("coinmetrics")
        )

    def _ask(self, query: dict[str, str | int]) -> Answer:
        def send() -> http.Response:
            with self._queue:
                self._limiter.try_acquire("request")
            response = http.get(self._session, self._url, query)
            self._remaining = headers.count(response.headers, "X-RateLimit-Remaining")
            return response

        return self.source.ask(send, quota=lambda: self._remaining)


PROVIDER = CoinMetrics
