"""What an archive file of bars lacks: rows that its window must have, as bars of Binance come even without trades."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import orjson

from extract.responses import Parsed, Task
from extract.timeframes import STEPS
from extract.windows import Window, merged, missing


def holes(task: Task, parsed: Parsed) -> list[Window]:
    """The parts of a file's window in which it has no bar; rows whose time cannot be read count as none."""
    assert task.timeframe is not None
    step = STEPS[task.timeframe]
    if parsed.row_count == (task.end - task.start) // step or parsed.payload is None:
        return []
    opened = (_instant(row[0]) for row in orjson.loads(parsed.payload)["rows"] if row)
    return missing(task.start, task.end, merged((at, at + step) for at in opened if at))


def _instant(text: str) -> datetime | None:
    """Milliseconds, since 2025 microseconds."""
    if not text.strip().isdigit() or len(text.strip()) > 16:
        return None
    number = int(text)
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=number if number >= 10**14 else number * 1000)
