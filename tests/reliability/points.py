"""Where a process can be killed: before and after each statement that it sends, and where it writes, moves or deletes a
file, counted per stage of the run. A stage and a number are a point: the same seed and commit die at the same one.

The stage is the step of the run; within the extract the step of dlt; within the build the node of dbt.
"""

from __future__ import annotations

import os
import re
import sys
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NODE = re.compile(r'"node_id": "(?:\w+)\.market_warehouse\.([\w.]+)"')
WRITES = os.O_WRONLY | os.O_RDWR
FILE_EVENTS = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree"}


@dataclass(frozen=True)
class Point:
    """The n-th thing that a stage does, from 1."""

    stage: str
    number: int

    def __str__(self) -> str:
        return f"{self.stage} {self.number}"


class Points:
    """Counts the points that this process passes, and calls `strike` at one of them."""

    def __init__(self, directory: Path, target: Point | None, strike: Callable[[], None]) -> None:
        self.counts: Counter[str] = Counter()
        self._directory, self._target, self._strike = str(directory), target, strike
        self._step = "start"
        self._lock = threading.Lock()
        self._node = threading.local()

    def reach(self, statement: object = None) -> None:
        """One more point of the stage at hand. statement: its comment says which node of dbt sends it."""
        node = self._node_of(statement)
        with self._lock:
            stage = node or self._step
            self.counts[stage] += 1
            is_hit = self._target == Point(stage, self.counts[stage])
        if is_hit:
            self._strike()

    def _node_of(self, statement: object) -> str | None:
        if isinstance(statement, str):
            # dbt's comment is in front.
            head = statement[:600]
            if found := NODE.search(head):
                self._node.name = found[1]
            elif '"app": "dbt"' in head:
                self._node.name = None
        return getattr(self._node, "name", None)

    def install(self) -> None:
        """Patch this process, which is a child of its own and ends after it: nothing is put back."""
        self._watch_statements()
        self._watch_steps()
        sys.addaudithook(self._audit)

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if not isinstance(flags, int) or not flags & WRITES:
                return
        elif event in FILE_EVENTS:
            path = arguments[0]
        else:
            return
        # What dbt and Python keep for themselves (target, caches) holds nothing of the warehouse.
        text = os.fspath(path) if isinstance(path, str | os.PathLike) else ""
        if self._directory in str(text) and not re.search("/target/|/logs/", str(text)):
            self.reach()

    def _watch_statements(self) -> None:
        import psycopg
        import psycopg2
        from psycopg2.extensions import connection, cursor

        points = self

        class WatchedCursor(cursor):  # type: ignore[misc]
            def execute(self, query: Any, *values: Any) -> Any:
                points.reach(query)
                result = super().execute(query, *values)
                points.reach()
                return result

            def copy_expert(self, query: Any, *values: Any, **named: Any) -> Any:
                points.reach(query)
                result = super().copy_expert(query, *values, **named)
                points.reach()
                return result

        def watched_kind(base: Any) -> Any:
            class WatchedConnection(base):  # type: ignore[misc]
                def cursor(self, *values: Any, **named: Any) -> Any:
                    named.setdefault("cursor_factory", WatchedCursor)
                    return super().cursor(*values, **named)

                def commit(self) -> None:
                    points.reach()
                    super().commit()
                    points.reach()

            return WatchedConnection

        connect = psycopg2.connect
        kinds: dict[Any, Any] = {}

        def watched_connect(*values: Any, connection_factory: Any = connection, **named: Any) -> Any:
            kind = kinds.setdefault(connection_factory, watched_kind(connection_factory))
            return connect(*values, connection_factory=kind, **named)

        psycopg2.connect = watched_connect
        for kind, name in (
            (psycopg.Cursor, "execute"),
            (psycopg.Cursor, "executemany"),
            (psycopg.Connection, "commit"),
        ):
            setattr(kind, name, self._watched(getattr(kind, name)))

    def _watched(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*values: Any, **named: Any) -> Any:
            self.reach()
            result = method(*values, **named)
            self.reach()
            return result

        return watched

    def _watch_steps(self) -> None:
        import dlt

        from scripts.pipeline.run import Record

        step = Record.step

        def watched_step(record: Any, name: str, work: Any) -> None:
            self._step = name
            step(record, name, work)
            self._step = "end"

        vars(sys.modules[Record.__module__])["Record"] = type("Record", (Record,), {"step": watched_step})
        for name in ("extract", "normalize", "load"):
            setattr(dlt.Pipeline, name, self._within(f"dlt {name}", getattr(dlt.Pipeline, name)))

    def _within(self, stage: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def within(*values: Any, **named: Any) -> Any:
            before, self._step = self._step, stage
            try:
                return method(*values, **named)
            finally:
                self._step = before

        return within
