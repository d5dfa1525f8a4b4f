"""`market extract`: plan, ask, load, fall back, and say per series what came of it."""

from __future__ import annotations

import itertools
import logging
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from importlib import import_module

import dlt
import psycopg
import pyarrow as pa
from pydantic import AnyUrl

from extract.calendar.timeframes import STEPS
from extract.calendar.windows import Window
from extract.core import clock, database, logs, provenance, settings, sources
from extract.core.locks import Holder
from extract.core.settings import ConfigurationError
from extract.coverage import state
from extract.coverage.state import Known, Loaded
from extract.load import pipeline
from extract.load.outcomes import Outcome, Report
from extract.load.progress import Progress
from extract.load.responses import Row, Task, make_row
from extract.plan import gaps, planner
from extract.plan.planner import Planned, Series
from extract.providers.base import Fetched, Provider, unasked
from extract.symbols import registry
from extract.symbols.registry import Asset

# Tasks a load package: what a crash can cost, and what a committed step of a long load is.
BATCH = 64
SCARCE_BATCH = 10

log = logging.getLogger(__name__)


def provider_classes() -> dict[str, type[Provider]]:
    """How each source of the list is asked, in the order they are within a run: those without a small budget first."""
    found = {name: import_module(f"extract.providers.{name}").PROVIDER for name in sources.names()}
    return dict(sorted(found.items(), key=lambda item: item[1].HAS_SMALL_BUDGET))


class Run:
    """One run under the lock: its providers, what they have loaded, and the way of their answers into the warehouse."""

    def __init__(self, providers: dict[str, Provider], run_id: str | None = None) -> None:
        self.run_id = run_id or uuid.uuid4().hex
        self.providers = providers
        self.read_state()
        self.now = clock.now()
        self.report = Report()
        # Whether a series waits for the budget of its best source although another source has it too.
        self.is_patient = False
        # Whether answers are stored as new where they are what is loaded already, and files read whatever their checksum.
        self.is_again = False
        # Asked before each package: a paused backfill stops between two of them.
        self.is_stopped: Callable[[], bool] = lambda: False
        # Asked there, too: without the lock another run may have begun, which throws away what this one is loading.
        self.require_lock: Callable[[], None] = lambda: None
        self._pipelines: dict[str, dlt.Pipeline] = {}

    def read_state(self) -> None:
        """Look again at what is loaded."""
        self.loaded: dict[str, Loaded] = {name: state.loaded(name) for name in self.providers}

    def answered(self, source: str, again: bool) -> Loaded:
        """What a source has answered, as planning is to see it: where all is wanted again, nothing of a window."""
        if self.is_again:
            return Loaded()
        return self.loaded[source].without_windows() if again else self.loaded[source]

    def known(self, series: Series, source: str) -> Known:
        return self.loaded[source].bars(series.asset.symbol, series.calendar, series.timeframe)

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
                self.require_lock()
                if self.is_stopped():
                    log.warning("%s: stopped; what is loaded so far is safe", source)
                    return
                package = tasks[position : position + size]
                rows = self._load_package(source, package, progress)
                progress.committed(len(package), rows)
                yield from rows

    def _load_package(self, source: str, package: Sequence[Task], progress: Progress) -> list[Row]:
        """Ask and load some tasks as one package; returns its rows. Where the database refuses it for one of its
        answers, each task is a package of its own."""
        rows: list[Row] = []

        def fetch(task: Task) -> Iterator[pa.Table]:
            for row, table in self._answers(self.providers[source], task):
                rows.append(row)
                yield table
            progress.answered()

        try:
            pipeline.load(self._pipelines[source], package, fetch)
            return rows
        except pipeline.Refused as problem:
            # A new one throws away what this one has left behind.
            self._pipelines[source] = pipeline.make(source)
            if len(package) > 1:
                line = "%s: the database refuses one of %d answers; asking for each on its own"
                log.warning(line, source, len(package))
                return [row for task in package for row in self._load_package(source, [task], progress)]
            (task,) = package
            error = f"the database refuses the answer ({problem}): report it; the next run asks again"
            row = self._row(unasked(task, error))
            pipeline.load(self._pipelines[source], package, partial(_fetched_before, row))
            return [row]

    def _answers(self, provider: Provider, task: Task) -> Iterator[tuple[Row, pa.Table]]:
        """What comes of a task, as rows without payloads and as tables with them. A task that ends in an exception is a
        failed one: it must cost neither the package of its answers nor the run."""
        rest = task
        try:
            for fetched in provider.fetch(task, self._known_sha):
                row = self._row(fetched)
                table = row.to_arrow()
                if rest.start < fetched.task.end < rest.end:
                    rest = rest.part(fetched.task.end, rest.end)
                yield row.without_payload(), table
        except psycopg.Error:
            # The warehouse's trouble is no answer's.
            raise
        except Exception as problem:
            log.debug("%s: unexpected", task.name, exc_info=True)
            error = f"failed unexpectedly ({type(problem).__name__}: {problem}): report it; the next run asks again"
            row = self._row(unasked(rest, error))
            yield row.without_payload(), row.to_arrow()

    def _known_sha(self, task: Task) -> str | None:
        return None if self.is_again else state.known_sha(task)

    def _row(self, fetched: Fetched) -> Row:
        known = self._known_sha(fetched.task) if fetched.parsed else None
        row = make_row(self.run_id, fetched.task, fetched.answer, fetched.parsed, known, fetched.error)
        return replace(row, is_replaced=fetched.is_replaced)


# What a series asks of a source, within what the sources before have left open.
Plan = Callable[[Series, str, planner.Left], Planned]


@dataclass
class PendingSeries:
    """A series on its way through its sources."""

    series: Series
    # Those still to be asked, best first.
    sources: list[str]
    remaining: planner.Left = None
    # The sources that have sent it on because their budget was spent: when they are asked again, it waits.
    deferred: set[str] = field(default_factory=set)


def extract(
    symbols: Sequence[str] = (),
    timeframes: Sequence[str] = (),
    source: str | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
    within: str | None = None,
    shorter_than: timedelta | None = None,
    again: bool = False,
    held: Holder | None = None,
) -> Report:
    """Load what is new for the enabled assets, or all of a given window.

    `again` reads the window as if nothing of it were loaded: also what has no window, and files whose checksum is known.
    `within` is the id of a pipeline run, which has `held` the lock already; `shorter_than` leaves out the timeframes from
    that length on. Raises LockHeld, LockLost and ConfigurationError.
    """
    if again and not (start or end):
        raise ConfigurationError("--again needs a window: market extract --start 2024-01-31 --end 2024-01-31 --again")
    assets = registry.select(registry.load(), symbols)
    run_id = within or uuid.uuid4().hex
    locked = nullcontext(held) if held else database.run_lock("extract")
    with locked as lock, logs.of_run(run_id), ExitStack() as stack:
        prepare_warehouse()
        run = Run(open_providers(stack, source, run_id=run_id), run_id)
        run.require_lock = lock.require
        wanted = planner.series_of(assets, run.providers, timeframes, source)
        if shorter_than:
            wanted = [series for series in wanted if STEPS[series.timeframe] < shorter_than]
        window = (start or planner.EVER, end or run.now) if start or end else None
        run.is_again = again
        extra = extra_tasks(run, assets, wanted, window, again=window is not None)
        load_series(run, wanted, extract_plan(run, window), extra)
        return run.report


def extract_plan(run: Run, window: Window | None) -> Plan:
    """What a series asks of a source in `market extract`."""

    def plan(series: Series, source: str, left: planner.Left) -> Planned:
        provider = run.providers[source]
        if window:
            return planner.plan_windows(series, provider, [window], run.now, left)
        return planner.plan_new(series, provider, run.known(series, source), run.now, left)

    return plan


def extra_tasks(
    run: Run, assets: Sequence[Asset], wanted: Sequence[Series], window: Window | None, again: bool = False
) -> dict[str, list[Task]]:
    """What else each source is asked than the bars of the series; in a plain extract the gaps that dbt has found too.

    `again`: all of the window, answered before or not.
    """
    repairs = gaps.repair_tasks(wanted, run.providers, run.now) if window is None else {}
    return {
        name: provider.extra_tasks(assets, run.answered(name, again), run.now, window) + repairs.get(name, [])
        for name, provider in run.providers.items()
    }


def prepare_warehouse() -> None:
    """The schemas and tables that dbt and we expect, also where a source has nothing to do."""
    database.migrate()
    pipeline.create_raw_tables()


def urls() -> list[AnyUrl | None]:
    """Where the sources are asked, all hosts of all of them."""
    return [url for make in provider_classes().values() for url in make.urls()]


def open_providers(
    stack: ExitStack, only: str | None = None, check: bool = True, run_id: str | None = None
) -> dict[str, Provider]:
    """The sources that can be asked. One that cannot is named loudly, and on record if this is a run; one that a run cannot
    do without is an error."""
    provenance.refuse_mixing(urls())
    opened: dict[str, Provider] = {}
    for name, make in provider_classes().items():
        if (only and name != only) or name not in settings.load().sources:
            continue
        provider = make()
        stack.callback(provider.close)
        problem = provider.prepare() if check else None
        if problem is None:
            opened[name] = provider
            continue
        if run_id and (refusal := provider.refusal()):
            # Nothing else would update the fetch log, the source's health and the alerts.
            row = make_row(run_id, refusal.task, refusal.answer, refusal.parsed, None, refusal.error)
            pipeline.load(pipeline.make(name), [refusal.task], partial(_fetched_before, row))
        if provider.is_required:
            raise ConfigurationError(f"{problem}, and {name.upper()}_REQUIRED=true")
        log.warning("%s is UNAVAILABLE in this run: %s. The other sources are asked instead.", name, problem)
    return opened


def load_series(run: Run, wanted: Sequence[Series], plan: Plan, extra: dict[str, list[Task]]) -> None:
    """Load each series from its first source; what a source could not give is asked of the next one."""
    waiting = []
    for series in wanted:
        if series.sources:
            waiting.append(PendingSeries(series, list(series.sources)))
        else:
            log.error("%s: no source has it; see its row in assets.csv", series.name)
            run.report.failed.append(series.name)
    # Where requests are few, what is asked for besides the bars waits until no series needs them any more.
    auxiliary = {name: tasks for name, tasks in extra.items() if tasks}
    while waiting or auxiliary:
        unsettled: list[PendingSeries] = []
        for source, provider in run.providers.items():
            turn = [pending for pending in waiting if pending.sources[0] == source]
            may_ask_auxiliary = not (waiting and provider.requests_are_scarce)
            tasks = auxiliary.pop(source, []) if may_ask_auxiliary else []
            if turn or tasks:
                unsettled += _take_turn(run, source, turn, plan, tasks)
        waiting = unsettled


def _fetched_before(row: Row, task: Task) -> Iterator[pa.Table]:
    yield row.to_arrow()


def _take_turn(
    run: Run, source: str, turn: Sequence[PendingSeries], plan: Plan, auxiliary: Sequence[Task]
) -> list[PendingSeries]:
    """Ask a source for all the series whose turn it is; returns those that go on to their next source."""
    provider = run.providers[source]
    tasks = list(auxiliary)
    asked: dict[str, list[tuple[PendingSeries, Planned, Outcome]]] = defaultdict(list)
    for pending in turn:
        planned = plan(pending.series, source, pending.remaining)
        outcome = Outcome(pending.series.name, source)
        for window in planned.beyond_reach:
            outcome.errors[window] = planner.reach_problem(pending.series, provider, run.now)
        asked[pending.series.name].append((pending, planned, outcome))
        may_wait = run.is_patient or not _can_go_on(run, pending, planned)
        # A source that refuses anyway is asked once per series, for the record.
        refused = itertools.islice((task for task in planned.tasks if not provider.may_answer(task)), 1)
        mine = [*(task for task in planned.tasks if provider.may_answer(task)), *refused]
        tasks += [replace(task, may_wait=may_wait) for task in mine]
    others: dict[str, Outcome] = {}
    for row in run.load(source, planner.in_order(provider.combined(tasks))):
        for name in row.task.serves or (row.task.series_name,):
            if name not in asked:
                others.setdefault(name, Outcome(name, source)).add(row)
            for pending, _, outcome in asked.get(name, []):
                if pending.series.holds(row.task):
                    outcome.add(row)
    unsettled = []
    for pending, planned, outcome in itertools.chain.from_iterable(asked.values()):
        remaining = planner.unanswered(pending.series, planned.windows, outcome.answered)
        if not remaining:
            outcome.errors.clear()
        following = pending.sources[1:] + [source] * (outcome.is_deferred and source not in pending.deferred)
        if not outcome.errors or not following:
            run.report.close(outcome)
            continue
        log.warning("%s; asking %s", outcome, following[0])
        deferred = pending.deferred | {source} if outcome.is_deferred else pending.deferred
        unsettled.append(PendingSeries(pending.series, following, remaining, deferred))
    for outcome in others.values():
        run.report.close(outcome)
    return unsettled


def _can_go_on(run: Run, pending: PendingSeries, planned: Planned) -> bool:
    """Whether a later source can bring what is planned, so that the series need not wait for a spent budget."""
    if pending.sources[0] in pending.deferred:
        return False
    return any(
        run.providers[name].source.is_available
        and not planner.beyond_reach(pending.series, run.providers[name], planned.windows, run.now)
        for name in pending.sources[1:]
    )
