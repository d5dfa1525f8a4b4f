"""dbt in a child of this process, which starts with dbt loaded and the project parsed, and ends without tidying up.

Data flow: project directory -> `dbt parse` in this process, once per state of the project -> a fork of it runs the command
on its copy of that manifest -> what became of each node, through a pipe.

Measured, for a build of all models after ten new bars: 7.0 s of CPU in this process and the server, 3.8 s so. Reading the
parsed project, and parsing again what reads WAREHOUSE_NOW, collecting what is left, compiling templates: 1.4 s, messages that
nobody reads 1.1 s, new sessions 1.2 s. A copy by fork costs 0.3 s.
"""

from __future__ import annotations

import json
import os
import pickle
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from scripts.pipeline.build import without_collector

# Results are values here. A level of its own, not --quiet: that still words every message (a tenth of a build's CPU).
QUIET = ("--log-level", "none", "--log-level-file", "none", "--no-write-json")
# What dbt reads when a model is built, not when it is parsed.
READ_WHEN_BUILT = (
    "WAREHOUSE_NOW", "TZ", "PGTZ", "PGOPTIONS", "MARKET_RUN", "PGHOST", "PGPORT", "PGUSER", "PGPASSWORD", "PGDATABASE",
    "FEATURE_COMPUTATION_WORKERS", "FEATURE_COMPUTATION_SHARD_BARS", "MIN_DATA_COMPLETENESS", "MIN_QUALITY_SCORE",
    "VALIDATE_ON_INSERT", "FALLBACK_SOURCE_PRIORITY", "DBT_INDIRECT_SELECTION",
)  # fmt: skip
# So are these variables; test_dbt_process.py parses the project with them.
VARIABLES_READ_WHEN_BUILT = {"rebuild", "legacy_dual_write"}
# The database for which a project is parsed.
NOWHERE = "nowhere"
# What a build of the pipeline says how far it is by (scripts.pipeline.build.Stages).
STAGES = ("LogStartLine", "NodeFinished")
PARSED_FILES = (".sql", ".yml", ".md", ".csv")
# Parsed projects that are kept: more would cost memory (60 MB each), and files take turns with two at most.
KEPT = 4

T = TypeVar("T")


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
# Where a project was parsed last, by the text of its dbt_project.yml.
_parsed_in: dict[str, Path] = {}


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
    exclude: Sequence[str] = (),
    without_unchanged_views: bool = False,
) -> Outcome:
    """Run a dbt command on the project in `directory`. environment: on top of this process's; variables: for --vars;
    time_zone: TZ of the process and of its database sessions. without_unchanged_views: an earlier build made the selected
    views of the same project, settings and variables; those that are still there and do not hold the time are left out."""
    options = _options(directory, variables)
    with process_environment(environment, time_zone):
        try:
            parsed = _parse(directory, options, environment, variables)
        except _NotParsed as problem:
            return Outcome(False, str(problem), ())
        place = Place(str(directory), environment["PGDATABASE"])

        def run() -> Outcome:
            left_out = [*exclude, *(_unchanged_views(parsed.manifest) if without_unchanged_views else ())]
            excluded = ["--exclude", *left_out] if left_out else []
            return _run(parsed, place, [command, *arguments, *excluded, *options])

        outcome: Outcome | str = _in_a_child(run)
        return Outcome(False, outcome, ()) if isinstance(outcome, str) else outcome


def _options(directory: Path, variables: str | None = None) -> list[str]:
    options = ["--project-dir", str(directory), "--profiles-dir", str(directory)]
    options += ["--target-path", str(directory / "target"), "--log-path", str(directory / "logs"), *QUIET]
    return [*options, "--vars", variables] if variables else options


@contextmanager
def parsed_once(keeps_connections: bool = True) -> Iterator[None]:
    """Until the end of the block, builds of scripts.pipeline.build in this process are done by children, too: each of them
    would parse the project, once or twice, as every process of its own has to (8 s of CPU after the clock has moved).

    keeps_connections=False: a session for each node, as dbt has them.
    """
    from dbt.cli.main import dbtRunner, dbtRunnerResult

    from extract.core import database, settings
    from scripts.pipeline import build

    invoke_dbt = build._invoke

    def invoke_in_a_child(*command: str, **options: Any) -> build.Built:
        if command[0] == "retry":
            # It parses by itself, and dbt's static parser waits for ever in a process that was forked.
            return invoke_dbt(*command, **options)
        directory = settings.project_directory()
        with build._environment():
            environment = {"PGDATABASE": os.environ["PGDATABASE"]}
            parsed = _parse(directory, _options(directory), environment, None)
            place = Place(str(directory), environment["PGDATABASE"])

        class Runner(dbtRunner):
            def __init__(self, manifest: Any = None, callbacks: Any = None) -> None:
                super().__init__(parsed.manifest, callbacks)

            def invoke(self, args: list[str], **more: Any) -> dbtRunnerResult:
                if args[0] == "parse":
                    return dbtRunnerResult(success=True, result=parsed.manifest)
                return super().invoke(args, **more)

        def run() -> build.Built:
            import dbt.cli.main

            _become_a_child(parsed, place, keeps_connections)
            # Its threads are the parent's.
            database.pool.cache_clear()
            dbt.cli.main.dbtRunner = Runner  # type: ignore[misc]
            return invoke_dbt(*command, **options)

        built: build.Built | str = _in_a_child(run)
        assert not isinstance(built, str), built
        return built

    build._invoke = invoke_in_a_child
    try:
        yield
    finally:
        build._invoke = invoke_dbt


def manifest_of(directory: Path) -> Any:
    """dbt's manifest of a project, not to be changed. Its relations are in no database."""
    return _parse(directory, _options(directory), {"PGDATABASE": NOWHERE}, None).manifest


class _NotParsed(Exception):
    """dbt does not understand the project; the message is dbt's."""


def _parse(directory: Path, options: Sequence[str], environment: Mapping[str, str], variables: str | None) -> Parsed:
    """The project as dbt understands it; that of an equal copy, too, or of one in another database."""
    database = environment["PGDATABASE"]
    # A name that needs quotes is dbt's business.
    is_odd = not database.isidentifier()
    key = (
        tuple(
            sorted((n, repr(v)) for n, v in json.loads(variables or "{}").items() if n not in VARIABLES_READ_WHEN_BUILT)
        ),
        tuple(sorted((name, value) for name, value in environment.items() if name not in READ_WHEN_BUILT)),
        database if is_odd else None,
        state(directory),
    )
    if key not in _parsed:
        from dbt.cli.main import dbtRunner

        _prepare()
        # What differs from the last project of these settings is parsed, and no more.
        settings = (directory / "dbt_project.yml").read_text()
        known = _parsed_in.get(settings, directory) / "target" / "partial_parse.msgpack"
        if known.exists():
            options = [*options, "--partial-parse-file-path", str(known)]
        with without_collector(), process_environment({}):
            for name in READ_WHEN_BUILT:
                os.environ.pop(name, None)
            os.environ.update({"PGHOST": "127.0.0.1", "PGDATABASE": database if is_odd else NOWHERE})
            outcome = dbtRunner().invoke(["parse", *options])
        if not outcome.success:
            raise _NotParsed(str(outcome.exception))
        _parsed_in[settings] = directory
        manifest: Any = outcome.result
        for node in manifest.nodes.values():
            # Of a seed that is as it was in the project before.
            if hasattr(node, "root_path"):
                node.root_path = str(directory)
        _compile(manifest)
        while len(_parsed) >= KEPT:
            _parsed.pop(next(iter(_parsed)))
        _parsed[key] = Parsed(manifest, Place(str(directory), database if is_odd else NOWHERE))
    return _parsed[key]


def _compile(manifest: Any) -> None:
    """The macros that builds call and parsing does not, and the models, to be there in each child."""
    from dbt_common.clients.jinja import get_environment, template_cache

    for macro in manifest.macros.values():
        if macro.package_name in ("dbt_postgres", "market_warehouse") or "materializations" in macro.original_file_path:
            template_cache.get_node_template(macro)
    for node in manifest.nodes.values():
        if node.resource_type in ("model", "snapshot"):
            hooks = [hook.sql for hook in (*node.config.pre_hook, *node.config.post_hook)]
            for text in (node.raw_code, *hooks):
                get_environment(node).from_string(text)


def state(directory: Path) -> tuple[tuple[str, int, int], ...]:
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


def _in_a_child(work: Callable[[], T]) -> T | str:
    """What a copy of this process answers; why there is no answer, where there is none."""
    reads, writes = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if not child:
        # Whatever happens, this copy of pytest does not go on.
        try:
            os.close(reads)
            with os.fdopen(writes, "wb") as pipe:
                pickle.dump(work(), pipe)
        finally:
            os._exit(0)
    os.close(writes)
    with os.fdopen(reads, "rb") as pipe:
        answer = pipe.read()
    _, status = os.waitpid(child, 0)
    if not answer:
        return f"dbt ended without an answer, status {status}"
    found: T = pickle.loads(answer)
    return found


def _become_a_child(parsed: Parsed, place: Place, keeps_connections: bool = True) -> None:
    import gc

    gc.disable()
    _without_messages()
    if keeps_connections:
        _keep_connections()
    _move(parsed, place)


def _unchanged_views(manifest: Any) -> list[str]:
    """The views that are in the database, but for those that a rebuilt table takes with it, and those that hold a time."""
    import psycopg

    with psycopg.connect("") as connection:
        found = connection.execute("select schemaname, viewname, definition from pg_views").fetchall()
    there = {(schema, name) for schema, name, text in found if "'::timestamp with time zone" not in text}
    nodes = manifest.nodes

    @cache
    def stays(name: str) -> bool:
        read = [(other, nodes[other].config.materialized) for other in nodes[name].depends_on.nodes if other in nodes]
        return (nodes[name].schema, nodes[name].alias) in there and not any(
            kind == "table" or (kind == "view" and not stays(other)) for other, kind in read
        )

    views = [name for name, node in nodes.items() if node.config.materialized == "view"]
    # What a hook does with the build of a view is done: the old system's table is written, and where one of the conditions
    # is built, the states of alerts are brought up to date (macro evaluate_alerts).
    kept = [name for name in views if stays(name) and not name.endswith("_conditions")]
    # Not by name, which the versions of a model share.
    return [
        ".".join(nodes[name].fqn) for name in kept if not (nodes[name].config.pre_hook or nodes[name].config.post_hook)
    ]


def _run(parsed: Parsed, place: Place, arguments: Sequence[str]) -> Outcome:
    from dbt.cli.main import dbtRunner

    _become_a_child(parsed, place)
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

    levels = (EventLevel.WARN, EventLevel.ERROR)
    make = BaseEvent.__init__

    def is_heard(event: Any) -> bool:
        return event.level_tag() in levels or type(event).__name__ in STAGES

    def make_if_heard(self: Any, *values: Any, **named: Any) -> None:
        if is_heard(self):
            make(self, *values, **named)

    class OnlyHeard(EventManager):
        def fire_event(self, e: Any, level: Any = None, *more: Any, **options: Any) -> None:
            if is_heard(e):
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

    # The table that stands for no result, with a parser of dates in words, made for each statement (6 % of a build).
    nothing = agate_helper.empty_table()  # type: ignore[no-untyped-call]
    agate_helper.empty_table = lambda: nothing

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
