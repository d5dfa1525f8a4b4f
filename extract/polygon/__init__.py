"""Polygon: aggregates and reference data.

Data flow: tasks -> api.polygon.io -> raw_polygon.responses. Prices are asked for as traded (`adjusted=false`): a later
split would otherwise rewrite the whole history.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from math import ceil
from urllib.parse import urlencode, urlsplit

from extract import http
from extract.budget import RequestsPerMinute
from extract.polygon import helpers
from extract.polygon.settings import (
    CRYPTO_MINUTES_A_DAY,
    PAGE_LIMIT,
    REFERENCE_PAGE_LIMIT,
    SPANS,
    STOCK_MINUTES_A_DAY,
)
from extract.provider import Fetched, Provider, examined, milliseconds
from extract.registry import Asset
from extract.responses import Answer, Parsed, Task
from extract.settings import load as load_settings


class Polygon(Provider):
    NAME = "polygon"
    TIMEFRAMES = frozenset(SPANS)

    def __init__(self) -> None:
        super().__init__()
        chosen = load_settings()
        self._base = str(chosen.polygon_base_url).rstrip("/")
        self._key = chosen.polygon_api_key.get_secret_value() if chosen.polygon_api_key else None
        per_minute = chosen.polygon_requests_per_minute
        self.requests_are_scarce = 0 < per_minute < 60
        self._budget = RequestsPerMinute(self.NAME, per_minute) if per_minute else None
        self._session = http.session(connections=16)

    def prepare(self) -> str | None:
        if self._key is None:
            return "POLYGON_API_KEY is not set (get a key and put it into .env)"
        answer = self._ask("/v1/marketstatus/now")
        if answer.http_status == 401:
            return "POLYGON_API_KEY is refused (HTTP 401): check the key"
        if not answer.is_success:
            return answer.error
        return None

    def close(self) -> None:
        self._session.close()

    def symbol_of(self, asset: Asset) -> str | None:
        return asset.polygon

    def reach(self, timeframe: str) -> timedelta | None:
        return None

    def bar_tasks(self, asset: Asset, timeframe: str, start: datetime, end: datetime, now: datetime) -> list[Task]:
        minutes = CRYPTO_MINUTES_A_DAY if asset.asset_class == "crypto" else STOCK_MINUTES_A_DAY * 5 / 7
        per_day = 1 if timeframe in ("1d", "1w") else minutes
        pages = max(1, ceil((end - start) / timedelta(days=1) * per_day / PAGE_LIMIT))
        return [
            Task(
                self.NAME, "bars", start, end, asset.symbol, asset.asset_class, self.symbol_of(asset), timeframe,
                requests=pages,
            )
        ]  # fmt: skip

    def split_tasks(self, asset: Asset, start: datetime, end: datetime) -> list[Task]:
        return [Task(self.NAME, "splits", start, end, asset.symbol, asset.asset_class, asset.polygon)]

    def fetch(self, task: Task, known_sha: Callable[[Task], str | None]) -> Iterator[Fetched]:
        if task.endpoint == "bars":
            yield from self._bars(task)
        else:
            yield from self._reference(task)

    def _bars(self, task: Task) -> Iterator[Fetched]:
        assert task.timeframe is not None
        multiplier, span = SPANS[task.timeframe]
        last = task.end - timedelta(milliseconds=1)
        if task.timeframe == "1w":
            # Polygon's weeks start on Sunday: a window that ends on Monday 00:00 would reach into the next one.
            last = task.end - timedelta(days=2)
        path = (
            f"/v2/aggs/ticker/{task.provider_symbol}/range/{multiplier}/{span}"
            f"/{milliseconds(task.start)}/{milliseconds(last)}"
        )
        query = {"adjusted": "false", "sort": "asc", "limit": PAGE_LIMIT}
        following: str | None = f"{path}?{urlencode(query)}"
        start = task.start
        while following:
            fetched = examined(task.part(start, task.end), self._ask(following), helpers.bars)
            following = None
            if fetched.parsed and fetched.answer.body:
                following = helpers.next_page(fetched.answer.body)
                following = following and self._below_base(following)
                following_start = following and helpers.page_start(following)
                if following and following_start and start < following_start < task.end:
                    yield Fetched(task.part(start, following_start), fetched.answer, fetched.parsed)
                    start = following_start
                    if "adjusted=" not in following:
                        following += "&adjusted=false"
                    continue
                following = None
            yield fetched

    def _reference(self, task: Task) -> Iterator[Fetched]:
        field, parse = REFERENCE[task.endpoint]
        first, last = (instant.date().isoformat() for instant in (task.start, task.end - timedelta(milliseconds=1)))
        query: dict[str, str | int] = {f"{field}.gte": first, f"{field}.lte": last}
        query |= {"order": "asc", "sort": field, "limit": REFERENCE_PAGE_LIMIT}
        if task.provider_symbol:
            query["ticker"] = task.provider_symbol
        following: str | None = f"/v3/reference/{task.endpoint}?{urlencode(query)}"
        part = task
        while following:
            fetched = examined(part, self._ask(following), parse)
            yield fetched
            following = None
            if fetched.parsed and fetched.parsed.row_count and fetched.answer.body:
                following = helpers.next_page(fetched.answer.body)
                following = following and self._below_base(following)
                newest = helpers.results_of(fetched.answer.body)[-1][field]
                part = task.part(datetime.fromisoformat(f"{newest}T00:00:00+00:00"), task.end)

    def _below_base(self, path: str) -> str:
        """A next_url's path without the part that the base URL already has."""
        return path.removeprefix(urlsplit(self._base).path)

    def _ask(self, path: str) -> Answer:
        def send() -> http.Response:
            if self._budget:
                self._budget.wait()
            return http.get(self._session, self._base + path, Authorization=f"Bearer {self._key}")

        budget = self._budget
        return self.source.ask(send, quota=lambda: budget.remaining() if budget else None)


def _splits(body: bytes) -> Parsed:
    return helpers.reference(body, "execution_date")


def _dividends(body: bytes) -> Parsed:
    return helpers.reference(body, "ex_dividend_date")


REFERENCE: dict[str, tuple[str, Callable[[bytes], Parsed]]] = {
    "splits": ("execution_date", _splits),
    "dividends": ("ex_dividend_date", _dividends),
}
