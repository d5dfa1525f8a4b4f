"""One warehouse, the simulated providers and their clock, and the pipeline in children that may be killed.

Data flow: the pipeline at a first time -> kept as a template of the database and a copy of the directory -> reset() makes
both as they were, for each seed -> child() runs a piece of the pipeline -> contents() is what the marts hold.

A child is a fork of this process, which has dbt loaded and the project parsed: a run costs a second instead of ten.
"""

from __future__ import annotations

import gc
import itertools
import json
import os
import select
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from scripts.postgres import Server
from scripts.simulator import Simulator, running
from tests import dbt_process
from tests.reliability.campaign import FOLDER, ROOT
from tests.reliability.points import Point, Points
from tests.warehouse import Database, Project

# A run of a few symbols takes seconds: one that takes this long does not end.
LONGEST_SECONDS = 300
SCHEMAS = ("intermediate", "marts", "snapshots")
# When we worked on something, and the numbers under which loads were first seen.
PROCESSING_COLUMNS = {
    "computed_at", "updated_at", "created_at", "batch", "first_batch", "changed_in_batch", "from_batch", "to_batch", "run_id",
    "load_id", "dbt_scd_id", "dbt_updated_at", "dbt_valid_from",
}  # fmt: skip
# How runs went and how often they asked, and what the last build alone had to do.
RUN_RECORDS = {
    "marts.alerts", "marts.enrichment_compute_log", "marts.enrichment_fetch_log",
    "intermediate.int_answers", "intermediate.int_loads",
    "intermediate.int_bars_observed", "intermediate.int_bars_to_reconcile", "intermediate.int_bars_changed",
    "intermediate.int_bars_to_compute", "intermediate.int_futures_as_of", "intermediate.int_recompute_ranges",
    "intermediate.int_resampling_ranges",
}  # fmt: skip

# Where dbt keeps what it has parsed.
PARSED = "partial_parse.msgpack"

Contents = dict[str, Counter[str]]
Work = Callable[[], int]


@dataclass(frozen=True)
class Ended:
    """How a child ended: its exit code (negative: the signal), and the points it passed, if it came to its end."""

    code: int
    seconds: float
    points: Counter[str]


@dataclass
class Stage:
    """See the module."""

    server: Server
    simulator: Simulator
    project: Project
    database: Database
    needs_dbt: bool = True
    clock: str = ""

    def at(self, now: datetime | str) -> None:
        """Move the time of the pipeline and of the providers."""
        self.clock = now if isinstance(now, str) else now.isoformat().replace("+00:00", "Z")
        self.simulator.set_clock(self.clock)

    def environment(self) -> dict[str, str]:
        """What a child's environment has beyond this process's."""
        return {
            **self.database.environment,
            **self.simulator.environment(),
            "WAREHOUSE_NOW": self.clock,
        }

    # ------------------------------------------------------------ as it was

    def keep(self, name: str) -> None:
        """Keep the warehouse as it is, to come back to."""
        self._copy_database(self.database.name, f"kept_{name}")
        self._copy_files(self._files(), self._files(name))

    def reset(self, name: str) -> None:
        """Make the warehouse what it was when it was kept."""
        self.server.start()
        self._copy_database(f"kept_{name}", self.database.name)
        self._copy_files(self._files(name), self._files())

    def _files(self, name: str | None = None) -> Path:
        return self.project.directory / (f".kept-{name}" if name else ".warehouse")

    def _copy_files(self, source: Path, target: Path) -> None:
        shutil.rmtree(target, ignore_errors=True)
        if source.exists():
            shutil.copytree(source, target)

    def _copy_database(self, source: str, target: str) -> None:
        Database(self.server, target).drop()
        with psycopg.connect(self.server.dsn("postgres"), autocommit=True) as connection:
            connection.execute(
                "select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = %s", (source,)
            )
            connection.execute(
                sql.SQL("create database {} template {}").format(sql.Identifier(target), sql.Identifier(source))
            )

    # ------------------------------------------------------------ children

    def child(
        self,
        work: Work,
        target: Point | None = None,
        strike: Callable[[], None] = lambda: os.kill(os.getpid(), signal.SIGKILL),
        longest: float = LONGEST_SECONDS,
    ) -> Ended:
        """Run a piece of the pipeline in a child and wait for its end; at the target, if it gets there, it is struck."""
        began = time.monotonic()
        child, answer = self.start(work, target, strike)
        with os.fdopen(answer, "rb") as pipe:
            code = exit_code(child, began + longest)
            if code is None:
                raise AssertionError(f"it did not end within {longest:.0f} s: {self.last_words()}")
            text = pipe.read()
        return Ended(code, time.monotonic() - began, Counter(json.loads(text) if text else {}))

    def start(
        self, work: Work, target: Point | None = None, strike: Callable[[], None] = lambda: None
    ) -> tuple[int, int]:
        """Start a child; returns its process id and the end of a pipe that tells which points it passed."""
        manifest = self.manifest()
        reads, writes = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        child = os.fork()
        if child:
            os.close(writes)
            return child, reads
        code = 70
        try:
            os.close(reads)
            log = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(log, 1)
            os.dup2(log, 2)
            points = Points(self.project.directory, target, strike)
            with dbt_process.process_environment(self.environment()):
                os.chdir(self.project.directory)
                points.install()
                _prepare_child(manifest)
                code = _code_of(work)
            with os.fdopen(writes, "w") as pipe:
                json.dump(points.counts, pipe)
        finally:
            os._exit(code)

    @property
    def log(self) -> Path:
        """What the children said."""
        return self.project.directory / "children.log"

    def last_words(self) -> str:
        """The end of what the children said."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:]) if self.log.exists() else ""

    def manifest(self) -> Any:
        """The project as dbt has parsed it, for the children; None where they only load."""
        if not self.needs_dbt:
            return None
        directory = self.project.directory
        options = ["--project-dir", str(directory), "--profiles-dir", str(directory)]
        options += ["--target-path", str(directory / "target"), "--log-path", str(directory / "logs")]
        environment = self.environment()
        with dbt_process.process_environment(environment):
            return dbt_process._parse(directory, [*options, *dbt_process.QUIET], environment, None).manifest

    def wait_for_silence(self) -> None:
        """Wait until no session of a dead child is left: the server ends one when its statement is done."""
        ends_at = time.monotonic() + 60
        with psycopg.connect(self.server.dsn("postgres"), autocommit=True) as connection:
            while True:
                left = connection.execute(
                    "select query from pg_stat_activity where datname = %s", (self.database.name,)
                ).fetchall()
                if not left:
                    return
                assert time.monotonic() < ends_at, f"sessions of a process that was killed stay: {left}"
                time.sleep(0.02)

    # ------------------------------------------------------------ what it holds

    def query(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.database.dsn, autocommit=True) as connection:
            return connection.execute(statement.encode(), values or None).fetchall()

    def contents(self) -> Contents:
        """Every row of every table that dbt has made, as text without the times at which we worked on it."""
        held: Contents = {}
        with psycopg.connect(self.database.dsn, autocommit=True) as connection:
            tables: dict[str, list[str]] = {}
            for table, column in connection.execute(
                "select columns.table_schema || '.' || columns.table_name, columns.column_name"
                " from information_schema.columns as columns"
                " inner join information_schema.tables as tables using (table_schema, table_name)"
                " where columns.table_schema = any(%s) and tables.table_type = 'BASE TABLE'"
                " order by 1, columns.column_name",
                (list(SCHEMAS),),
            ):
                tables.setdefault(table, []).append(column)
            for table, columns in tables.items():
                if table in RUN_RECORDS:
                    continue
                kept = ", ".join(
                    # Until when a version was valid is a time of ours; which one still is, is not.
                    f'"{column}" is null as "{column}"' if column == "dbt_valid_to" else f'"{column}"'
                    for column in columns
                    if column not in PROCESSING_COLUMNS
                )
                rows = connection.execute(
                    f"select cast(told as text) from (select {kept} from {table}) as told".encode()
                )
                held[table] = Counter(row[0] for row in rows)
        return held


@dataclass(frozen=True)
class Strike:
    """Something that happens to a run at a point. `make`: what the child does there; `mend`: what is done when it has ended."""

    name: str
    make: Callable[[Stage], Callable[[], None]]
    mend: Callable[[Stage], None] = lambda stage: None
    # Whether the process itself dies of it.
    is_deadly: bool = False


def differences(ours: Contents, twins: Contents) -> list[str]:
    """A line for each table that differs, with the first rows of either."""
    lines = []
    for table in sorted(ours.keys() | twins.keys()):
        here, there = ours.get(table, Counter()), twins.get(table, Counter())
        more, less = here - there, there - here
        if more or less:
            shown = [f"  ours  {row}" for row in sorted(more)[:2]] + [f"  twin  {row}" for row in sorted(less)[:2]]
            lines.append(
                f"{table}: {more.total()} rows only here, {less.total()} only in the twin\n" + "\n".join(shown)
            )
    return lines


def exit_code(child: int, ends_at: float) -> int | None:
    """Of a child, once it ends; None where it has not by then (time.monotonic()), and was killed."""
    watched = os.pidfd_open(child)
    try:
        waiting = select.poll()
        waiting.register(watched, select.POLLIN)
        has_ended = waiting.poll(max(0.0, ends_at - time.monotonic()) * 1000)
    finally:
        os.close(watched)
    if not has_ended:
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status) if has_ended else None


def _code_of(work: Work) -> int:
    try:
        return work()
    except BaseException as problem:
        print(f"{type(problem).__name__}: {problem}", file=sys.stderr, flush=True)
        return 1


def _prepare_child(manifest: Any) -> None:
    """What differs from a process of its own: dbt has parsed already, waits are too short to notice, reaches are short."""
    from extract.calendar.timeframes import FIRST_REACH
    from extract.providers.binance import derivatives
    from extract.transport.retry_policy import RETRY_POLICY
    from tests.extract.conftest import forget

    forget()
    RETRY_POLICY.backoff, RETRY_POLICY.read, RETRY_POLICY.whole = (0.0, 0.0, 0.0), 5, 8
    FIRST_REACH.update({"5m": timedelta(days=2), "1h": timedelta(days=10), "1d": timedelta(days=60)})
    vars(derivatives).update(FIRST_STATISTICS_REACH=timedelta(days=2), FIRST_FUNDING_REACH=timedelta(days=20))
    if manifest is not None:
        _make_builds_cheap(manifest)


def _make_builds_cheap(manifest: Any) -> None:
    """Parsed already, without tests and messages, with sessions that serve one node after the other."""
    from dbt.cli import main

    from scripts.pipeline import build

    runner = main.dbtRunner

    def parsed_runner(given: Any = None, **options: Any) -> Any:
        return runner(given or manifest, **options)

    main.dbtRunner = parsed_runner  # type: ignore[assignment,misc]
    # Data tests are two thirds of a build, and leave nothing behind. Views are as they were but for the time in some.
    build.build = build.build_turn
    build.OF_THE_PROCESS = build.OF_THE_PROCESS | {"WAREHOUSE_NOW"}
    gc.disable()
    invoke, is_first = build._invoke, itertools.count()

    def cheap_invoke(*values: Any, **named: Any) -> Any:
        if not next(is_first):
            dbt_process._without_messages()
            dbt_process._keep_connections()
        return invoke(*values, **named)

    build._invoke = cheap_invoke


@contextmanager
def parsed_before(project: Project) -> Iterator[None]:
    """dbt has what an earlier campaign parsed, and keeps what it parses in this block: a parse from nothing takes 8 s of CPU."""
    kept, here = FOLDER / PARSED, project.directory / "target" / PARSED
    here.parent.mkdir(exist_ok=True)
    if kept.exists():
        shutil.copy2(kept, here)
    yield
    if here.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        shutil.copy2(here, kept)


@contextmanager
def staged(
    server: Server,
    directory: Path,
    registry: Sequence[Mapping[str, str]],
    clock: str,
    needs_dbt: bool = True,
) -> Iterator[Stage]:
    """A stage with an empty warehouse, at a time."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    project = Project.copy(ROOT, directory, described=False)
    project.write_assets(registry)
    database = Database(server, "stage")
    with running("demo", clock, process=True) as simulator:
        stage = Stage(server, simulator, project, database, needs_dbt)
        stage.at(clock)
        database.create()
        with parsed_before(project):
            stage.manifest()
        yield stage
        with suppress(psycopg.Error):
            database.drop()
