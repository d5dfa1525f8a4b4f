"""How a load goes: a progress bar on a terminal, a log line per package elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Sequence
from datetime import timedelta
from types import TracebackType

from extract.load.responses import Row

log = logging.getLogger(__name__)


class Progress:
    """One source's progress over its tasks, with rows a second and the time left."""

    def __init__(self, source: str, tasks: int) -> None:
        self._source, self._tasks = source, tasks
        self._done = self._rows = 0
        self._began = time.monotonic()
        self._bar = None
        if tasks > 1 and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[speed]}"),
                TimeRemainingColumn(),
            )
            self._bar = Bar(*columns, console=Console(stderr=True), transient=True)
            self._bar_task = self._bar.add_task(source, total=tasks, speed="")

    def __enter__(self) -> Progress:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def answered(self) -> None:
        """A task has its answer; it is not committed yet."""
        if self._bar:
            self._bar.advance(self._bar_task)

    def committed(self, tasks: int, rows: Sequence[Row]) -> None:
        """A package of tasks is safe."""
        self._done += tasks
        self._rows += sum(row.values["row_count"] or 0 for row in rows)
        seconds = time.monotonic() - self._began
        speed = f"{self._rows / max(seconds, 0.001):,.0f} rows/s"
        if self._bar:
            self._bar.update(self._bar_task, completed=self._done, speed=speed)
        elif self._done < self._tasks:
            left = timedelta(seconds=round(seconds / self._done * (self._tasks - self._done)))
            line = "%s: %d of %d requests, %s rows, %s, %s left"
            log.info(line, self._source, self._done, self._tasks, f"{self._rows:,}", speed, left)
