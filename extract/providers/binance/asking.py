"""How Binance's hosts are asked: page by page over REST, file by file from the archive, and what replaces what.

The archive is another host than the API: it has a breaker and a block of its own, and whatever is wrong with one of its
files is a warning, because the API is asked for the same window in the same run.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from extract.calendar.timeframes import STEPS, day_start, floor
from extract.calendar.windows import chunks
from extract.core import clock
from extract.core.settings import load as load_settings
from extract.load.responses import Answer, Parsed, Task
from extract.providers.base import Fetched, bad, examined, failed, milliseconds
from extract.providers.binance import archive, derivatives, helpers
from extract.providers.binance.derivatives import from_archive
from extract.providers.binance.holes import holes
from extract.providers.binance.settings import (
    FUNDING,
    FUNDING_INTERVAL,
    FUNDING_REQUESTS_PER_MINUTE,
    FUNDING_ROWS,
    FUTURES_KLINES,
    FUTURES_WEIGHT_PER_MINUTE,
    GEO_BLOCKED,
    INTERVALS,
    MOST_PAGES,
    OPEN_INTEREST_NOW,
    SPOT_KLINES,
    SPOT_WEIGHT_PER_MINUTE,
    STATISTICS,
    STATISTICS_PERIOD,
    STATISTICS_REQUESTS_PER_MINUTE,
    STATISTICS_ROWS,
)
from extract.transport import headers, http
from extract.transport.budget import Budget, RequestsPerMinute, WeightPerMinute
from extract.transport.http import Source, no_quota

KnownSha = Callable[[Task], str | None]
INSTANT = timedelta(milliseconds=1)


class Asking:
    """The hosts, their budgets and what they refuse, shared by the threads of a run."""

    def __init__(self, source: Source) -> None:
        chosen = load_settings()
        self._spot, self._mirror, self._futures, self._archive = (
            str(url).rstrip("/")
            for url in (
                chosen.binance_spot_base_url,
                chosen.binance_data_api_base_url,
                chosen.binance_futures_base_url,
                chosen.binance_archive_base_url,
            )
        )
        key = chosen.binance_api_key
        self._headers = {"X-MBX-APIKEY": key.get_secret_value()} if key else {}
        self._source, self._files = source, Source(f"{source.name}_archive")
        self._spot_weight = WeightPerMinute("binance_spot", SPOT_WEIGHT_PER_MINUTE)
        self._futures_weight = WeightPerMinute("binance_futures", FUTURES_WEIGHT_PER_MINUTE)
        self._funding_budget = RequestsPerMinute("binance_funding", FUNDING_REQUESTS_PER_MINUTE)
        self._statistics_budget = RequestsPerMinute("binance_statistics", STATISTICS_REQUESTS_PER_MINUTE)
        self._session = http.session(connections=16)
        # The hosts that have refused this country (HTTP 451): no question of this run goes there again.
        self._blocked: set[str] = set()
        # Files asked for because a futures request was geo-blocked: one metrics file replaces three endpoints.
        self._substitutes: set[str] = set()
        self._lock = threading.Lock()

    def close(self) -> None:
        self._session.close()

    def fetch(self, task: Task, known_sha: KnownSha) -> Iterator[Fetched]:
        """Ask, page by page, and whatever else can answer where the answer is no good."""
        if task.origin == "archive":
            yield from self._archive_file(task, known_sha)
            return
        for fetched in self._rest(task):
            yield fetched
            if fetched.answer.http_status == GEO_BLOCKED and task.via != "spot":
                yield from self._substitute_files(fetched.task, known_sha)

    # --- REST ---

    def _rest(self, task: Task) -> Iterator[Fetched]:
        if task.endpoint == "bars":
            assert task.timeframe is not None
            step = STEPS[task.timeframe]
            # A bar is there as soon as it closes, also one without trades: whatever is missing may be on another page.
            yield from _pages(task, self._klines, step, step)
        elif task.endpoint == "funding":
            yield from _pages(task, self._funding, INSTANT, FUNDING_INTERVAL)
        elif task.endpoint == "open_interest_now":
            query: dict[str, str | int] = {"symbol": task.provider_symbol or ""}
            answer = self._ask(self._futures, OPEN_INTEREST_NOW, query, self._futures_weight)
            yield examined(task, answer, lambda body: helpers.open_interest_now(body, task))
        else:
            period = STEPS[task.timeframe or STATISTICS_PERIOD]
            # The newest samples appear some minutes late.
            yield from _pages(task, self._statistics, period, 3 * period)

    def _klines(self, part: Task) -> Iterator[Fetched]:
        is_spot = part.via == "spot"
        path, rows, weight = SPOT_KLINES if is_spot else FUTURES_KLINES
        query = _window_query(part, rows) | {"interval": INTERVALS[part.timeframe or ""]}
        now, asked_end = clock.now(), part.end
        if part.timeframe and part.end == floor(now, part.timeframe, UTC):
            # The newest window shows the running bar too.
            query["endTime"], asked_end = milliseconds(now), now + INSTANT

        def parse(body: bytes) -> Parsed:
            return helpers.klines(body, part, asked_end)

        def ask(host: str, budget: Budget) -> Answer:
            return self._ask(host, path, query, budget, weight, part.may_wait)

        if not is_spot:
            yield examined(part, ask(self._futures, self._futures_weight), parse)
            return
        if self._spot not in self._blocked:
            fetched = examined(part, ask(self._spot, self._spot_weight), parse)
            yield fetched
            if fetched.answer.http_status != GEO_BLOCKED:
                return
        yield examined(replace(part, origin="data_api"), ask(self._mirror, self._spot_weight), parse)

    def _funding(self, part: Task) -> Iterator[Fetched]:
        answer = self._ask(self._futures, FUNDING, _window_query(part, FUNDING_ROWS), self._funding_budget)
        yield examined(part, answer, lambda body: helpers.objects(body, part, "fundingRate", "fundingTime"))

    def _statistics(self, part: Task) -> Iterator[Fetched]:
        path, required = STATISTICS[part.endpoint]
        query = _window_query(part, STATISTICS_ROWS) | {"period": part.timeframe or ""}
        answer = self._ask(self._futures, path, query, self._statistics_budget)
        yield examined(part, answer, lambda body: helpers.objects(body, part, required, "timestamp"))

    # --- the archive ---

    def _substitute_files(self, task: Task, known_sha: KnownSha) -> Iterator[Fetched]:
        """The archive's files for the window of a blocked futures request, each once a run."""
        if task.endpoint == "bars":
            files = [from_archive(task, day) for day in archive.days(task.start, task.end)]
        elif task.endpoint == "funding":
            first, last = (archive.month_start(one) for one in (task.start, task.end - INSTANT))
            files = [from_archive(task, one) for one in archive.months(first, archive.next_month(last))]
        elif task.endpoint in STATISTICS:
            metrics = replace(task, endpoint="metrics", timeframe=None)
            files = [from_archive(metrics, day) for day in archive.days(day_start(task.start, UTC), task.end)]
        else:
            return
        for file in files:
            path = archive.file_path(file)
            with self._lock:
                if path in self._substitutes:
                    continue
                self._substitutes.add(path)
            yield from self._archive_file(file, known_sha)

    def _archive_file(self, task: Task, known_sha: KnownSha) -> Iterator[Fetched]:
        """A file, if its checksum is new. One that is not there, or no good, sends the question to REST."""
        fetched = self._file(task, known_sha)
        has_rest = task.endpoint == "bars" or self._futures not in self._blocked
        instead = self._instead_of_file(task) if has_rest and not fetched.parsed and not task.purpose else []
        # What was never published, or is spoilt for good, is no failure of each run where nothing can replace it.
        is_settled = (fetched.answer.http_status or 500) < 300 or fetched.answer.http_status == 403
        is_replaced = not fetched.parsed and not task.purpose and (bool(instead) or is_settled)
        yield replace(fetched, is_replaced=is_replaced)
        if fetched.parsed and fetched.parsed.payload and has_rest:
            # Files lack hours, days and weeks that REST has.
            instead = [one for hole in holes(task, fetched.parsed) for one in self._instead_of_file(task.part(*hole))]
        for one in instead:
            yield from self._rest(one)

    def _file(self, task: Task, known_sha: KnownSha) -> Fetched:
        path = archive.file_path(task)
        answer = self._ask(self._archive, f"{path}.CHECKSUM")
        file_name = path.rsplit("/", 1)[1]
        checked = examined(task, answer, lambda body: Parsed(None, archive.checksum_of(body, file_name)), is_json=False)
        if not checked.parsed or checked.parsed.sha == known_sha(task):
            return checked
        answer = self._ask(self._archive, path)
        if not answer.is_success or answer.body is None:
            return failed(task, answer, answer.error or "no answer")
        if answer.problem:
            return bad(task, answer, answer.problem)
        try:
            return Fetched(task, answer, archive.contents(answer.body, task, checked.parsed.sha))
        except archive.BadFile as problem:
            if problem.text is not None:
                return bad(task, replace(answer, body=problem.text.encode()), str(problem))
            return failed(task, replace(answer, body=None), f"{problem}; a later run will ask again")

    def _instead_of_file(self, task: Task) -> list[Task]:
        """The REST tasks for the window of a file that is not there."""
        rest = replace(task, origin="rest", requests=1)
        if task.endpoint == "funding":
            return [rest]
        if task.endpoint == "bars":
            assert task.timeframe is not None
            _, rows, _ = SPOT_KLINES
            return [rest.part(*window) for window in chunks(task.start, task.end, rows * STEPS[task.timeframe])]
        return derivatives.over_rest(task, clock.now())

    def _ask(
        self,
        host: str,
        path: str,
        query: Mapping[str, str | int] | None = None,
        budget: Budget | None = None,
        weight: int = 1,
        may_wait: bool = True,
    ) -> Answer:
        source = self._files if host == self._archive else self._source
        if host in self._blocked:
            now = clock.now()
            error = f"HTTP {GEO_BLOCKED}: {host} refuses this country, and is not asked again in this run"
            return Answer(now, now, source.breaker_state, http_status=GEO_BLOCKED, error=error)

        def send() -> http.Response:
            if budget:
                budget.wait(weight, may_wait)
            response = http.get(self._session, host + path, query, **(self._headers if budget else {}))
            used = headers.count(response.headers, "x-mbx-used-weight-1m")
            if used is not None and isinstance(budget, WeightPerMinute):
                budget.observe(used)
            return response

        answer = source.ask(send, quota=budget.remaining if budget else no_quota)
        if answer.http_status == GEO_BLOCKED:
            self._blocked.add(host)
        return answer


def _pages(
    task: Task, ask: Callable[[Task], Iterator[Fetched]], after: timedelta, rest: timedelta
) -> Iterator[Fetched]:
    """A window in as many pages as it takes: on from `after` the last row, as long as rows come and more than `rest`
    of the window may be missing. How many rows a full page has is Binance's to change, and it has lowered caps. So is
    which of them come: before the first row of a page there may be others, as long as rows come there, too."""
    todo = [task]
    for _ in range(MOST_PAGES):
        part = todo.pop()
        first: datetime | None = None
        last: datetime | None = None
        for fetched in ask(part):
            first, last = (fetched.parsed.first_at, fetched.parsed.last_at) if fetched.parsed else (None, None)
            if last is None or last + max(after, rest) > part.end - INSTANT or last + after <= part.start:
                last = None
                yield fetched
            else:
                yield replace(fetched, task=fetched.task.part(part.start, last + after))
        if last is not None:
            todo.append(part.part(last + after, part.end))
        if first is not None and part.start + rest <= first < part.end:
            todo.append(part.part(part.start, first))
        if not todo:
            return
    yield failed(todo[-1], fetched.answer, f"more than {MOST_PAGES} pages; the next run asks for the rest")


def _window_query(task: Task, rows: int) -> dict[str, str | int]:
    return {
        "symbol": task.provider_symbol or "",
        "startTime": milliseconds(task.start),
        "endTime": milliseconds(task.end) - 1,
        "limit": rows,
    }
