"""Polygon: aggregates and reference data.

Data flow: tasks -> api.polygon.io -> raw_polygon.responses. Prices are asked for as traded (`adjusted=false`): a later
split would otherwise rewrite the whole history.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from math import ceil
from urllib.parse import quote, urlencode

import psycopg
from pydantic import AnyUrl

from extract.calendar import calendars
from extract.calendar.timeframes import A_DAY, DAY, STEPS, WEEK, day_start, following
from extract.calendar.windows import Window, merged, missing
from extract.core.settings import load as load_settings
from extract.coverage.state import Loaded
from extract.load.responses import Answer, BadPayload, Task
from extract.providers.base import Fetched, Provider, SettingCheck, bad, examined, failed, milliseconds
from extract.providers.polygon import helpers
from extract.providers.polygon.settings import (
    ANNOUNCED_AHEAD,
    ANNOUNCED_LATE,
    CALENDAR,
    CRYPTO_MINUTES_A_DAY,
    MARKET_WIDE_FROM,
    MOST_PAGES,
    NEVER_EMPTY,
    PAGE_LIMIT,
    REFERENCE_PAGE_LIMIT,
    SCARCE_BELOW,
    SPANS,
    STOCK_MINUTES_A_DAY,
    TICKERS_AGE,
)
from extract.symbols.registry import Asset
from extract.transport import http
from extract.transport.budget import RequestsPerMinute

US = calendars.of(CALENDAR, "stock")
EVER = datetime(1970, 1, 1, tzinfo=UTC)
STATUS_PATH = "/v1/marketstatus/now"
HOLIDAYS_PATH = "/v1/marketstatus/upcoming"
# endpoint -> the date field its rows are filtered and sorted by
DATED = {"splits": "execution_date", "dividends": "ex_dividend_date"}

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
        self._base = str(chosen.polygon_base_url).rstrip("/")
        self._key = chosen.polygon_api_key.get_secret_value() if chosen.polygon_api_key else None
        per_minute = chosen.polygon_requests_per_minute
        self.requests_are_scarce = 0 < per_minute < SCARCE_BELOW
        self.requests_per_minute = per_minute or None
        self.is_required = chosen.polygon_required
        self._budget = RequestsPerMinute(self.NAME, per_minute) if per_minute else None
        self._session = http.session(connections=16)
        # The answer of the check at start-up, stored as this run's market status.
        self._status: Answer | None = None

    def prepare(self) -> str | None:
        if self._key is None:
            return "POLYGON_API_KEY is not set (get a key and put it into .env)"
        status = self._ask(STATUS_PATH, may_wait=False)
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
        self._session.close()

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
        match task.endpoint:
            case "bars":
                yield from self._bars(task)
            case "grouped_daily":
                day = task.start.astimezone(US.zone).date()
                path = f"/v2/aggs/grouped/locale/us/market/stocks/{day}?adjusted=false&include_otc=false"
                answer = self._ask(path, task.may_wait)
                yield examined(task, answer, lambda body: helpers.grouped(body, task))
            case "market_status":
                answer, self._status = self._status or self._ask(STATUS_PATH), None
                yield examined(task, answer, helpers.market_status)
            case "market_holidays":
                yield examined(task, self._ask(HOLIDAYS_PATH), helpers.market_holidays)
            case "tickers":
                yield from self._tickers(task)
            case _:
                yield from self._dated(task)

    def _bars(self, task: Task) -> Iterator[Fetched]:
        """The pages of a window; each is a row of its own, for its own part of the window. What of the window no page
        brought, although the answers say that there is more, is a failure."""
        assert task.timeframe is not None
        multiplier, span = SPANS[task.timeframe]
        last = task.end - timedelta(milliseconds=1)
        if task.timeframe == WEEK:
            # Polygon's weeks start on Sunday: a window that ends on Monday 00:00 would reach into the next one.
            last = task.end - timedelta(days=2)
        window = f"{milliseconds(task.start)}/{milliseconds(last)}"
        query = urlencode({"adjusted": "false", "sort": "asc", "limit": PAGE_LIMIT})
        name = quote(task.provider_symbol or "", safe=":")
        path: str | None = f"/v2/aggs/ticker/{name}/range/{multiplier}/{span}/{window}?{query}"
        part, asked, newest = task, set[str](), None
        while path:
            asked.add(path)
            page = helpers.Page(task, may_be_empty=newest is not None or task.end - task.start < NEVER_EMPTY)
            fetched = examined(part, self._ask(path, task.may_wait), page.read)
            if not fetched.parsed:
                yield fetched
                return
            came = fetched.parsed.last_at
            if came and newest and came <= newest:
                yield failed(part, fetched.answer, "the page brings nothing new; the next run asks for the rest")
                return
            newest = came or newest
            goes_on = part.start
            if came:
                goes_on = max(part.start, min(following(came, task.timeframe, task.market.zone), part.end))
            try:
                path = self._next_page(helpers.next_page(page.next_url, "/v2/aggs/ticker/", task.provider_symbol))
                problem = "the answer has fewer rows than it says" if page.lacks_rows and not path else None
            except BadPayload as unclear:
                path, problem = None, str(unclear)
            if goes_on == part.end or not (path or problem):
                yield fetched
                return
            begins = helpers.page_start(path) if path else None
            if begins and goes_on <= begins < part.end and not page.lacks_rows:
                # Polygon says itself that nothing lies between.
                goes_on = begins
            if goes_on > part.start:
                yield replace(fetched, task=part.part(part.start, goes_on))
                part = part.part(goes_on, part.end)
            if path and (path in asked or len(asked) >= MOST_PAGES):
                problem = f"its next_url leads in a circle, or to more than {MOST_PAGES} pages"
            if problem:
                yield failed(part, fetched.answer, f"{problem}; the next run asks for the rest")
                return

    def _dated(self, task: Task) -> Iterator[Fetched]:
        """Splits or dividends of a window of days, of one ticker or of the whole market."""
        field = DATED[task.endpoint]
        first, last = (instant.date().isoformat() for instant in (task.start, task.end - timedelta(milliseconds=1)))
        query: dict[str, str | int] = {f"{field}.gte": first, f"{field}.lte": last}
        query |= {"order": "asc", "sort": field, "limit": REFERENCE_PAGE_LIMIT}
        if task.provider_symbol:
            query["ticker"] = task.provider_symbol
        kind = f"/v3/reference/{task.endpoint}"
        path: str | None = f"{kind}?{urlencode(query)}"
        part, pages = task, set[str]()
        while path:
            fetched = examined(part, self._ask(path), lambda body: helpers.reference(body, field, task.provider_symbol))
            if not fetched.parsed or fetched.answer.body is None:
                yield fetched
                return
            if fetched.parsed.sha in pages or len(pages) >= MOST_PAGES:
                problem = "its next_url leads to a page that has come before" if len(pages) < MOST_PAGES else ""
                problem = problem or f"its next_url leads to more than {MOST_PAGES} pages"
                yield failed(part, fetched.answer, f"{kind}: {problem}; the next run asks for the rest")
                return
            pages.add(fetched.parsed.sha)
            try:
                link = helpers.body_of(fetched.answer.body).get("next_url")
                path = self._next_page(helpers.next_page(link, kind))
            except BadPayload as unclear:
                yield bad(part, fetched.answer, str(unclear))
                return
            # The day on which a page ends may go on in the next one.
            newest = helpers.newest_day(fetched.answer.body, field) if path else None
            if newest and part.start < newest < part.end:
                yield replace(fetched, task=part.part(part.start, newest))
                part = part.part(newest, part.end)
            elif path and newest == part.start:
                yield replace(fetched, task=part.part(part.start, part.start))
            elif path:
                yield bad(part, fetched.answer, f"a page with a next_url has no {field} in the window")
                return
            else:
                yield fetched

    def _tickers(self, task: Task) -> Iterator[Fetched]:
        """A ticker's listing; without `active=false` a delisted one is not found."""
        for is_active in ("true", "false"):
            query = urlencode({"ticker": task.provider_symbol, "active": is_active})
            answer = self._ask(f"/v3/reference/tickers?{query}")
            fetched = examined(task, answer, lambda body: helpers.reference(body, "ticker", task.provider_symbol))
            if is_active == "false" or not fetched.parsed or fetched.parsed.row_count:
                yield fetched
                return

    @staticmethod
    def _next_page(path: str | None) -> str | None:
        """The path of the next page; of bars, saying again that prices are as traded, whatever the link says of it."""
        if not path or not path.startswith("/v2/aggs/"):
            return path
        where, _, query = path.partition("?")
        kept = [pair for pair in query.split("&") if pair and pair.partition("=")[0] != "adjusted"]
        return f"{where}?{'&'.join([*kept, 'adjusted=false'])}"

    def _ask(self, path: str, may_wait: bool = True) -> Answer:
        def send() -> http.Response:
            if self._budget:
                self._budget.wait(may_wait=may_wait)
            return http.get(self._session, self._base + path, Authorization=f"Bearer {self._key}")

        budget = self._budget
        return self.source.ask(send, quota=lambda: budget.remaining() if budget else None)


def _trading_days(task: Task) -> Iterator[datetime]:
    """The weekdays of a task's window, each as its midnight in the market."""
    day = day_start(task.start, US.zone)
    while day < task.end:
        if day.astimezone(US.zone).isoweekday() in US.weekdays:
            yield day
        day = day_start(day, US.zone, 1)


PROVIDER = Polygon
