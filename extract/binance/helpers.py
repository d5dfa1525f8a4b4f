"""Pure parsing of Binance's bodies."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson

from extract.binance.settings import KLINE_FIELDS
from extract.responses import BadPayload, Parsed, sha256


def rows_of(body: bytes) -> list[Any]:
    try:
        rows = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadPayload(f"not JSON ({error})") from None
    if not isinstance(rows, list):
        raise BadPayload("expected an array")
    return rows


def klines(body: bytes, end: datetime) -> Parsed:
    """The klines of a window that ends at `end`. One that opens there or later is still running: it is kept, but does
    not count, so that an answer in which nothing else is new is an unchanged one."""
    rows = rows_of(body)
    for row in rows[:1] + rows[-1:]:
        if not isinstance(row, list) or len(row) != KLINE_FIELDS or not isinstance(row[0], int):
            raise BadPayload(f"expected rows of {KLINE_FIELDS} fields that begin with the open time")
    closed = [row for row in rows if row[0] < end.timestamp() * 1000]
    # The body is nothing but rows, and Binance writes a number the same way every time.
    return Parsed(len(closed), sha256(body if len(closed) == len(rows) else orjson.dumps(closed)))


def objects(body: bytes, *required: str) -> Parsed:
    """An array of objects that all have the fields."""
    rows = rows_of(body)
    if any(not isinstance(row, dict) or not row.keys() >= set(required) for row in rows):
        raise BadPayload(f"expected objects with the documented fields {', '.join(required)}")
    return Parsed(len(rows), sha256(body))


def open_interest_now(body: bytes) -> Parsed:
    """The single object of the point-in-time endpoint."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadPayload(f"not JSON ({error})") from None
    if not isinstance(found, dict) or "openInterest" not in found:
        raise BadPayload("expected an object with the documented field openInterest")
    return Parsed(1, sha256(body))


def newest(body: bytes, field: str) -> datetime:
    """The instant in a millisecond field of the last row."""
    return datetime.fromtimestamp(rows_of(body)[-1][field] / 1000, UTC)
