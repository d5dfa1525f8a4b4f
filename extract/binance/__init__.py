"""Binance: spot klines, USD-M futures statistics, and its file archive.

Data flow: tasks -> api.binance.com, fapi.binance.com, data.binance.vision -> raw_binance.responses.

What is older than two days comes from archive files where a file is worth its two requests, the rest over REST. A
geo-block (451) sends spot requests to the keyless market-data mirror and futures requests to the archive.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import reduce

from extract import clock, http, state
from extract.binance import archive, helpers
from extract.binance.settings import (
    ARCHIVE_AGE,
    ARCHIVE_FILE_ROWS,
    FILE_REVISED_FOR,
    FILES_A_RUN,
    FIRST_FUNDING_REACH,
    FIRST_STATISTICS_REACH,
    FUNDING,
    FUNDING_REQUESTS_PER_MINUTE,
    FUNDING_ROWS,
    FUTURES_KLINES,
    FUTURES_WEIGHT_PER_MINUTE,
    GEO_BLOCKED,
    OPEN_INTEREST_NOW,
    SPOT_KLINES,
    SPOT_WEIGHT_PER_MINUTE,
    STATISTICS,
    STATISTICS_PERIODS,
    STATISTICS_REACH,
    STATISTICS_REQUESTS_PER_MINUTE,
    STATISTICS_ROWS,
)
from extract.budget import WEIGHT_SHARE, Budget, RequestsPerMinute, WeightPerMinute
from extract.http import no_quota
from extract.provider import Fetched, Need, Provider, examined, milliseconds
from extract.registry import Asset
from extract.responses import Answer, BadPayload, Parsed, Task
from extract.settings import load as load_settings
from extract.state import Loaded
from extract.timeframes import STEPS, closed_until, day_start, floor
from extract.windows import Window, chunks, common, merged, missing

KnownSha = Callable[[Task], str | None]


class Binance(Provider):
    NAME = "binance"
    TIMEFRAMES = frozenset(STEPS)
    requests_are_scarce = False

    def __init__(self) -> None:
        super().__init__()
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
        self._spot_weight = WeightPerMinute("binance_spot", SPOT_WEIGHT_PER_MINUTE)
        self._futures_weight = WeightPerMinute("binance_futures", FUTURES_WEIGHT_PER_MINUTE)
        self._funding_budget = RequestsPerMinute("binance_funding", FUNDING_REQUESTS_PER_MINUTE)
        self._statistics_budget = RequestsPerMinute("binance_statistics", STATISTICS_REQUESTS_PER_MINUTE)
        self._session = http.session(connections=16)
        # The hosts that have refused this country (HTTP 451): no question of this run goes there again.
        self._blocked: set[str] = set()
        # Files asked for because a futures request was geo-blocked: one metrics file stands for three endpoints.
        self._substitutes: set[str] = set()
        self._lock = threading.Lock()

    def close(self) -> None:
        self._session.close()

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
        return [_from_archive(task, window) for window in files] + [
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

    def fetch(self, task: Task, known_sha: KnownSha) -> Iterator[Fetched]:
        if task.origin == "archive":
            yield from self._archive_file(task, known_sha)
            return
        for fetched in self._rest(task):
            yield fetched
            if fetched.answer.http_status == GEO_BLOCKED and task.via != "spot":
                yield from self._substitute_files(fetched.task, known_sha)

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
            tasks += [_from_archive(task, month) for month in files]
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
        tasks = [_from_archive(replace(base, endpoint="metrics", via=period), day) for day in days]
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

    # --- asking ---

    def _rest(self, task: Task) -> Iterator[Fetched]:
        if task.endpoint == "bars":
            yield from self._klines(task)
        elif task.endpoint == "funding":
            yield from self._funding(task)
        elif task.endpoint == "open_interest_now":
            query: dict[str, str | int] = {"symbol": task.provider_symbol or ""}
            answer = self._ask(self._futures, OPEN_INTEREST_NOW, query, self._futures_weight)
            yield examined(task, answer, helpers.open_interest_now)
        else:
            path, required = STATISTICS[task.endpoint]
            query = _window_query(task, STATISTICS_ROWS) | {"period": task.timeframe or ""}
            answer = self._ask(self._futures, path, query, self._statistics_budget)
            yield examined(task, answer, lambda body: helpers.objects(body, required, "timestamp"))

    def _klines(self, task: Task) -> Iterator[Fetched]:
        is_spot = task.via == "spot"
        path, rows, weight = SPOT_KLINES if is_spot else FUTURES_KLINES
        query = _window_query(task, rows) | {"interval": task.timeframe or ""}
        now = clock.now()
        if task.timeframe and task.end == closed_until(now, task.timeframe, "crypto"):
            # The newest window shows the running bar too.
            query["endTime"] = milliseconds(now)

        def parse(body: bytes) -> Parsed:
            return helpers.klines(body, task.end)

        def ask(host: str, budget: Budget) -> Answer:
            return self._ask(host, path, query, budget, weight, task.may_wait)

        if not is_spot:
            yield examined(task, ask(self._futures, self._futures_weight), parse)
            return
        if self._spot not in self._blocked:
            fetched = examined(task, ask(self._spot, self._spot_weight), parse)
            yield fetched
            if fetched.answer.http_status != GEO_BLOCKED:
                return
        yield examined(replace(task, origin="data_api"), ask(self._mirror, self._spot_weight), parse)

    def _funding(self, task: Task) -> Iterator[Fetched]:
        """A window of settlements, in as many pages as its contract's interval makes."""
        start = task.start
        while start < task.end:
            part = task.part(start, task.end)
            query = _window_query(part, FUNDING_ROWS)
            answer = self._ask(self._futures, FUNDING, query, self._funding_budget)
            fetched = examined(part, answer, lambda body: helpers.objects(body, "fundingRate", "fundingTime"))
            if not fetched.parsed or fetched.parsed.row_count != FUNDING_ROWS or answer.body is None:
                yield fetched
                return
            start = helpers.newest(answer.body, "fundingTime") + timedelta(milliseconds=1)
            yield replace(fetched, task=part.part(part.start, min(start, task.end)))

    def _substitute_files(self, task: Task, known_sha: KnownSha) -> Iterator[Fetched]:
        """The archive's files for the window of a blocked futures request, each once a run."""
        if task.endpoint == "bars":
            files = [_from_archive(task, day) for day in archive.days(task.start, task.end)]
        elif task.endpoint == "funding":
            first, last = (archive.month_start(one) for one in (task.start, task.end - timedelta(milliseconds=1)))
            files = [_from_archive(task, one) for one in archive.months(first, archive.next_month(last))]
        elif task.endpoint in STATISTICS:
            metrics = replace(task, endpoint="metrics", timeframe=None, via=task.timeframe or "")
            files = [_from_archive(metrics, day) for day in archive.days(day_start(task.start, "crypto"), task.end)]
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
        """A file, if its checksum is new. A file that is not there yet sends bars to REST."""
        path = archive.file_path(task)
        name = path.rsplit("/", 1)[1]
        checked = examined(
            task, self._ask(self._archive, f"{path}.CHECKSUM"), lambda body: Parsed(None, archive.checksum_of(body))
        )
        if not checked.parsed:
            yield checked
            has_rest = task.endpoint == "bars" or self._futures not in self._blocked
            if checked.answer.http_status == 404 and has_rest and not task.purpose:
                for instead in self._instead_of_file(task):
                    yield from self._rest(instead)
            return
        if checked.parsed.sha == known_sha(task):
            yield checked
            return
        answer = self._ask(self._archive, path)
        checksum = checked.parsed.sha
        if not answer.is_success or answer.body is None:
            yield examined(task, answer, lambda body: helpers.klines(body, task.end))
            return
        try:
            yield Fetched(task, answer, archive.contents(answer.body, name, checksum))
        except BadPayload as problem:
            failed = replace(answer, error=str(problem), body=None)
            yield Fetched(task, failed, error=f"{task.name}: {problem}; a later run will ask again")

    def _instead_of_file(self, task: Task) -> list[Task]:
        """The REST tasks for the window of a file that is not there."""
        rest = replace(task, origin="rest", requests=1)
        if task.endpoint == "funding":
            return [rest]
        if task.endpoint == "bars":
            assert task.timeframe is not None
            _, rows, _ = SPOT_KLINES
            return [rest.part(*window) for window in chunks(task.start, task.end, rows * STEPS[task.timeframe])]
        if task.start < clock.now() - STATISTICS_REACH:
            return []
        return [
            replace(rest, endpoint=endpoint, timeframe=task.via, via="").part(*window)
            for endpoint in STATISTICS
            for window in chunks(task.start, task.end, STATISTICS_ROWS * STEPS[task.via])
        ]

    def _ask(
        self,
        host: str,
        path: str,
        query: Mapping[str, str | int] | None = None,
        budget: Budget | None = None,
        weight: int = 1,
        may_wait: bool = True,
    ) -> Answer:
        if host in self._blocked:
            now = clock.now()
            error = f"HTTP {GEO_BLOCKED}: {host} refuses this country, and is not asked again in this run"
            return Answer(now, now, self.source.breaker_state, http_status=GEO_BLOCKED, error=error)

        def send() -> http.Response:
            if budget:
                budget.wait(weight, may_wait)
            response = http.get(self._session, host + path, query, **(self._headers if budget else {}))
            used = response.headers.get("x-mbx-used-weight-1m")
            if used and isinstance(budget, WeightPerMinute):
                budget.observe(int(used))
            return response

        answer = self.source.ask(send, quota=budget.remaining if budget else no_quota)
        if answer.http_status == GEO_BLOCKED:
            self._blocked.add(host)
        return answer


def _from_archive(task: Task, window: Window) -> Task:
    """The task for a file; it takes the checksum's request and its own."""
    return replace(task, start=window[0], end=window[1], origin="archive", requests=2)


def _window_query(task: Task, rows: int) -> dict[str, str | int]:
    return {
        "symbol": task.provider_symbol or "",
        "startTime": milliseconds(task.start),
        "endTime": milliseconds(task.end) - 1,
        "limit": rows,
    }
