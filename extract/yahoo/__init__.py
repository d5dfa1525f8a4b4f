"""Yahoo, through yfinance: bars, splits and dividends in one chart answer.

Data flow: tasks -> yfinance's session (cookie, crumb, browser handshake) -> raw_yahoo.responses.

yfinance's data layer is used and not its `history()`: that returns nulls dropped and days re-stamped, asks once more
per symbol for the time zone, and serves a past range from a cache that never sees a revision.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from extract import http
from extract.bodies import Received, too_large
from extract.provider import Fetched, Provider, examined
from extract.registry import Asset
from extract.responses import Answer, Task
from extract.settings import load as load_settings
from extract.settings import project_directory
from extract.yahoo import helpers
from extract.yahoo.settings import CHART, INTERVALS, REACH

if TYPE_CHECKING:
    from yfinance.data import YfData


class Yahoo(Provider):
    NAME = "yahoo"
    TIMEFRAMES = frozenset(INTERVALS)

    def __init__(self) -> None:
        super().__init__()
        self._timeout = load_settings().yahoo_timeout
        self._start = threading.Lock()
        self._data: YfData | None = None

    def symbol_of(self, asset: Asset) -> str | None:
        return asset.yahoo

    def reach(self, timeframe: str) -> timedelta | None:
        return REACH.get(timeframe)

    def bar_tasks(self, asset: Asset, timeframe: str, start: datetime, end: datetime, now: datetime) -> list[Task]:
        series = (asset.symbol, asset.asset_class, asset.yahoo, timeframe)
        return [Task(self.NAME, "bars", start, end, *series, origin="chart")]

    def fetch(self, task: Task, known_sha: Callable[[Task], str | None]) -> Iterator[Fetched]:
        assert task.timeframe is not None and task.provider_symbol is not None
        interval = INTERVALS[task.timeframe]
        params = {
            "period1": int(task.start.timestamp()),
            # Inclusive on the wire.
            "period2": int(task.end.timestamp()) - 1,
            "interval": interval,
            "includePrePost": "false",
            "events": "div,splits",
        }
        answer = self._ask(CHART + quote(task.provider_symbol), params)
        yield examined(task, answer, lambda body: helpers.chart(body, task, interval))

    def _ask(self, url: str, params: dict[str, Any]) -> Answer:
        data = self._yfinance()

        def send() -> http.Response:
            # After a refused crumb yfinance sends the refusal's text as crumb from then on.
            if data._crumb and " " in data._crumb:
                data._crumb = None
            from yfinance.exceptions import YFRateLimitError

            from extract.yahoo.session import BodyTooLarge

            try:
                return data.get(url, params=params, timeout=self._timeout)
            except YFRateLimitError:
                return data._session.last_chart()
            except BodyTooLarge as answer:
                return Received(200, answer.kept, {}, too_large())

        return self.source.ask(send)

    def _yfinance(self) -> YfData:
        """yfinance's client on our session; imported only when Yahoo is really asked (pandas costs a second)."""
        with self._start:
            if self._data is None:
                import yfinance
                from yfinance.data import YfData

                from extract.yahoo.session import YahooSession

                cache = project_directory() / ".warehouse" / "yfinance"
                cache.mkdir(parents=True, exist_ok=True)
                yfinance.set_tz_cache_location(str(cache))
                base = load_settings().yahoo_base_url
                self._data = YfData(session=YahooSession(str(base).rstrip("/") if base else None))
                # A singleton: an earlier run of this process may have left its crumb.
                self._data._crumb = None
            return self._data
