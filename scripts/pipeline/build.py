"""`dbt build` in this process: no start-up of its own (9 s of CPU), and its outcome as a value.

Left out are unit tests: they test the SQL, not the data, and the code does not change between two runs. What ended in
an error, not in a failing test, is tried once more with `dbt retry`, which builds only that and what depends on it.

A scheduled turn (`build_turn`) has the bars in the mart first, and all that reads them after that. dbt takes about 70 ms of
CPU for a node, and of 127 nodes 76 are views and seeds, which are as they were unless the project has changed: a turn leaves
them out while ops.project_state says that the last build of them was of this very project.
"""

from __future__ import annotations

import gc
import hashlib
import logging
import os
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from typing import Any

from extract.core import clock, database, refusal, settings

# The longest that a build says nothing.
SILENCE_SECONDS = 20

MART_TABLE = "market_data_v2"
# The mart with all that it is made from.
MART = f"+{MART_TABLE}"
# Nothing is made for an exposure, and with one selected dbt tells of a failed on-run-start hook only "'Exposure' object has
# no attribute 'schema'".
NO_UNIT_TESTS = ("--exclude-resource-type", "unit_test", "exposure")
NO_TESTS = (*NO_UNIT_TESTS, "test")
READ_BY_DBT = (".sql", ".yml", ".csv")
ENV_VAR = re.compile(rb"env_var\('(\w+)'")
# Differs between two commands on one project.
OF_THE_PROCESS = {"MARKET_RUN"}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Built:
    """What a build did: nodes by their status, and the messages of those that failed."""

    counts: dict[str, int]
    failures: tuple[str, ...]
    has_errors: bool = field(default=False, compare=False)
    # When the mart had been written, by time.monotonic(); None: it was not.
    mart_written: float | None = field(default=None, compare=False)

    @property
    def is_complete(self) -> bool:
        """Whether dbt ran, and made all that it was asked for: what reads a failed node, or one with a failing test, it skips."""
        return bool(self.counts) and not self.has_errors and "skipped" not in self.counts

    def __str__(self) -> str:
        return ", ".join(f"{number} {status}" for status, number in sorted(self.counts.items()))


def build() -> Built:
    """Build and test everything; a failed node is in the result, not an exception. Raises KeyboardInterrupt if it is
    stopped."""
    state = _state_of_project()
    built = _tried_again(_invoke("build", *NO_UNIT_TESTS))
    if built.is_complete:
        _remember(state)
    return built


def build_turn() -> Built:
    """Build what a turn brings, without tests: the models up to the mart, then those that read it.

    Where a part fails, all is built in one go: only so does dbt leave out what reads a failed node, and make again a view or
    seed that somebody has dropped.
    """
    state = _state_of_project()
    is_known = _remembered() == state
    parts = []
    for select, exclude in (([MART], []), ([], [MART])):
        part = _invoke("build", *NO_TESTS, select=select, exclude=exclude, without_unchanged=is_known)
        if not part.is_complete:
            for failure in part.failures:
                log.warning("build: %s", failure)
            log.warning("build: trying once more, all in one go")
            parts = [_tried_again(_invoke("build", *NO_TESTS))]
            break
        parts.append(part)
    has_made_all = not is_known or len(parts) == 1
    if has_made_all and all(part.is_complete for part in parts):
        _remember(state)
    return Built(
        dict(sum((Counter(part.counts) for part in parts), Counter())),
        tuple(failure for part in parts for failure in part.failures),
        any(part.has_errors for part in parts),
        parts[0].mart_written,
    )


def _tried_again(built: Built) -> Built:
    """A build whose errors, if there are any, got a second try."""
    if not built.has_errors:
        return built
    for failure in built.failures:
        log.warning("build: %s", failure)
    log.warning("build: trying once more what failed (dbt retry)")
    again = _invoke("retry")
    return replace(again, mart_written=again.mart_written or built.mart_written)


def _state_of_project() -> str:
    """A digest of all that views and seeds are made from: the project's files, the settings that it reads, dbt."""
    directory = settings.project_directory()
    digest = hashlib.sha256(version("dbt-core").encode())
    names: set[str] = set()
    for path in sorted([*directory.glob("*.yml"), *(directory / "dbt_project").rglob("*")]):
        if path.suffix in READ_BY_DBT:
            text = path.read_bytes()
            digest.update(f"\0{path.relative_to(directory)}\0".encode() + text)
            names.update(name.decode() for name in ENV_VAR.findall(text))
    with _environment():
        digest.update(repr([(name, os.environ.get(name)) for name in sorted(names - OF_THE_PROCESS)]).encode())
    return digest.hexdigest()


def _remembered() -> str | None:
    with database.pool().connection() as connection:
        row = connection.execute("select digest from ops.project_state").fetchone()
    return row[0] if row else None


def _remember(digest: str) -> None:
    """Views and seeds are those of this state; a build of any of them forgets it when it begins (macro
    forget_project_state)."""
    with database.pool().connection() as connection:
        connection.execute(
            "insert into ops.project_state (digest, built_at) values (%s, %s)"
            " on conflict (is_only) do update set digest = excluded.digest, built_at = excluded.built_at",
            (digest, clock.now()),
        )


def _invoke(
    command: str,
    *arguments: str,
    select: Sequence[str] = (),
    exclude: Sequence[str] = (),
    without_unchanged: bool = False,
) -> Built:
    """Run a dbt command. without_unchanged: leave out the views and seeds that another build of the same project has made."""
    # A fresh runner each time: one that is used twice breaks on ephemeral models.
    from dbt.cli.main import dbtRunner

    directory = settings.project_directory()
    places = ["--project-dir", str(directory), "--profiles-dir", str(directory)]
    places += ["--target-path", str(directory / "target"), "--log-path", str(directory / "logs")]
    if settings.load().log_format == "json":
        # What failed is in the result, so our log reports it, with its run; dbt's objects have other fields.
        places += ["--log-level", "none"]
    manifest: Any = None
    with _environment(), without_collector(), Stages() as stages:
        if without_unchanged:
            parsed = dbtRunner().invoke(["parse", "--quiet", *places])
            if parsed.exception is None:
                manifest = parsed.result
                exclude = [*exclude, *_unchanged(manifest)]
        for option, names in (("--select", select), ("--exclude", exclude)):
            arguments += (option, *names) if names else ()
        outcome = dbtRunner(manifest, callbacks=[stages.note]).invoke(
            [command, "--quiet", "--no-use-colors", *arguments, *places]
        )
    if isinstance(outcome.exception, KeyboardInterrupt):
        # dbt hands it over as a value: the run would go on with its next step and call the build failed, for no reason.
        raise KeyboardInterrupt
    if outcome.exception is not None and outcome.result is None:
        return Built({}, (_told(f"dbt {command}", outcome.exception),))
    return replace(_summary(getattr(outcome.result, "results", [])), mart_written=stages.mart_written)


def _unchanged(manifest: Any) -> list[str]:
    """The seeds, and the views that are there, but for those that a rebuilt table takes with it (dbt drops the former table
    and, by cascade, every view that reads it) and those with a hook, which has its work in each build: the old system's
    table is written by one."""
    with database.pool().connection() as connection:
        there = {(schema, name) for schema, name in connection.execute("select schemaname, viewname from pg_views")}
    nodes = manifest.nodes
    kinds = {name: node.config.materialized for name, node in nodes.items()}

    def stays(name: str) -> bool:
        if (nodes[name].schema, nodes[name].alias) not in there:
            return False
        read = [(other, kinds.get(other)) for other in nodes[name].depends_on.nodes]
        return not any(kind == "table" or (kind == "view" and not stays(other)) for other, kind in read)

    def has_hook(name: str) -> bool:
        return bool(nodes[name].config.pre_hook or nodes[name].config.post_hook)

    left_out = [
        name
        for name, kind in kinds.items()
        if kind == "seed" or (kind == "view" and stays(name) and not has_hook(name))
    ]
    # Not by name, which the versions of a model share.
    return [".".join(nodes[name].fqn) for name in left_out]


class Stages:
    """Says what a build is at: a line where each stage begins, and one every few seconds while nodes take longer."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self.mart_written: float | None = None
        self._seen: set[str] = set()
        # Nodes at work, by name, each with when it began.
        self._at_work: dict[str, float] = {}
        self._ended = threading.Event()
        self._watch = threading.Thread(target=self._watch_over, name="build progress", daemon=True)

    def __enter__(self) -> Stages:
        self._watch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._watch.join()

    def note(self, event: Any) -> None:
        """Take in an event of dbt's."""
        if event.info.name == "LogStartLine":
            node = event.data.node_info
            self._at_work[node.node_name] = time.monotonic()
            stage = _stage(node.resource_type, node.node_path)
            if stage not in self._seen:
                self._seen.add(stage)
                seconds = time.monotonic() - self._began
                line = "build: %s, node %d of %d, after %.0f s"
                log.info(line, stage, event.data.index, event.data.total, seconds, extra={"step": "build"})
        elif event.info.name == "NodeFinished":
            node = event.data.node_info
            self._at_work.pop(node.node_name, None)
            if node.node_relation.alias == MART_TABLE and node.node_status == "success":
                self.mart_written = time.monotonic()

    def _watch_over(self) -> None:
        while not self._ended.wait(SILENCE_SECONDS):
            now = time.monotonic()
            slow = [f"{name} ({now - since:.0f} s)" for name, since in list(self._at_work.items())]
            if slow:
                log.info("build: at work on %s", ", ".join(sorted(slow)), extra={"step": "build"})


def _stage(kind: str, path: str) -> str:
    """What a node belongs to, in words: the folder of a model, all tests together."""
    if kind in ("seed", "snapshot"):
        return f"{kind}s"
    if kind != "model":
        return "tests"
    return path.rpartition("/")[0].replace("/", " ").replace("_", " ")


def _summary(results: Sequence[Any]) -> Built:
    failed = [result for result in results if result.status in ("error", "fail", "runtime error")]
    words = database.words_of_lock_timeout() if failed else ""
    waited = [result for result in failed if words in str(result.message)]
    blocking = database.blocking_sessions() if waited else ""
    return Built(
        dict(Counter(str(result.status) for result in results)),
        tuple(
            _told(result.node.name, result.message) + (f": {blocking}" if result in waited else "") for result in failed
        ),
        any(result.status != "fail" for result in failed),
    )


def _told(name: str, message: object) -> str:
    """What failed and why, in one line, with what to do about a server without a free connection or lock."""
    text = f"{name}: {' '.join(str(message).split())}"
    if database.has_no_lock_left(text):
        return f"{text}: {database.sessions_with_most_locks()}"
    # It took the build's other connections, so it is not our settings that it refuses, in whatever language.
    is_full = refusal.is_full(text) or refusal.is_by_the_server(text)
    return f"{text}: {database.MAKE_ROOM}" if is_full else text


@contextmanager
def without_collector() -> Iterator[None]:
    """Python's collector of cycles walks dbt's whole manifest again and again, for a quarter of a build's CPU."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@contextmanager
def _environment() -> Iterator[None]:
    """What dbt reads of `.env` and of the embedded server is in the environment, for as long as it runs."""
    from scripts import environment

    before = dict(os.environ)
    environment.configure_environment()
    # The run looks at its alerts itself, when it knows how it ended (macros/operations/operations.sql).
    os.environ["MARKET_RUN"] = "true"
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
