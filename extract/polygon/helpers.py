"""Pure parsing of Polygon's bodies."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import orjson

from extract.responses import BadPayload, NoAnswer, Parsed, sha256

BAR_FIELDS = frozenset("tohlcv")
_PAGE_START = re.compile(r"/range/\d+/[a-z]+/(\d{12,})/")


def body_of(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadPayload(f"not JSON ({error})") from None


def results_of(body: bytes) -> list[dict[str, Any]]:
    """The rows of an answer; the key is absent where there is no data. Delayed plans answer DELAYED."""
    document = body_of(body)
    if not isinstance(document, dict) or document.get("status") not in ("OK", "DELAYED"):
        raise BadPayload("expected an object with status OK or DELAYED")
    rows = document.get("results", [] if not document.get("resultsCount") else None)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows[:1] + rows[-1:]):
        raise BadPayload("expected `results` to be an array of objects")
    return rows


def bars(body: bytes, with_ticker: bool = False, may_be_empty: bool = True) -> Parsed:
    """The bars of a page. Polygon says "no such ticker" and "no trades" alike: by no results."""
    rows = results_of(body)
    if not rows and not may_be_empty:
        raise NoAnswer("no bars in the whole window: an unknown ticker, or not listed then (see active_from)")
    wanted = BAR_FIELDS | {"T"} if with_ticker else BAR_FIELDS
    # The ends stand for the rest: a renamed field misses everywhere, a single bad row is dbt's to reject.
    for row in rows[:1] + rows[-1:]:
        if missing := wanted - row.keys():
            raise BadPayload(f"bars lack the documented fields {', '.join(sorted(missing))}")
    return Parsed(len(rows), sha256(orjson.dumps(rows)))


def reference(body: bytes, key: str) -> Parsed:
    rows = results_of(body)
    for row in rows[:1] + rows[-1:]:
        if key not in row:
            raise BadPayload(f"rows lack the documented field {key}")
    return Parsed(len(rows), sha256(orjson.dumps(rows)))


def market_status(body: bytes) -> Parsed:
    """Open or closed, now; the time of asking is no news."""
    document = body_of(body)
    if not isinstance(document, dict) or "market" not in document:
        raise BadPayload("expected an object with the documented field market")
    document.pop("serverTime", None)
    return Parsed(1, sha256(orjson.dumps(document)))


def market_holidays(body: bytes) -> Parsed:
    """The coming holidays, as a bare array."""
    rows = body_of(body)
    if not isinstance(rows, list) or any(not isinstance(row, dict) or "date" not in row for row in rows):
        raise BadPayload("expected an array of objects with the documented field date")
    return Parsed(len(rows), sha256(body))


def next_page(body: bytes) -> str | None:
    """Path and query of the next page. The host of next_url is ignored: the key must not follow a link elsewhere."""
    link = body_of(body).get("next_url")
    if not link:
        return None
    parts = urlsplit(link)
    return f"{parts.path}?{parts.query}" if parts.query else parts.path


def page_start(path: str) -> datetime | None:
    """Where a page of bars begins, from its path."""
    found = _PAGE_START.search(path)
    return datetime.fromtimestamp(int(found[1]) / 1000, UTC) if found else None
