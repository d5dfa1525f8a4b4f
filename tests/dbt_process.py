"""dbt in a child of this process, which starts with dbt loaded and the project parsed, and ends without tidying up.

Data flow: project directory -> `dbt parse` in this process, once per state of the project -> a fork of it runs the command
on its copy of that manifest -> what became of each node, through a pipe.

Measured, for a build of all models on a few bars (4.7 s of Python): reading the parsed project 0.5 s, and more where
WAREHOUSE_NOW is another than last time (dbt then parses each model that reads it); collecting what it leaves 1.0 s;
messages that nobody reads 0.7 s; compiling templates 0.4 s. A copy by fork takes milliseconds, and none of these is left.
"""

from __future__ import annotations

import os
import pickle
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from scripts.build import without_collector

# Results are values here. A level of its own, not --quiet: that still words every message (a tenth of a build's CPU).
QUIET = ("--log-level", "none", "--log-level-file", "none", "--no-write-json")
# What dbt reads when a model is built, not when it is parsed.
READ_WHEN_BUILT = ("WAREHOUSE_NOW", "TZ", "PGTZ", "PGOPTIONS", "MARKET_RUN")
PARSED_FILES = (".sql", ".yml", ".md")
# Parsed projects that are kept: more would cost memory (60 MB each), and files take turns with two at most.
KEPT = 4

_parsed: dict[tuple[Any, ...], Any] = {}


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
            manifest = _manifest(directory, options, environment, variables)
        except _NotParsed as problem:
            return Outcome(False, str(problem), ())
        return _in_a_child(manifest, [command, *arguments, *options])


class _NotParsed(Exception):
    """dbt does not understand the project; the message is dbt's."""


def _manifest(directory: Path, options: Sequence[str], environment: Mapping[str, str], variables: str | None) -> Any:
    key = (
        str(directory),
        variables,
        tuple(sorted((name, value) for name, value in environment.items() if name not in READ_WHEN_BUILT)),
        tuple(sorted((name, value) for name, value in os.environ.items() if name.startswith(("FALLBACK_", "MIN_")))),
        os.environ.get("VALIDATE_ON_INSERT"),
        _state(directory),
    )
    if key not in _parsed:
        from dbt.cli.main import dbtRunner

        _keep_compiled_templates()
        with without_collector():
            outcome = dbtRunner().invoke(["parse", *options])
        if not outcome.success:
            raise _NotParsed(str(outcome.exception))
        while len(_parsed) >= KEPT:
            _parsed.pop(next(iter(_parsed)))
        _parsed[key] = outcome.result
    return _parsed[key]


def _state(directory: Path) -> tuple[tuple[str, int, int], ...]:
    """Every file that dbt parses, with its size and when it was written. Seeds are read when they are loaded."""
    found = []
    for folder, folders, names in os.walk(directory):
        folders[:] = [name for name in folders if name not in ("target", "logs")]
        for name in names:
            if name.endswith(PARSED_FILES):
                path = f"{folder}/{name}"
                facts = os.stat(path)  # noqa: PTH116 (a thousand files for each build: Path takes three times as long)
                found.append((path, facts.st_size, facts.st_mtime_ns))
    return tuple(sorted(found))


def _in_a_child(manifest: Any, arguments: Sequence[str]) -> Outcome:
    reads, writes = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if not child:
        # Whatever happens, this copy of pytest does not go on.
        try:
            os.close(reads)
            with os.fdopen(writes, "wb") as pipe:
                pickle.dump(_run(manifest, arguments), pipe)
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


def _run(manifest: Any, arguments: Sequence[str]) -> Outcome:
    import gc

    from dbt.cli.main import dbtRunner
    from dbt_common.events.event_manager_client import ctx_set_event_manager

    gc.disable()
    ctx_set_event_manager(_only_warnings())
    outcome = dbtRunner(manifest=manifest).invoke(list(arguments))
    if outcome.exception is not None:
        return Outcome(False, str(outcome.exception), ())
    nodes = tuple(
        Node(
            result.node.name,
            getattr(result.node, "alias", result.node.name),
            str(result.status),
            str(result.message),
            result.execution_time,
        )
        for result in getattr(outcome.result, "results", ())
    )
    return Outcome(outcome.success, None, nodes)


def _only_warnings() -> Any:
    """An event manager that words no message: nobody listens. Warnings go on: some of them are errors."""
    from dbt_common.events.base_types import EventLevel
    from dbt_common.events.event_manager import EventManager

    class OnlyWarnings(EventManager):
        def fire_event(self, e: Any, level: Any = None, *more: Any, **options: Any) -> None:
            if options.get("force_warn_or_error_handling") or (level or e.level_tag()) == EventLevel.WARN:
                super().fire_event(e, level, *more, **options)

    return OnlyWarnings()


@cache
def _keep_compiled_templates() -> None:
    """What Jinja compiled to parse the project serves each build: it is the same text (0.4 s)."""
    from dbt_common.clients.jinja import MacroFuzzEnvironment

    compiled: dict[tuple[Any, ...], Any] = {}
    compile_template = MacroFuzzEnvironment.compile

    def kept(self: Any, source: Any, *options: Any, **more: Any) -> Any:
        if not isinstance(source, str):
            return compile_template(self, source, *options, **more)
        key = (type(self), source, options, tuple(more.items()))
        if key not in compiled:
            compiled[key] = compile_template(self, source, *options, **more)
        return compiled[key]

    MacroFuzzEnvironment.compile = kept


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
