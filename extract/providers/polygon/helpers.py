"""Pure parsing of Polygon's bodies."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from urllib.parse import unquote, urlsplit

import orjson

from extract.calendar.timeframes import WEEK, floor
from extract.load.responses import BadPayload, NoAnswer, Parsed, Task, sha256
from extract.providers import questions

BAR_FIELDS = frozenset("tohlcv")
# Polygon's weeks are stamped at their Sunday; 36 hours on is Monday noon, also where clocks change that night.
WEEK_SHIFT = timedelta(hours=36)
_PAGE_START = re.compile(r"/range/\d+/[a-z]+/(\d{12,13})/", re.ASCII)
_PAGE_TICKER = re.compile(r"/v2/aggs/ticker/([^/]+)/")


def body_of(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadPayload(f"not JSON ({error})") from None


def results_of(body: bytes) -> list[dict[str, Any]]:
    """The rows of an answer; the key is absent, or null, where there is no data. Delayed plans answer DELAYED."""
    return _results(body_of(body))


def _results(document: Any) -> list[dict[str, Any]]:
    if not isinstance(document, dict) or document.get("status") not in ("OK", "DELAYED"):
        raise BadPayload("expected an object with status OK or DELAYED")
    rows = document.get("results")
    if rows is None and not document.get("resultsCount"):
        rows = []
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows[:1] + rows[-1:]):
        raise BadPayload("expected `results` to be an array of objects")
    return rows


class Page:
    """A page of bars, read once: its rows, how many they should be, and where the next page is."""

    def __init__(self, task: Task, may_be_empty: bool = True) -> None:
        self._task, self._may_be_empty = task, may_be_empty
        self.next_url: object = None
        # Whether the answer says that it has more rows than it has.
        self.lacks_rows = False

    def read(self, body: bytes) -> Parsed:
        """The bars. Polygon says "no such ticker" and "no trades" alike: by no results."""
        task, document = self._task, body_of(body)
        rows = _results(document)
        if not rows and not self._may_be_empty:
            raise NoAnswer("no bars in the whole window: an unknown ticker, or not listed then (see active_from)")
        # An index is computed, nothing of it is traded.
        _have(rows, BAR_FIELDS - {"v"} if task.asset_class == "index" else BAR_FIELDS)
        _as_traded(document)
        questions.about(task.provider_symbol, [document.get("ticker")])
        times = questions.inside(task, _times(_bars_of(rows)), WEEK_SHIFT if task.timeframe == WEEK else timedelta())
        questions.spacing(task, times)
        first, last = questions.ends(times)
        if first and last and task.timeframe == WEEK:
            first, last = (floor(one + WEEK_SHIFT, WEEK, task.market.zone) for one in (first, last))
        self.next_url, count = document.get("next_url"), document.get("resultsCount")
        self.lacks_rows = isinstance(count, int) and count > len(rows)
        return Parsed(len(rows), sha256(orjson.dumps(rows)), first_at=first, last_at=last)


def bars(body: bytes, task: Task, may_be_empty: bool = True) -> Parsed:
    """The bars of a page, where nothing else of it matters."""
    return Page(task, may_be_empty).read(body)


def grouped(body: bytes, task: Task) -> Parsed:
    """A day of the whole market, each row stamped at the end of its session."""
    document = body_of(body)
    rows = _results(document)
    _have(rows, BAR_FIELDS | {"T"})
    _as_traded(document)
    questions.inside(task, _times(_bars_of(rows)))
    count = document.get("resultsCount")
    if isinstance(count, int) and count > len(rows):
        raise BadPayload(f"resultsCount says {count:,} rows, {len(rows):,} came")
    day = task.start if rows else None
    return Parsed(len(rows), sha256(orjson.dumps(rows)), first_at=day, last_at=day)


def _have(rows: list[dict[str, Any]], wanted: frozenset[str]) -> None:
    # Only the ends are checked: a renamed field misses everywhere, a single bad row is dbt's to reject.
    if rows and (missing := (wanted - rows[0].keys()) & (wanted - rows[-1].keys())):
        raise BadPayload(f"bars lack the documented fields {', '.join(sorted(missing))}")


def _as_traded(document: dict[str, Any]) -> None:
    if str(document.get("adjusted")).lower() in ("true", "1"):
        raise BadPayload("asked for prices as traded (adjusted=false), got adjusted ones")


def _bars_of(rows: list[Any]) -> Sequence[Any]:
    return questions.of_bars(rows, [row.get("c") if isinstance(row, dict) else None for row in rows])


def _times(rows: Sequence[Any]) -> list[int]:
    try:
        return questions.times_of([row["t"] for row in rows])
    except (KeyError, TypeError):
        return questions.times_of([row.get("t") for row in rows if isinstance(row, dict)])


def reference(body: bytes, key: str, ticker: str | None = None) -> Parsed:
    """Rows of reference data, of one ticker where one is asked for."""
    rows = results_of(body)
    if rows and key not in rows[0] and key not in rows[-1]:
        raise BadPayload(f"rows lack the documented field {key}")
    questions.about(ticker, [row.get("ticker") for row in rows if isinstance(row, dict)])
    return Parsed(len(rows), sha256(orjson.dumps(rows)))


def newest_day(body: bytes, field: str) -> datetime | None:
    """The latest date in a field of the rows."""
    days = []
    for row in results_of(body):
        with suppress(TypeError, ValueError, AttributeError):
            days.append(date.fromisoformat(str(row.get(field))))
    return datetime.combine(max(days), time(), UTC) if days else None


def market_status(body: bytes) -> Parsed:
    """Open or closed, now; the time of asking alone is no change."""
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


def next_page(link: object, kind: str, ticker: str | None = None) -> str | None:
    """Path and query of the next page, None where there is none; `kind` is how its path begins (below any prefix).

    The host of next_url is ignored: the key must not follow a link elsewhere. Raises BadPayload where it is no URL, or
    one of something else than was asked for.
    """
    if link is None or link == "":
        return None
    try:
        parts = urlsplit(link if isinstance(link, str) else "")
    except ValueError:
        parts = urlsplit("")
    path = parts.path[parts.path.find(kind) :] if parts.path.startswith("/") and kind in parts.path else ""
    if not path.isprintable() or not path:
        raise BadPayload(f"its next_url is none of this endpoint: {str(link)[:200]!r}")
    found = _PAGE_TICKER.match(path)
    if ticker and found and unquote(found[1]).casefold() != ticker.casefold():
        raise BadPayload(f"its next_url is about {unquote(found[1])[:50]}, not {ticker}")
    return f"{path}?{parts.query}" if parts.query else path


def page_start(path: str) -> datetime | None:
    """Where a page of bars begins, from its path: None where that does not name milliseconds."""
    found = _PAGE_START.search(path)
    return datetime.fromtimestamp(int(found[1]) / 1000, UTC) if found else None
