"""Pure parsing of Coin Metrics' bodies."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson

from extract.coinmetrics.settings import METRIC
from extract.responses import BadPayload, NoAnswer, Parsed, sha256


def document_of(body: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadPayload(f"not JSON ({error})") from None
    if not isinstance(document, dict) or not isinstance(document.get("data"), list):
        raise BadPayload("expected an object with the documented array data")
    return document


def inflows(body: bytes, asset: str | None, may_be_empty: bool) -> Parsed:
    """The days of one asset. A day whose metric is not there yet has no such key, or null."""
    rows = document_of(body)["data"]
    for row in rows:
        if not isinstance(row, dict) or not isinstance(row.get("time"), str):
            raise BadPayload("expected objects with the documented field time")
        if row.get("asset") != asset:
            raise BadPayload(f"asked for {asset}, got a row of {row.get('asset')!r}")
    values = [row for row in rows if row.get(METRIC) is not None]
    if not values and not may_be_empty:
        raise NoAnswer(f"no {METRIC} of {asset} in the whole window: not in the community tier, or not yet recorded")
    return Parsed(len(values), sha256(orjson.dumps(rows)))


def next_page(body: bytes) -> str | None:
    """The token of the next page. The link beside it is ignored: its host need not be the one we were told to ask."""
    return document_of(body).get("next_page_token") or None


def newest_day(body: bytes) -> datetime:
    """The day of the last row; its nine decimals of a second are more than Python reads."""
    return datetime.fromisoformat(document_of(body)["data"][-1]["time"][:10]).replace(tzinfo=UTC)
