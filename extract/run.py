"""`market extract`: plan, ask, load, fall back, and say per series what came of it."""

from __future__ import annotations

import logging
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import dlt

from extract import clock, database, pipeline, planner, registry, settings, state
from extract.binance import Binance
from extract.planner import Series
from extract.polygon import Polygon
from extract.provider import Fetched, Provider
from extract.responses import Row, Task, make_row
from extract.settings import ConfigurationError
from extract.yahoo import Yahoo

PROVIDERS: dict[str, type[Provider]] = {"binance": Binance, "yahoo": Yahoo, "polygon": Polygon}
# Tasks a load package: what a crash can cost, and what a committed step of a long load is.
BATCH = 64

log = logging.getLogger(__name__)


@dataclass
class Outcome:
    """What one series (or one market-wide question) got from one source."""

    name: str
    source: str
    requests: int = 0
    rows: int = 0
    unchanged: int = 0
    errors: list[str] = field(default_factory=list)

    def add(self, row: Row) -> None:
        self.requests += 1
        if row.status == "ok":
            self.rows += row.values["row_count"] or 0
        elif row.status == "unchanged":
            self.unchanged += 1
        else:
            self.errors.append(str(row.values["error"]))

    def __str__(self) -> str:
        if self.errors:
            share = f"{len(self.errors)} of {_count(self.requests, 'request')}"
            return f"{self.name}: {self.source} failed in {share}: {self.errors[0]}"
        if not self.requests:
            return f"{self.name}: nothing to ask {self.source}"
        if self.requests == self.unchanged:
            return f"{self.name}: unchanged at {self.source} ({_count(self.requests, 'request')})"
        return f"{self.name}: {self.rows:,} rows from {self.source} in {_count(self.requests, 'request')}"


@dataclass
class Report:
    """The end of a run: exit code 0, 3 (some series failed) or 1 (all did)."""

    outcomes: list[Outcome] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    done: int = 0

    @property
    def exit_code(self) -> int:
        if not self.failed:
            return 0
        return 3 if self.done else 1


class Run:
    """One run under the lock: its providers, its pipelines, and the rows that came."""

    def __init__(self, providers: dict[str, Provider]) -> None:
        self.run_id = uuid.uuid4().hex
        self.providers = providers
        self.pipelines: dict[str, dlt.Pipeline] = {}
        self.report = Report()
        # Asked before each package: a paused backfill stops between two of them.
        self.is_stopped: Callable[[], bool] = lambda: False

    def fetch_rows(self, provider: Provider, task: Task) -> Iterator[Row]:
        for fetched in provider.fetch(task, state.known_sha):
            yield self._row(fetched)

    def _row(self, fetched: Fetched) -> Row:
        known = state.known_sha(fetched.task) if fetched.parsed else None
        return make_row(self.run_id, fetched.task, fetched.answer, fetched.parsed, known, fetched.error)

    def load(self, source: str, tasks: Sequence[Task]) -> Iterator[list[Row]]:
        """Ask and load, package by package; yields the rows of each package once it is committed."""
        provider = self.providers[source]
        if source not in self.pipelines:
            self.pipelines[source] = pipeline.make(source)
        size = 10 if provider.requests_are_scarce else BATCH
        for position in range(0, len(tasks), size):
            if self.is_stopped():
                return
            rows: list[Row] = []

            def fetch(task: Task, rows: list[Row] = rows) -> Iterator[Row]:
                for row in self.fetch_rows(provider, task):
                    rows.append(row.without_payload())
                    yield row

            pipeline.load(self.pipelines[source], tasks[position : position + size], fetch)
            yield rows


def open_providers(only: str | None = None) -> dict[str, Provider]:
    """The sources that can be asked. One that cannot is named loudly; POLYGON_REQUIRED makes that an error."""
    opened: dict[str, Provider] = {}
    for name, make in PROVIDERS.items():
        if only and name != only:
            continue
        provider = make()
        problem = provider.prepare()
        if problem is None:
            opened[name] = provider
            continue
        if settings.load().polygon_required and name == "polygon":
            raise ConfigurationError(f"{name}: {problem}, and POLYGON_REQUIRED=true")
        log.warning("%s is UNAVAILABLE in this run: %s. The other sources are asked instead.", name, problem)
    return opened


def extract(
    symbols: Sequence[str] = (),
    timeframes: Sequence[str] = (),
    source: str | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
) -> Report:
    """Load what is new for the enabled assets, or all of a given window."""
    assets = registry.select(registry.load(), symbols)
    with database.run_lock("extract"):
        database.create_ops_tables()
        pipeline.create_raw_tables()
        run = Run(open_providers(source))
        now = clock.now()
        coverage = {name: state.covered(name) for name in run.providers}

        def plan(series: Series, name: str) -> list[Task]:
            provider = run.providers[name]
            if start or end:
                return planner.plan_window(series, provider, start or planner.EVER, end or now, now)
            return planner.plan_new(series, provider, coverage[name].get(series.key, []), now)

        extra: dict[str, list[Task]] = defaultdict(list)
        polygon = run.providers.get("polygon")
        if isinstance(polygon, Polygon):
            extra["polygon"] = planner.plan_reference(assets, polygon, state.last_asked("polygon", ["splits"]), now)
        load_series(run, planner.series_of(assets, run.providers, timeframes, source), plan, extra)
        return run.report


def load_series(
    run: Run,
    wanted: Sequence[Series],
    plan: Callable[[Series, str], list[Task]],
    extra: dict[str, list[Task]] | None = None,
) -> None:
    """Load each series from its first source; what a source could not give is asked of the next one."""
    waiting: list[tuple[Series, tuple[str, ...]]] = []
    for series in wanted:
        if series.sources:
            waiting.append((series, series.sources))
        else:
            log.error("%s: no source has it (see assets.csv)", series.name)
            run.report.failed.append(series.name)
    extra = extra or {}
    while waiting or extra:
        still_waiting: list[tuple[Series, tuple[str, ...]]] = []
        for source in run.providers:
            turn = [(series, sources) for series, sources in waiting if sources[0] == source]
            outcomes = _load_from(run, source, [series for series, _ in turn], plan, extra.pop(source, []))
            for series, sources in turn:
                outcome = outcomes[series.name]
                if outcome.errors and sources[1:]:
                    log.warning("%s; asking %s", outcome, sources[1])
                    still_waiting.append((series, sources[1:]))
                    continue
                _close(run.report, outcome)
            for name, outcome in outcomes.items():
                if name not in {series.name for series, _ in turn}:
                    _close(run.report, outcome)
        waiting = still_waiting


def _load_from(
    run: Run, source: str, wanted: Sequence[Series], plan: Callable[[Series, str], list[Task]], extra: Sequence[Task]
) -> dict[str, Outcome]:
    """One source's turn: all its series at once. Returns what each got, by name."""
    outcomes = {series.name: Outcome(series.name, source) for series in wanted}
    tasks = list(extra)
    available = run.providers[source].source.is_available
    for series in wanted:
        planned = plan(series, source)
        # A source that refuses anyway is asked once per series, for the record.
        tasks += planned if available else planned[:1]
    for rows in run.load(source, planner.in_order(tasks)):
        for row in rows:
            name = row.task.series_name
            outcomes.setdefault(name, Outcome(name, source)).add(row)
    return outcomes


def _close(report: Report, outcome: Outcome) -> None:
    """Say what came of a series, once, at its end."""
    report.outcomes.append(outcome)
    if outcome.errors:
        log.error("%s", outcome)
        report.failed.append(outcome.name)
    else:
        log.info("%s", outcome)
        report.done += 1


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
