"""What an archive file lacks that it must have: bars, which Binance makes even without trades, samples of every five
minutes, and settlements as often as the contract settles."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import orjson

from extract.binance.settings import SPOT_KLINES, STATISTICS_PERIOD, STATISTICS_ROWS
from extract.responses import Parsed, Task
from extract.timeframes import STEPS
from extract.windows import Window, merged, missing

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SAMPLE = STEPS[STATISTICS_PERIOD]
# How late the stamps of settlements and samples are at most.
JITTER = timedelta(minutes=1)


def holes(task: Task, parsed: Parsed) -> list[Window]:
    """The parts of a file's window that it does not answer for, those together that one page of REST holds; rows that
    cannot be read count as none."""
    step = STEPS[task.timeframe] if task.timeframe else SAMPLE
    # Nearly every file of bars is whole, and a month of them takes its time to read.
    if parsed.payload is None or (task.endpoint == "bars" and parsed.row_count == (task.end - task.start) // step):
        return []
    rows = orjson.loads(parsed.payload)["rows"]
    if task.endpoint == "bars":
        opened = (_instant(row[0]) for row in rows if row)
        return _near(
            missing(task.start, task.end, merged((at, at + step) for at in opened if at)), SPOT_KLINES[1] * step
        )
    if task.endpoint == "metrics":
        return _near(_without_samples(task, rows), STATISTICS_ROWS * SAMPLE)
    return _without_settlements(task, rows)


def _near(gaps: Iterable[Window], longest: timedelta) -> list[Window]:
    """The gaps, those that lie near each other as one: a file that lacks every other row takes one request, not 144."""
    joined: list[Window] = []
    for start, end in gaps:
        if joined and end - joined[-1][0] <= longest:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return joined


def _without_samples(task: Task, rows: list[list[str]]) -> list[Window]:
    """Windows without a usable open interest. Of the stamps at a day's two ends a file has one (derivatives.py)."""
    taken = [at for row in rows if len(row) > 2 and (at := _label(row[0])) and _is_above_zero(row[2])]
    gaps = missing(task.start, task.end + SAMPLE, merged((at, at + SAMPLE) for at in taken))
    at_the_ends = ((task.start, task.start + SAMPLE), (task.end, task.end + SAMPLE))
    return [gap for gap in gaps if gap not in at_the_ends]


def _without_settlements(task: Task, rows: list[list[str]]) -> list[Window]:
    """Windows longer than the intervals that the rows around them state."""
    settled = sorted((at, _hours(row)) for row in rows if row and (at := _instant(row[0])))
    if not settled:
        return []
    first, last = settled[0], settled[-1]
    line = [(task.start - first[1], first[1]), *settled, (task.end, last[1])]
    return [
        (max(at + JITTER, task.start), following)
        for (at, hours), (following, next_hours) in zip(line, line[1:], strict=False)
        if following - at > max(hours, next_hours) + JITTER
    ]


def _instant(text: str) -> datetime | None:
    """Milliseconds, since 2025 microseconds."""
    if not text.strip().isdigit() or len(text.strip()) > 16:
        return None
    number = int(text)
    return EPOCH + timedelta(microseconds=number if number >= 10**14 else number * 1000)


def _label(text: str) -> datetime | None:
    """The stamp of a sample, of its label, which trembles."""
    try:
        at = datetime.strptime(text.strip(), "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
    except ValueError:
        return None
    return at - (at + SAMPLE - JITTER - EPOCH) % SAMPLE + SAMPLE - JITTER


def _is_above_zero(text: str) -> bool:
    try:
        return 0 < float(text) < float("inf")
    except ValueError:
        return False


def _hours(row: list[str]) -> timedelta:
    """The interval that a settlement's row states; 8 hours, the longest, where it states none."""
    named = row[1].strip() if len(row) > 1 else ""
    return timedelta(hours=int(named) if named.isascii() and named.isdigit() and 1 <= int(named[:3]) <= 24 else 8)
