"""Pure parsing of Coin Metrics' bodies."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson

from extract.load.responses import BadPayload, NoAnswer, Parsed, Task, sha256
from extract.providers import questions
from extract.providers.coinmetrics.settings import METRIC


def document_of(body: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadPayload(f"not JSON ({error})") from None
    if not isinstance(document, dict) or not isinstance(document.get("data"), list):
        raise BadPayload("expected an object with the documented array data")
    return document


def inflows(body: bytes, task: Task, may_be_empty: bool) -> Parsed:
    """The days of one asset. A day whose metric is not there yet has no such key, or null."""
    rows = document_of(body)["data"]
    good = [row for row in rows if isinstance(row, dict) and isinstance(row.get("time"), str)]
    # A single bad row is dbt's to reject.
    if len(good) * 2 < len(rows):
        raise BadPayload("expected objects with the documented field time")
    questions.about(task.provider_symbol, [row.get("asset") for row in good], "asset")
    values = [row for row in good if row.get(METRIC) is not None]
    if not values and not may_be_empty:
        what = f"no {METRIC} of {task.provider_symbol} in the whole window"
        raise NoAnswer(f"{what}: not in the community tier, or not yet recorded")
    questions.inside(task, [round(day.timestamp() * 1000) for row in good if (day := day_of(row["time"]))])
    # A day whose value is not there yet has not come.
    days = [day for row in values if (day := day_of(row["time"])) and task.start <= day < task.end]
    first, last = (min(days), max(days)) if days else (None, None)
    return Parsed(len(values), sha256(orjson.dumps(rows)), first_at=first, last_at=last)


def next_page(body: bytes) -> str | None:
    """The token of the next page. The link next to it is ignored: its host need not be the configured one."""
    token = document_of(body).get("next_page_token")
    return str(token) if token else None


def day_of(text: str) -> datetime | None:
    """The day of a row; the nine decimals of its second are more than Python reads."""
    try:
        return datetime.fromisoformat(text[:10]).replace(tzinfo=UTC)
    except ValueError:
        return None


def newest_day(body: bytes) -> datetime | None:
    """The latest day of a page."""
    rows = document_of(body)["data"]
    stamps = [row["time"] for row in rows if isinstance(row, dict) and isinstance(row.get("time"), str)]
    return max((day for stamp in stamps if (day := day_of(stamp))), default=None)
