"""What an archive file lacks that it must have: bars, which Binance makes even without trades, samples of every five
minutes, and settlements as often as the contract settles."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import orjson

from extract.calendar.timeframes import STEPS
from extract.calendar.windows import Window, merged, missing
from extract.load.responses import Parsed, Task
from extract.providers import questions
from extract.providers.binance.settings import KLINE_FIELDS, SPOT_KLINES, STATISTICS_PERIOD, STATISTICS_ROWS

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SAMPLE = STEPS[STATISTICS_PERIOD]
# How late the stamps of settlements and samples are at most.
JITTER = timedelta(minutes=1)


def holes(task: Task, parsed: Parsed) -> list[Window]:
    """The parts of a file's window that it does not answer for, those together that one page of REST holds; rows that
    cannot be read count as none."""
    step = STEPS[task.timeframe] if task.timeframe else SAMPLE
    if parsed.payload is None:
        return []
    # Nearly every file of bars is whole, and a month of them takes its time to read.
    is_whole = task.endpoint == "bars" and parsed.row_count == (task.end - task.start) // step
    if is_whole and not _may_lack_prices(parsed.payload, parsed.row_count or 0):
        return []
    rows = orjson.loads(parsed.payload)["rows"]
    if task.endpoint == "bars":
        opened = (_instant(row[0]) for row in rows if len(row) > 4 and all(map(questions.is_positive, row[1:5])))
        return _near(
            missing(task.start, task.end, merged((at, at + step) for at in opened if at)), SPOT_KLINES[1] * step
        )
    if task.endpoint == "metrics":
        return _near(_without_samples(task, rows), STATISTICS_ROWS * SAMPLE)
    return _without_settlements(task, rows)


def _may_lack_prices(payload: str, row_count: int) -> bool:
    """Whether a price may be missing, or no number above zero (as Binance writes it). 3 ms a month; reading it takes 40."""
    rows = payload[payload.index('"rows":') + 7 :].encode()
    return (
        bool(rows.translate(None, b'0123456789.,"[]}'))
        or b',"",' in rows
        or b',"0.00000000",' in rows
        or rows.count(b",") + 1 < row_count * KLINE_FIELDS
    )


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
    taken = [at for row in rows if len(row) > 2 and (at := _label(row[0])) and questions.is_positive(row[2])]
    gaps = missing(task.start, task.end + SAMPLE, merged((at, at + SAMPLE) for at in taken))
    at_the_ends = ((task.start, task.start + SAMPLE), (task.end, task.end + SAMPLE))
    return [gap for gap in gaps if gap not in at_the_ends]


def _without_settlements(task: Task, rows: list[list[str]]) -> list[Window]:
    """Windows longer than the intervals that the rows around them state."""
    # A stamp of another month is no neighbour: REST would be asked up to it.
    settled = sorted(
        (at, _hours(row))
        for row in rows
        if row and (at := _instant(row[0])) and task.start - JITTER <= at <= task.end + JITTER
    )
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
    digits = text.strip()
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 16:
        return None
    number = int(digits)
    return EPOCH + timedelta(microseconds=number if number >= 10**14 else number * 1000)


def _label(text: str) -> datetime | None:
    """The stamp of a sample, of its label, which trembles."""
    try:
        at = datetime.strptime(text.strip(), "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
        return at - (at + SAMPLE - JITTER - EPOCH) % SAMPLE + SAMPLE - JITTER
    except (ValueError, OverflowError):
        return None


def _hours(row: list[str]) -> timedelta:
    """The interval that a settlement's row states; 8 hours, the longest, where it states none."""
    named = row[1].strip() if len(row) > 1 else ""
    is_number = named.isascii() and named.isdigit() and len(named) <= 2
    return timedelta(hours=int(named) if is_number and 1 <= int(named) <= 24 else 8)
