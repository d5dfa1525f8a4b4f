"""Pure parsing of Binance's bodies."""

from __future__ import annotations

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


def klines(body: bytes) -> Parsed:
    rows = rows_of(body)
    for row in rows[:1] + rows[-1:]:
        if not isinstance(row, list) or len(row) != KLINE_FIELDS or not isinstance(row[0], int):
            raise BadPayload(f"expected rows of {KLINE_FIELDS} fields that begin with the open time")
    # The body is nothing but rows, and Binance writes a number the same way every time.
    return Parsed(len(rows), sha256(body))
