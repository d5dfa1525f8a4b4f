"""Polygon: aggregates and reference data.

Data flow: tasks -> api.polygon.io -> raw_polygon.responses. Prices are asked for as traded (`adjusted=false`): a later
split would otherwise rewrite the whole history.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from math import ceil

import psycopg
from pydantic import AnyUrl

from extract.calendar.timeframes import A_DAY, DAY, STEPS, day_start
from extract.calendar.windows import Window, merged, missing
from extract.core.settings import load as load_settings
from extract.coverage.state import Loaded
from extract.load.responses import Answer, Task
from extract.providers.base import Fetched, Provider, SettingCheck, examined
from extract.providers.polygon import helpers
from extract.providers.polygon.asking import DATED, US, Asking
from extract.providers.polygon.settings import (
    ANNOUNCED_AHEAD,
    ANNOUNCED_LATE,
    CALENDAR,
    CRYPTO_MINUTES_A_DAY,
    MARKET_WIDE_FROM,
    PAGE_LIMIT,
    SCARCE_BELOW,
    SPANS,
    STOCK_MINUTES_A_DAY,
    TICKERS_AGE,
)
from extract.symbols.registry import Asset

EVER = datetime(1970, 1, 1, tzinfo=UTC)
STATUS_PATH = "/v1/marketstatus/now"

# What it has last reported of its tickers: a delisted name brings no more bars.
DELISTED = """
select symbol, provider_symbol, delisted_at
from (
    select distinct on (symbol, provider_symbol)
        symbol, provider_symbol, payload #>> '{results,0,delisted_utc}' as delisted_at
    from raw_polygon.responses
    where
        endpoint = 'tickers' and status = 'ok'
        and _dlt_load_id in (select load_id from raw_polygon._dlt_loads where status = 0)
    order by symbol, provider_symbol, _dlt_load_id desc
) as newest
where delisted_at is not null
"""


class Polygon(Provider):
    NAME = "polygon"
    TIMEFRAMES = frozenset(SPANS)
    HAS_SMALL_BUDGET = True

    def __init__(self) -> None:
        super().__init__()
        chosen = load_settings()
        self._has_key = chosen.polygon_api_key is not None
        per_minute = chosen.polygon_requests_per_minute
        self.requests_are_scarce = 0 < per_minute < SCARCE_BELOW
        self.requests_per_minute = per_minute or None
        self.is_required = chosen.polygon_required
        self._asking = Asking(self.source)
        # The answer of the check at start-up, stored as this run's market status.
        self._status: Answer | None = None

    def prepare(self) -> str | None:
        if not self._has_key:
            return "POLYGON_API_KEY is not set (get a key and put it into .env)"
        status = self._asking.ask(STATUS_PATH, may_wait=False)
        # A budget that other runs have just spent says enough of the key; the status is asked for later.
        self._status = None if status.is_deferred else status
        # Every plan may ask for the market's status: a 403 is no matter of the plan here.
        if status.http_status in (401, 403):
            problem = f"POLYGON_API_KEY is refused (HTTP {status.http_status}): put a valid key into .env"
            self._status = replace(status, error=f"{problem} ({status.error})")
            return problem
        return None

    def refusal(self) -> Fetched | None:
        if self._status is None:
            return None
        moment = self._status.requested_at
        return examined(Task(self.NAME, "market_status", moment, moment), self._status, helpers.market_status)

    def close(self) -> None:
        self._asking.close()

    @classmethod
    def urls(cls) -> list[AnyUrl | None]:
        return [load_settings().polygon_base_url]

    @classmethod
    def plan_per_minute(cls) -> int | None:
        return load_settings().polygon_requests_per_minute or None

    @classmethod
    def check_settings(cls) -> list[SettingCheck]:
        # With POLYGON_REQUIRED its absence is a bad setting, and never comes this far.
        is_set = load_settings().polygon_api_key is not None
        remedy = "put POLYGON_API_KEY into .env; without it Polygon is left out"
        return [SettingCheck("POLYGON_API_KEY", is_set, "set" if is_set else "not set", remedy)]

    @classmethod
    def delisted(cls, connection: psycopg.Connection, assets: Sequence[Asset]) -> list[str]:
        return [
            f"{symbol} ({name}) is delisted since {since[:10]}"
            for symbol, name, since in connection.execute(DELISTED).fetchall()
            for asset in assets
            if (asset.symbol, asset.name_at(cls.NAME)) == (symbol, name) and asset.active_to is None
        ]

    def reach(self, timeframe: str) -> timedelta | None:
        return None

    def bar_tasks(self, asset: Asset, timeframe: str, start: datetime, end: datetime, now: datetime) -> list[Task]:
        minutes = CRYPTO_MINUTES_A_DAY if asset.asset_class == "crypto" else STOCK_MINUTES_A_DAY * 5 / 7
        base_bars = 1 if STEPS[timeframe] >= A_DAY else minutes
        pages = max(1, ceil((end - start) / timedelta(days=1) * base_bars / PAGE_LIMIT))
        series = (asset.symbol, asset.asset_class, asset.names.get("polygon"), timeframe)
        return [Task(self.NAME, "bars", start, end, *series, requests=pages)]

    def extra_tasks(
        self, assets: Sequence[Asset], loaded: Loaded, now: datetime, window: Window | None = None
    ) -> list[Task]:
        """Reference data, none of which depends on a window: each is asked once a day, listings once a week."""
        today = day_start(now, UTC)
        stocks = {
            asset.names.get("polygon"): asset
            for asset in assets
            if asset.names.get("polygon") and asset.asset_class in ("stock", "etf")
        }
        tasks = [Task(self.NAME, "market_status", now, now)]
        if loaded.asked.get(("market_holidays", None, None), EVER) < today:
            tasks.append(Task(self.NAME, "market_holidays", today, today + timedelta(days=365)))
        for endpoint in DATED:
            tasks += self._dated_tasks(endpoint, list(stocks.values()), loaded, today)
        tasks += [
            Task(
                self.NAME,
                "tickers",
                today,
                today + TICKERS_AGE,
                asset.symbol,
                asset.asset_class,
                asset.names.get("polygon"),
            )
            for asset in stocks.values()
            if loaded.asked.get(("tickers", asset.symbol, None), EVER) <= now - TICKERS_AGE
        ]
        return tasks

    def _dated_tasks(self, endpoint: str, stocks: list[Asset], loaded: Loaded, today: datetime) -> list[Task]:
        """All of a ticker's splits or dividends at first; then what is new, of the whole market where that is less."""
        end = today + ANNOUNCED_AHEAD
        wide_asked = loaded.asked.get((endpoint, None, None), EVER)
        tasks, due = [], []
        for asset in stocks:
            own_asked = loaded.asked.get((endpoint, asset.symbol, None))
            # Pages that never came: their part of the window stays open.
            known = merged([*loaded.covered(endpoint, asset.symbol), *loaded.covered(endpoint)])
            hole = missing(EVER, min(own_asked, today) - ANNOUNCED_LATE, known) if own_asked and known else []
            task = Task(self.NAME, endpoint, EVER, end, asset.symbol, asset.asset_class, asset.names.get("polygon"))
            if own_asked is None:
                tasks.append(task)
            elif max(own_asked, wide_asked) < today or hole:
                since = day_start(max(own_asked, wide_asked) - ANNOUNCED_LATE, UTC)
                due.append(task.part(min(since, hole[0][0]) if hole else since, end))
        if len(due) >= MARKET_WIDE_FROM:
            return [*tasks, Task(self.NAME, endpoint, min(task.start for task in due), end)]
        return tasks + due

    def combined(self, tasks: list[Task]) -> list[Task]:
        """Days of stocks as whole-market answers, where there are fewer days than symbols."""
        daily = [
            task
            for task in tasks
            if (task.endpoint, task.timeframe, task.purpose) == ("bars", DAY, "")
            and task.asset_class in ("stock", "etf")
            and task.market.zone == US.zone
        ]
        symbols = {task.symbol for task in daily}
        days = sorted({day for task in daily for day in _trading_days(task)})
        if len(symbols) < MARKET_WIDE_FROM or len(days) > len(symbols):
            return tasks
        serves = tuple(sorted({task.series_name for task in daily}))
        may_wait = all(task.may_wait for task in daily)
        whole = [
            Task(
                self.NAME, "grouped_daily", day, day_start(day, US.zone, 1),
                timeframe=DAY, calendar=CALENDAR, serves=serves, may_wait=may_wait,
            )
            for day in days
        ]  # fmt: skip
        return [task for task in tasks if task not in daily] + whole

    def fetch(self, task: Task, known_sha: Callable[[Task], str | None]) -> Iterator[Fetched]:
        if task.endpoint == "market_status":
            answer, self._status = self._status or self._asking.ask(STATUS_PATH), None
            yield examined(task, answer, helpers.market_status)
        else:
            yield from self._asking.fetch(task)


def _trading_days(task: Task) -> Iterator[datetime]:
    """The weekdays of a task's window, each as its midnight in the market."""
    day = day_start(task.start, US.zone)
    while day < task.end:
        if day.astimezone(US.zone).isoweekday() in US.weekdays:
            yield day
        day = day_start(day, US.zone, 1)


PROVIDER = Polygon
