"""Yahoo, through yfinance: bars, splits and dividends in one chart answer.

Data flow: tasks -> yfinance's session (cookie, crumb, browser handshake) -> raw_yahoo.responses.

yfinance's data layer is used and not its `history()`: that returns nulls dropped and days re-stamped, asks once more
per symbol for the time zone, and serves a past range from a cache that never sees a revision.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from pydantic import AnyUrl

from extract.calendar.timeframes import DAY
from extract.calendar.windows import Window, merged, missing
from extract.core import clock
from extract.core.settings import load as load_settings
from extract.core.settings import project_directory
from extract.coverage.state import Loaded
from extract.load.responses import Answer, Task
from extract.providers.base import Fetched, Provider, examined
from extract.providers.yahoo import helpers
from extract.providers.yahoo.settings import CHART, EVENTS, EVENTS_DUE, INTERVALS, REACH
from extract.symbols.registry import Asset
from extract.transport import http
from extract.transport.bodies import Received, too_large

if TYPE_CHECKING:
    from extract.providers.yahoo.client import Client


class Yahoo(Provider):
    NAME = "yahoo"
    TIMEFRAMES = frozenset(INTERVALS)

    def __init__(self) -> None:
        super().__init__()
        self._timeout = load_settings().yahoo_timeout
        self._start = threading.Lock()
        self._data: Client | None = None
        # Per ticker, the time from which on this run has asked for its events.
        self._events_asked_from: dict[str, datetime] = {}
        self._listed_until: dict[str, datetime] = {}

    @classmethod
    def urls(cls) -> list[AnyUrl | None]:
        return [load_settings().yahoo_base_url]

    def reach(self, timeframe: str) -> timedelta | None:
        return REACH.get(timeframe)

    def bar_tasks(self, asset: Asset, timeframe: str, start: datetime, end: datetime, now: datetime) -> list[Task]:
        series = (asset.symbol, asset.asset_class, asset.names.get("yahoo"), timeframe)
        until = min(now, asset.active_window()[1])
        # A ticker that is another company's later splits no more.
        self._listed_until[asset.names.get("yahoo") or ""] = until
        requests = 2 if asset.asset_class != "crypto" and end < until - EVENTS_DUE[timeframe] else 1
        return [Task(self.NAME, "bars", start, end, *series, origin="chart", requests=requests)]

    def extra_tasks(
        self, assets: Sequence[Asset], loaded: Loaded, now: datetime, window: Window | None = None
    ) -> list[Task]:
        """In a plain extract: the events after windows of bars that are loaded, where the answer about them failed."""
        if window is not None:
            return []
        tasks = []
        for asset in assets:
            listed_from, listed_to = asset.active_window()
            ends = [
                end
                for timeframe in INTERVALS
                for _, end in loaded.covered("bars", asset.symbol, timeframe)
                if asset.names.get("yahoo") and asset.asset_class != "crypto" and listed_from < end <= listed_to
            ]
            if not ends:
                continue
            asked = merged([*loaded.covered("bars", asset.symbol, DAY), *loaded.covered("events", asset.symbol)])
            tasks += [
                _events(asset.symbol, asset.asset_class, asset.names.get("yahoo"), asset.calendar, start, end)
                for start, end in missing(min(ends), min(now, listed_to), asked)
                if end - start > EVENTS_DUE[DAY]
            ]
        return tasks

    def fetch(self, task: Task, known_sha: Callable[[Task], str | None]) -> Iterator[Fetched]:
        if task.endpoint == "events":
            answer = self._chart(task, INTERVALS[DAY])
            yield examined(task, answer, lambda body: helpers.events(body, task, INTERVALS[DAY]))
            return
        assert task.timeframe is not None
        interval = INTERVALS[task.timeframe]
        fetched = examined(task, self._chart(task, interval), lambda body: helpers.chart(body, task, interval))
        yield fetched
        if fetched.parsed is not None and (events := self._events_after(task)):
            yield from self.fetch(events, known_sha)

    def _events_after(self, task: Task) -> Task | None:
        """What to ask for the splits between a window of bars and now: its prices are divided by them. None for coins,
        for windows up to now, and where this run has asked already."""
        ticker = task.provider_symbol or ""
        with self._start:
            until = self._events_asked_from.get(ticker) or self._listed_until.get(ticker, clock.now())
            if task.asset_class == "crypto" or task.end >= until - EVENTS_DUE[task.timeframe or DAY]:
                return None
            self._events_asked_from[ticker] = task.end
        return _events(task.symbol, task.asset_class, task.provider_symbol, task.calendar, task.end, until)

    def _chart(self, task: Task, interval: str) -> Answer:
        assert task.provider_symbol is not None
        params = {
            "period1": int(task.start.timestamp()),
            # Inclusive on the wire.
            "period2": int(task.end.timestamp()) - 1,
            "interval": interval,
            "includePrePost": "false",
            "events": EVENTS,
        }
        return self._ask(CHART + quote(task.provider_symbol), params)

    def _ask(self, url: str, params: dict[str, Any]) -> Answer:
        data = self.client()

        def send() -> http.Response:
            from yfinance.exceptions import YFRateLimitError

            from extract.providers.yahoo.session import BodyTooLarge

            try:
                return data.get(url, params=params, timeout=self._timeout)
            except YFRateLimitError:
                return data.last_chart()
            except BodyTooLarge as answer:
                return Received(200, answer.kept, {}, too_large())

        return self.source.ask(send)

    def client(self) -> Client:
        """yfinance's, made when it is first needed: importing it takes a second."""
        with self._start:
            if self._data is None:
                from extract.providers.yahoo.client import Client

                base = load_settings().yahoo_base_url
                self._data = Client(
                    str(base).rstrip("/") if base else None, project_directory() / ".warehouse" / "yfinance"
                )
            return self._data


def _events(
    symbol: str | None,
    asset_class: str | None,
    ticker: str | None,
    calendar: str | None,
    start: datetime,
    end: datetime,
) -> Task:
    # A repair: without it bars are left out, and the next plain extract asks again.
    asked = (start, end, symbol, asset_class, ticker)
    return Task("yahoo", "events", *asked, origin="chart", purpose="repair", calendar=calendar)


PROVIDER = Yahoo
