"""One run under the lock: the sources that can be asked, and the way of their answers into the warehouse."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from importlib import import_module

import dlt
import psycopg
import pyarrow as pa
from pydantic import AnyUrl

from extract.core import clock, database, provenance, settings, sources
from extract.core.settings import ConfigurationError
from extract.coverage import attempts, state
from extract.coverage.state import Known, Loaded
from extract.load import pipeline
from extract.load.outcomes import Report
from extract.load.progress import Progress
from extract.load.responses import Row, Task, make_row
from extract.plan.planner import Series
from extract.providers.base import Fetched, Provider, unasked

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
        return None if self.is_again else attempts.known_sha(task)

    def _row(self, fetched: Fetched) -> Row:
        known = self._known_sha(fetched.task) if fetched.parsed else None
        row = make_row(self.run_id, fetched.task, fetched.answer, fetched.parsed, known, fetched.error)
        return replace(row, is_replaced=fetched.is_replaced)


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


def _fetched_before(row: Row, task: Task) -> Iterator[pa.Table]:
    yield row.to_arrow()
