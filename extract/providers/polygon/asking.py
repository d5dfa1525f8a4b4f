"""How Polygon is asked: page by page, each page a row of its own for its own part of the window."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from urllib.parse import quote, urlencode

from extract.calendar import calendars
from extract.calendar.timeframes import WEEK, following
from extract.core.settings import load as load_settings
from extract.load.responses import Answer, BadPayload, Task
from extract.providers.base import Fetched, bad, examined, failed, milliseconds
from extract.providers.polygon import helpers
from extract.providers.polygon.settings import (
    CALENDAR,
    MOST_PAGES,
    NEVER_EMPTY,
    PAGE_LIMIT,
    REFERENCE_PAGE_LIMIT,
    SPANS,
)
from extract.transport import http
from extract.transport.budget import RequestsPerMinute
from extract.transport.http import Source

US = calendars.of(CALENDAR, "stock")
HOLIDAYS_PATH = "/v1/marketstatus/upcoming"
# endpoint -> the date field its rows are filtered and sorted by
DATED = {"splits": "execution_date", "dividends": "ex_dividend_date"}


class Asking:
    """The host, its key and its budget, shared by the threads of a run."""

    def __init__(self, source: Source) -> None:
        chosen = load_settings()
        self._source = source
        self._base = str(chosen.polygon_base_url).rstrip("/")
        self._key = chosen.polygon_api_key.get_secret_value() if chosen.polygon_api_key else None
        per_minute = chosen.polygon_requests_per_minute
        self._budget = RequestsPerMinute(source.name, per_minute) if per_minute else None
        self._session = http.session(connections=16)

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def fetch(self, task: Task) -> Iterator[Fetched]:
        """What comes of a task, but for the market's status."""
        match task.endpoint:
            case "bars":
                yield from self._bars(task)
            case "grouped_daily":
                day = task.start.astimezone(US.zone).date()
                path = f"/v2/aggs/grouped/locale/us/market/stocks/{day}?adjusted=false&include_otc=false"
                answer = self.ask(path, task.may_wait)
                yield examined(task, answer, lambda body: helpers.grouped(body, task))
            case "market_holidays":
                yield examined(task, self.ask(HOLIDAYS_PATH), helpers.market_holidays)
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
            fetched = examined(part, self.ask(path, task.may_wait), page.read)
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
            fetched = examined(part, self.ask(path), lambda body: helpers.reference(body, field, task.provider_symbol))
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
            answer = self.ask(f"/v3/reference/tickers?{query}")
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

    def ask(self, path: str, may_wait: bool = True) -> Answer:
        """One request; `may_wait` for the budget of requests a minute, else the answer is a deferred one."""

        def send() -> http.Response:
            if self._budget:
                self._budget.wait(may_wait=may_wait)
            return http.get(self._session, self._base + path, Authorization=f"Bearer {self._key}")

        budget = self._budget
        return self._source.ask(send, quota=lambda: budget.remaining() if budget else None)
