"""Pure parsing of Binance's bodies."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import orjson

from extract.load.responses import BadPayload, Parsed, Task, sha256
from extract.providers import questions
from extract.providers.binance.settings import KLINE_FIELDS


def rows_of(body: bytes) -> list[Any]:
    try:
        rows = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadPayload(f"not JSON ({error})") from None
    if not isinstance(rows, list):
        raise BadPayload("expected an array")
    return rows


def klines(body: bytes, task: Task, asked_end: datetime | None = None) -> Parsed:
    """The klines of a task's window. One that opens at its end or later is still running: it is stored, but does not
    count, so that an answer in which nothing else is new is an unchanged one. `asked_end`: up to when was asked."""
    rows = rows_of(body)
    # Only the ends are checked: a single bad row is dbt's to reject.
    if rows and not any(_is_kline(row) for row in (rows[0], rows[-1])):
        raise BadPayload(f"expected rows of {KLINE_FIELDS} fields that begin with the open time")
    opened = [row[0] if isinstance(row, list) and row else None for row in rows]
    closes = [row[4] if _is_kline(row) else None for row in rows]
    times = questions.inside(task, questions.times_of(questions.of_bars(opened, closes)), end=asked_end)
    questions.lengths(task, rows, length)
    end = task.end.timestamp() * 1000
    first, last = questions.ends([time for time in times if time < end])
    closed = [row for row, time in zip(rows, opened, strict=True) if not isinstance(time, int) or time < end]
    # The body is nothing but rows, and Binance writes a number the same way every time.
    sha = sha256(body if len(closed) == len(rows) else orjson.dumps(closed))
    return Parsed(len(closed), sha, first_at=first, last_at=last)


def _is_kline(row: Any) -> bool:
    return isinstance(row, list) and len(row) == KLINE_FIELDS and isinstance(row[0], int)


def length(row: Any) -> int | None:
    """How long a kline is, in ms; None where it does not say so."""
    try:
        return int(row[6]) - int(row[0]) + 1
    except (TypeError, ValueError, IndexError):
        return None


def objects(body: bytes, task: Task, required: str, stamp: str) -> Parsed:
    """An array of objects with the fields, `stamp` being their time in milliseconds, as a number or as text."""
    rows = rows_of(body)
    good = [row for row in rows if isinstance(row, dict) and row.keys() >= {required, stamp}]
    # A single bad row is dbt's to reject.
    if len(good) * 2 < len(rows):
        raise BadPayload(f"expected objects with the documented fields {required}, {stamp}")
    questions.about(task.provider_symbol, [row.get("symbol") for row in good])
    first, last = questions.ends(questions.inside(task, questions.times_of([row[stamp] for row in good])))
    return Parsed(len(rows), sha256(body), first_at=first, last_at=last)


def open_interest_now(body: bytes, task: Task) -> Parsed:
    """The single object of the point-in-time endpoint."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadPayload(f"not JSON ({error})") from None
    if not isinstance(found, dict) or "openInterest" not in found:
        raise BadPayload("expected an object with the documented field openInterest")
    questions.about(task.provider_symbol, [found.get("symbol")])
    first, last = questions.ends(questions.times_of([found.get("time")]))
    return Parsed(1, sha256(body), first_at=first, last_at=last)
