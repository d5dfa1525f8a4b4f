"""`market extract`: plan, ask, load, fall back, and say per series what came of it."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field
from datetime import datetime

import dlt

from extract import clock, database, demo_mark, gaps, pipeline, planner, registry, settings, state
from extract.binance import Binance
from extract.coinmetrics import CoinMetrics
from extract.planner import Planned, Series
from extract.polygon import Polygon
from extract.progress import Progress
from extract.provider import Fetched, Provider
from extract.registry import Asset
from extract.responses import Row, Task, make_row
from extract.settings import ConfigurationError
from extract.state import Loaded
from extract.windows import Window
from extract.yahoo import Yahoo

# In the order they are asked within a run: those without a small budget first.
PROVIDERS: dict[str, type[Provider]] = {
    "binance": Binance,
    "yahoo": Yahoo,
    "coinmetrics": CoinMetrics,
    "polygon": Polygon,
}
# Tasks a load package: what a crash can cost, and what a committed step of a long load is.
BATCH = 64
SCARCE_BATCH = 10
# Under which an outcome keeps a problem that belongs to no request.
NO_WINDOW: Window = (datetime.max, datetime.max)

log = logging.getLogger(__name__)


@dataclass
class Outcome:
    """What one series (or one question beside the bars) got from one source."""

    name: str
    source: str
    requests: int = 0
    rows: int = 0
    unchanged: int = 0
    absent: int = 0
    is_repair: bool = False
    errors: dict[Window, str] = field(default_factory=dict)

    def add(self, row: Row) -> None:
        window = (row.task.start, row.task.end)
        self.is_repair = row.task.is_repair
        self.requests += 1
        if row.status in ("ok", "unchanged"):
            # Another host, or the file's substitute, has answered what failed before.
            self.errors.pop(window, None)
            self.unchanged += row.status == "unchanged"
            if row.status == "ok" and not row.task.serves:
                self.rows += row.values["row_count"] or 0
        elif row.values["http_status"] == 404 and row.task.origin == "archive":
            self.absent += 1
        else:
            self.errors[window] = str(row.values["error"])

    def __str__(self) -> str:
        asked = _count(self.requests, "request")
        if self.errors:
            first = next(iter(self.errors.values()))
            return f"{self.name}: not all of it from {self.source} ({asked}): {first}"
        if not self.requests:
            return f"{self.name}: nothing to ask {self.source}"
        if self.requests == self.unchanged:
            return f"{self.name}: unchanged at {self.source} ({asked})"
        absent = f", {_count(self.absent, 'file')} not in the archive" if self.absent else ""
        return f"{self.name}: {_count(self.rows, 'row')} from {self.source} in {asked}{absent}"


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

    def close(self, outcome: Outcome) -> None:
        """Say what came of a series, once, at its end."""
        self.outcomes.append(outcome)
        if outcome.errors and outcome.is_repair:
            log.warning("%s", outcome)
        elif outcome.errors:
            log.error("%s", outcome)
            self.failed.append(outcome.name)
        else:
            log.info("%s", outcome)
            self.done += 1


class Run:
    """One run under the lock: its providers, what they have loaded, and the way of their answers into the warehouse."""

    def __init__(self, providers: dict[str, Provider], run_id: str | None = None) -> None:
        self.run_id = run_id or uuid.uuid4().hex
        self.providers = providers
        self.loaded: dict[str, Loaded] = {name: state.loaded(name) for name in providers}
        self.now = clock.now()
        self.report = Report()
        # Asked before each package: a paused backfill stops between two of them.
        self.is_stopped: Callable[[], bool] = lambda: False
        self._pipelines: dict[str, dlt.Pipeline] = {}

    def covered(self, series: Series, source: str) -> list[Window]:
        return self.loaded[source].bars(series.asset.symbol, series.asset.asset_class, series.timeframe)

    def load(self, source: str, tasks: Sequence[Task]) -> Iterator[Row]:
        """Ask and load, package by package; yields the rows (without payloads) once their package is committed."""
        if not tasks:
            return
        provider = self.providers[source]
        if source not in self._pipelines:
            self._pipelines[source] = pipeline.make(source)
        size = SCARCE_BATCH if provider.requests_are_scarce else BATCH
        with Progress(source, len(tasks)) as progress:
            for position in range(0, len(tasks), size):
                if self.is_stopped():
                    log.warning("%s: stopped; what is loaded so far is safe", source)
                    return
                package = tasks[position : position + size]
                rows: list[Row] = []

                def fetch(task: Task, rows: list[Row] = rows) -> Iterator[Row]:
                    for fetched in provider.fetch(task, state.known_sha):
                        row = self._row(fetched)
                        rows.append(row.without_payload())
                        yield row
                    progress.answered()

                pipeline.load(self._pipelines[source], package, fetch)
                progress.committed(len(package), rows)
                yield from rows

    def _row(self, fetched: Fetched) -> Row:
        known = state.known_sha(fetched.task) if fetched.parsed else None
        return make_row(self.run_id, fetched.task, fetched.answer, fetched.parsed, known, fetched.error)


Plan = Callable[[Series, str], Planned]


def extract(
    symbols: Sequence[str] = (),
    timeframes: Sequence[str] = (),
    source: str | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
    within: str | None = None,
) -> Report:
    """Load what is new for the enabled assets, or all of a given window.

    `within` is the id of a pipeline run, which holds the lock already. Raises LockHeld and ConfigurationError.
    """
    assets = registry.select(registry.load(), symbols)
    with nullcontext() if within else database.run_lock("extract"), ExitStack() as stack:
        prepare_warehouse()
        run = Run(open_providers(stack, source), within)
        wanted = planner.series_of(assets, run.providers, timeframes, source)
        window = (start or planner.EVER, end or run.now) if start or end else None
        extra = extra_tasks(run, assets, window)
        if window is None:
            for name, repairs in gaps.repair_tasks(wanted, run.providers, run.loaded, run.now).items():
                extra[name] += repairs
        load_series(run, wanted, extract_plan(run, window), extra)
        return run.report


def extract_plan(run: Run, window: Window | None) -> Plan:
    """What a series asks of a source in `market extract`."""

    def plan(series: Series, source: str) -> Planned:
        provider = run.providers[source]
        if window:
            return planner.plan_windows(series, provider, [window], run.now)
        return planner.plan_new(series, provider, run.covered(series, source), run.now)

    return plan


def extra_tasks(run: Run, assets: Sequence[Asset], window: Window | None) -> dict[str, list[Task]]:
    """What else than bars each source is asked."""
    return {
        name: provider.extra_tasks(assets, run.loaded[name], run.now, window)
        for name, provider in run.providers.items()
    }


def prepare_warehouse() -> None:
    """The schemas and tables that dbt and we expect, also where a source has nothing to do."""
    database.create_ops_tables()
    pipeline.create_raw_tables()


def open_providers(stack: ExitStack, only: str | None = None, check: bool = True) -> dict[str, Provider]:
    """The sources that can be asked. One that cannot is named loudly; POLYGON_REQUIRED makes that an error."""
    demo_mark.refuse_mixing()
    opened: dict[str, Provider] = {}
    for name, make in PROVIDERS.items():
        if (only and name != only) or (name == "coinmetrics" and not settings.load().coinmetrics_enabled):
            continue
        provider = make()
        stack.callback(provider.close)
        problem = provider.prepare() if check else None
        if problem is None:
            opened[name] = provider
        elif settings.load().polygon_required and name == "polygon":
            raise ConfigurationError(f"{problem}, and POLYGON_REQUIRED=true")
        else:
            log.warning("%s is UNAVAILABLE in this run: %s. The other sources are asked instead.", name, problem)
    return opened


def load_series(run: Run, wanted: Sequence[Series], plan: Plan, extra: dict[str, list[Task]]) -> None:
    """Load each series from its first source; what a source could not give is asked of the next one."""
    waiting = {series.name: (series, series.sources) for series in wanted if series.sources}
    for series in wanted:
        if not series.sources:
            log.error("%s: no source has it; see its row in assets.csv", series.name)
            run.report.failed.append(series.name)
    extra = dict(extra)
    while waiting or extra:
        for source in run.providers:
            turn = {name: sources for name, (_, sources) in waiting.items() if sources[0] == source}
            asked = [series for series in wanted if series.name in turn and source in series.sources]
            for outcome in _load_from(run, source, asked, plan, extra.pop(source, [])):
                sources = turn.get(outcome.name, ())
                if outcome.errors and sources[1:]:
                    log.warning("%s; asking %s", outcome, sources[1])
                    waiting[outcome.name] = (waiting[outcome.name][0], sources[1:])
                    continue
                run.report.close(outcome)
                waiting.pop(outcome.name, None)
        extra = {}


def _load_from(run: Run, source: str, wanted: Iterable[Series], plan: Plan, extra: Sequence[Task]) -> list[Outcome]:
    """One source's turn: all its series at once."""
    provider = run.providers[source]
    outcomes: dict[str, Outcome] = {}
    tasks = list(extra)
    is_available = provider.source.is_available
    for series in wanted:
        outcome = outcomes.setdefault(series.name, Outcome(series.name, source))
        planned = plan(series, source)
        if planned.problem:
            outcome.errors[NO_WINDOW] = planned.problem
        # A source that refuses anyway is asked once per series, for the record.
        tasks += planned.tasks if is_available else planned.tasks[:1]
    for row in run.load(source, planner.in_order(provider.combined(tasks))):
        for name in row.task.serves or (row.task.series_name,):
            outcomes.setdefault(name, Outcome(name, source)).add(row)
    return list(outcomes.values())


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
