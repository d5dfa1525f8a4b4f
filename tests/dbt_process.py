"""dbt in a child of this process, which starts with dbt loaded and the project parsed, and ends without tidying up.

Data flow: project directory -> `dbt parse` in this process, once per state of the project -> a fork of it runs the command
on its copy of that manifest -> what became of each node, through a pipe.

Measured, for a build of all models after ten new bars: 7.0 s of CPU in this process and the server, 3.8 s so. Reading the
parsed project, and parsing again what reads WAREHOUSE_NOW, collecting what is left, compiling templates: 1.4 s, messages that
nobody reads 1.1 s, new sessions 1.2 s. A copy by fork costs 0.3 s.
"""

from __future__ import annotations

import os
import pickle
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from scripts.pipeline.build import without_collector

# Results are values here. A level of its own, not --quiet: that still words every message (a tenth of a build's CPU).
QUIET = ("--log-level", "none", "--log-level-file", "none", "--no-write-json")
# What dbt reads when a model is built, not when it is parsed.
READ_WHEN_BUILT = (
    "WAREHOUSE_NOW", "TZ", "PGTZ", "PGOPTIONS", "MARKET_RUN", "PGHOST", "PGPORT", "PGUSER", "PGPASSWORD", "PGDATABASE",
    "FEATURE_COMPUTATION_WORKERS", "FEATURE_COMPUTATION_SHARD_BARS",
)  # fmt: skip
PARSED_FILES = (".sql", ".yml", ".md", ".csv")
# Parsed projects that are kept: more would cost memory (60 MB each), and files take turns with two at most.
KEPT = 4


@dataclass(frozen=True)
class Place:
    """Where a project lies, and the database that it is built in."""

    directory: str
    database: str


@dataclass(frozen=True)
class Parsed:
    """dbt's manifest, and what it was made for."""

    manifest: Any
    place: Place


_parsed: dict[tuple[Any, ...], Parsed] = {}


@dataclass(frozen=True)
class Node:
    """What became of one node; `relation` differs from `name` where two versions of a model have one name."""

    name: str
    relation: str
    status: str
    message: str
    seconds: float


@dataclass(frozen=True)
class Outcome:
    """What a command did. `problem`: why it did not run at all, None where it did."""

    success: bool
    problem: str | None
    nodes: tuple[Node, ...]


def invoke(
    directory: Path,
    command: str,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    *,
    variables: str | None = None,
    time_zone: str | None = None,
) -> Outcome:
    """Run a dbt command on the project in `directory`. environment: on top of this process's; variables: for --vars;
    time_zone: TZ of the process and of its database sessions."""
    options = ["--project-dir", str(directory), "--profiles-dir", str(directory)]
    options += ["--target-path", str(directory / "target"), "--log-path", str(directory / "logs"), *QUIET]
    if variables:
        options += ["--vars", variables]
    with process_environment(environment, time_zone):
        try:
            parsed = _parse(directory, options, environment, variables)
        except _NotParsed as problem:
            return Outcome(False, str(problem), ())
        place = Place(str(directory), environment["PGDATABASE"])
        return _in_a_child(parsed, place, [command, *arguments, *options])


class _NotParsed(Exception):
    """dbt does not understand the project; the message is dbt's."""


def _parse(directory: Path, options: Sequence[str], environment: Mapping[str, str], variables: str | None) -> Parsed:
    """The project as dbt understands it; that of an equal copy, too, or of one in another database."""
    database = environment["PGDATABASE"]
    key = (
        variables,
        tuple(sorted((name, value) for name, value in environment.items() if name not in READ_WHEN_BUILT)),
        tuple(sorted((name, value) for name, value in os.environ.items() if name.startswith(("FALLBACK_", "MIN_")))),
        os.environ.get("VALIDATE_ON_INSERT"),
        # A name that needs quotes is dbt's business.
        None if database.isidentifier() else database,
        _state(directory),
    )
    if key not in _parsed:
        from dbt.cli.main import dbtRunner

        _prepare()
        with without_collector():
            outcome = dbtRunner().invoke(["parse", *options])
        if not outcome.success:
            raise _NotParsed(str(outcome.exception))
        _compile_macros(outcome.result)
        while len(_parsed) >= KEPT:
            _parsed.pop(next(iter(_parsed)))
        _parsed[key] = Parsed(outcome.result, Place(str(directory), database))
    return _parsed[key]


def _compile_macros(manifest: Any) -> None:
    """Those that builds call and parsing does not, to be there in each child."""
    from dbt_common.clients.jinja import template_cache

    for macro in manifest.macros.values():
        if macro.package_name in ("dbt_postgres", "market_warehouse") or "materializations" in macro.original_file_path:
            template_cache.get_node_template(macro)


def _state(directory: Path) -> tuple[tuple[str, int, int], ...]:
    """Every file that dbt parses, with its size and when it was written. Of seeds it knows that they are there: it reads
    them when they are loaded."""
    found = []
    for folder, folders, names in os.walk(directory):
        folders[:] = [name for name in folders if name not in ("target", "logs")]
        for name in names:
            path = f"{folder}/{name}"
            is_seed = name.endswith(".csv") and folder.endswith("/seeds")
            if name.endswith(PARSED_FILES) and not is_seed:
                facts = os.stat(path)  # noqa: PTH116 (hundreds of files for each build: Path takes three times as long)
                found.append((path.removeprefix(str(directory)), facts.st_size, facts.st_mtime_ns))
            elif is_seed:
                found.append((path.removeprefix(str(directory)), 0, 0))
    return tuple(sorted(found))


def _in_a_child(parsed: Parsed, place: Place, arguments: Sequence[str]) -> Outcome:
    reads, writes = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if not child:
        # Whatever happens, this copy of pytest does not go on.
        try:
            os.close(reads)
            with os.fdopen(writes, "wb") as pipe:
                pickle.dump(_run(parsed, place, arguments), pipe)
        finally:
            os._exit(0)
    os.close(writes)
    with os.fdopen(reads, "rb") as pipe:
        answer = pipe.read()
    _, status = os.waitpid(child, 0)
    if not answer:
        return Outcome(False, f"dbt ended without an answer, status {status}", ())
    outcome: Outcome = pickle.loads(answer)
    return outcome


def _run(parsed: Parsed, place: Place, arguments: Sequence[str]) -> Outcome:
    import gc

    from dbt.cli.main import dbtRunner

    gc.disable()
    _without_messages()
    _keep_connections()
    _move(parsed, place)
    outcome = dbtRunner(manifest=parsed.manifest).invoke(list(arguments))
    if outcome.exception is not None:
        return Outcome(False, str(outcome.exception), ())
    nodes = tuple(_node(result) for result in getattr(outcome.result, "results", ()))
    return Outcome(outcome.success, None, nodes)


def _node(result: Any) -> Node:
    # The result of an operation has its own id, and no node.
    node = getattr(result, "node", None)
    name = node.name if node else str(result.unique_id)
    return Node(name, getattr(node, "alias", name), str(result.status), str(result.message), result.execution_time)


def _move(parsed: Parsed, place: Place) -> None:
    """Lead the manifest to another copy of its project and to another database: 4 s less than to parse it there."""
    if parsed.place == place:
        return
    before, now = (f'"{one.database}".' for one in (parsed.place, place))
    for node in (*parsed.manifest.nodes.values(), *parsed.manifest.sources.values()):
        if node.database == parsed.place.database:
            node.database = place.database
            if node.relation_name:
                node.relation_name = now + node.relation_name.removeprefix(before)
        if getattr(node, "root_path", None) == parsed.place.directory:
            node.root_path = place.directory


def _without_messages() -> None:
    """dbt words no message that nobody hears (a tenth of a build). Warnings go on: some of them are errors."""
    from dbt_common.events.base_types import BaseEvent, EventLevel
    from dbt_common.events.event_manager import EventManager
    from dbt_common.events.event_manager_client import ctx_set_event_manager

    heard = (EventLevel.WARN, EventLevel.ERROR)
    make = BaseEvent.__init__

    def make_if_heard(self: Any, *values: Any, **named: Any) -> None:
        if self.level_tag() in heard:
            make(self, *values, **named)

    class OnlyHeard(EventManager):
        def fire_event(self, e: Any, level: Any = None, *more: Any, **options: Any) -> None:
            if e.level_tag() in heard:
                super().fire_event(e, level, *more, **options)

    BaseEvent.__init__ = make_if_heard  # type: ignore[method-assign]
    ctx_set_event_manager(OnlyHeard())


def _keep_connections() -> None:
    """dbt connects anew for each node, and each new session reads the catalogs again: a third of a build's time in the
    server. Here the next node has the session of one that is done, emptied of all that it held."""
    import psycopg2
    from psycopg2.extensions import connection

    connect = psycopg2.connect
    idle: dict[tuple[Any, ...], list[Kept]] = {}

    class Kept(connection):  # type: ignore[misc]
        place: tuple[Any, ...]

        def close(self) -> None:
            try:
                self.rollback()
                self.autocommit = True
                with self.cursor() as cursor:
                    cursor.execute("discard all")
                self.autocommit = False
            except psycopg2.Error:
                super().close()
            else:
                idle.setdefault(self.place, []).append(self)

    def connect_again(**address: Any) -> Kept:
        place = tuple(sorted(address.items()))
        # Two threads may want the last one.
        with suppress(KeyError, IndexError):
            return idle[place].pop()
        made: Kept = connect(connection_factory=Kept, **address)
        made.place = place
        return made

    psycopg2.connect = connect_again


@cache
def _prepare() -> None:
    """Once in this process, for all children: what of dbt is the same for each build."""
    from dbt_common.clients import agate_helper
    from dbt_common.clients.jinja import MacroFuzzEnvironment

    # Jinja compiles the same text for each build (0.4 s, and 0.5 s for the macros of dbt itself).
    compiled: dict[tuple[Any, ...], Any] = {}
    compile_template = MacroFuzzEnvironment.compile

    def kept(self: Any, source: Any, *options: Any, **more: Any) -> Any:
        if not isinstance(source, str):
            return compile_template(self, source, *options, **more)
        key = (type(self), source, options, tuple(more.items()))
        if key not in compiled:
            compiled[key] = compile_template(self, source, *options, **more)
        return compiled[key]

    MacroFuzzEnvironment.compile = kept  # type: ignore[method-assign]

    # What a result's values may be, worked out for each query (0.2 s): a parser of dates in words, that nobody writes.
    make_tester = agate_helper.build_type_tester
    testers: dict[tuple[Any, ...], Any] = {}

    def tester(text_columns: Any, string_null_values: Any = ("null", "")) -> Any:
        key = (tuple(text_columns), None if string_null_values is None else tuple(string_null_values))
        if key not in testers:
            testers[key] = make_tester(key[0], key[1])
        return testers[key]

    agate_helper.build_type_tester = tester


@contextmanager
def process_environment(values: Mapping[str, str], time_zone: str | None = None) -> Iterator[None]:
    """These variables in this process's environment until the end of the block."""
    if time_zone:
        values = {**values, "TZ": time_zone, "PGTZ": time_zone}
    before = dict(os.environ)
    os.environ.update(values)
    time.tzset()
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        time.tzset()
