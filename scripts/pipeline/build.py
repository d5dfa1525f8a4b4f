"""`dbt build` in this process: no start-up of its own (9 s of CPU), and its outcome as a value.

Left out are unit tests: they test the SQL, not the data, and the code does not change between two runs. What ended in
an error, not in a failing test, is tried once more with `dbt retry`, which builds only that and what depends on it.
"""

from __future__ import annotations

import gc
import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from extract.core import database, settings

# The longest that a build says nothing.
SILENCE_SECONDS = 20

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Built:
    """What a build did: nodes by their status, and the messages of those that failed."""

    counts: dict[str, int]
    failures: tuple[str, ...]
    has_errors: bool = field(default=False, compare=False)

    def __str__(self) -> str:
        return ", ".join(f"{number} {status}" for status, number in sorted(self.counts.items()))


def build(without_tests: bool = False) -> Built:
    """Build all models; a failed node is in the result, not an exception. Raises KeyboardInterrupt if it is stopped."""
    excluded = ["unit_test", *(["test"] if without_tests else [])]
    built = _invoke("build", "--exclude-resource-type", *excluded)
    if built.has_errors:
        for failure in built.failures:
            log.warning("build: %s", failure)
        log.warning("build: trying once more what failed (dbt retry)")
        built = _invoke("retry")
    return built


def _invoke(command: str, *arguments: str) -> Built:
    # A fresh runner each time: one that is used twice breaks on ephemeral models.
    from dbt.cli.main import dbtRunner

    directory = settings.project_directory()
    places = ["--project-dir", str(directory), "--profiles-dir", str(directory)]
    places += ["--target-path", str(directory / "target"), "--log-path", str(directory / "logs")]
    if settings.load().log_format == "json":
        # What failed is in the result, so our log reports it, with its run; dbt's objects have other fields.
        places += ["--log-level", "none"]
    with _environment(), without_collector(), Stages() as stages:
        runner = dbtRunner(callbacks=[stages.note])
        outcome = runner.invoke([command, "--quiet", "--no-use-colors", *arguments, *places])
    if isinstance(outcome.exception, KeyboardInterrupt):
        # dbt hands it over as a value: the run would go on with its next step and call the build failed, for no reason.
        raise KeyboardInterrupt
    if outcome.exception is not None and outcome.result is None:
        return Built({}, (_told(f"dbt {command}", outcome.exception),))
    return _summary(getattr(outcome.result, "results", []))


class Stages:
    """Says what a build is at: a line where each stage begins, and one every few seconds while nodes take longer."""

    def __init__(self) -> None:
        self._began = time.monotonic()
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
            self._at_work.pop(event.data.node_info.node_name, None)

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
    waited = [result for result in failed if "lock timeout" in str(result.message)]
    blocking = database.blocking_sessions() if waited else ""
    return Built(
        dict(Counter(str(result.status) for result in results)),
        tuple(
            _told(result.node.name, result.message) + (f": {blocking}" if result in waited else "") for result in failed
        ),
        any(result.status != "fail" for result in failed),
    )


def _told(name: str, message: object) -> str:
    """What failed and why, in one line, with what to do about a server without a free connection."""
    text = f"{name}: {' '.join(str(message).split())}"
    return f"{text}: {database.MAKE_ROOM}" if database.is_full(text) else text


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
