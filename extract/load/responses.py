"""The raw row: one per HTTP answer, or per attempt that ended without one.

Data flow: `Task` + `Answer` -> a one-row arrow table -> dlt -> `raw_<source>.responses`.
The columns are the contract between extract and dbt staging.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa

from extract.calendar import calendars
from extract.calendar.calendars import Calendar
from extract.calendar.windows import Window
from extract.core.redaction import redact, redact_body

TEXT_COLUMNS = (
    "run_id", "symbol", "asset_class", "provider_symbol", "endpoint", "origin", "timeframe", "status",
    "payload", "bad_payload", "payload_sha", "breaker_state", "error",
)  # fmt: skip
TIME_COLUMNS = ("window_start", "window_end", "requested_at", "fetched_at", "first_row_at", "last_row_at")
COUNT_COLUMNS = ("row_count", "http_status", "response_ms", "quota_remaining")

ARROW_SCHEMA = pa.schema(
    [(name, pa.string()) for name in TEXT_COLUMNS]
    + [(name, pa.timestamp("us", tz="UTC")) for name in TIME_COLUMNS]
    + [(name, pa.int64()) for name in COUNT_COLUMNS]
)
# Only what arrow does not know: dlt validates each column that is named here again for every answer, and with all of them
# that was a third of the CPU of a run that loads a dozen answers.
DLT_COLUMNS: dict[str, dict[str, Any]] = {"payload": {"data_type": "json"}}
BAD_PAYLOAD_LIMIT = 100_000
ERROR_LIMIT = 2_000
_END_OF_COPY = re.compile(r"^\\\.", re.MULTILINE)


@dataclass(frozen=True)
class Task:
    """One thing to ask one source: a series' window, or a market-wide answer (then without symbol)."""

    source: str
    endpoint: str
    start: datetime
    end: datetime
    symbol: str | None = None
    asset_class: str | None = None
    provider_symbol: str | None = None
    timeframe: str | None = None
    origin: str = "rest"
    # Which of a provider's services is asked, where it has several.
    via: str = ""
    # The series that a market-wide answer serves.
    serves: tuple[str, ...] = ()
    # Beyond what the series themselves need: "repair" of a gap that another source has left, "revision" of a file that is
    # loaded. Nobody promised an answer, so a failure is none of the series'.
    purpose: str = ""
    # Requests the task is expected to take: what `--dry-run` counts.
    requests: int = 1
    # How long until the source no longer serves the start of this window; None = never.
    expires_in: timedelta | None = field(default=None, compare=False)
    # Whether to wait where the budget is spent; if not, another source is asked.
    may_wait: bool = field(default=True, compare=False)
    # The calendar of the registry row; None = the usual one of the class.
    calendar: str | None = field(default=None, compare=False)

    @property
    def market(self) -> Calendar:
        """The calendar of the bars asked for; its zone's midnight starts days and weeks."""
        return calendars.of(self.calendar, self.asset_class or "stock")

    @property
    def name(self) -> str:
        """For messages: provider, symbol and timeframe."""
        parts = [self.source, self.endpoint, self.symbol, self.timeframe]
        return " ".join(part for part in parts if part)

    @property
    def series_name(self) -> str:
        """What a summary line is about: "BTC 5m", "AAPL splits", "grouped_daily", "BTC 5m repair"."""
        about = self.timeframe if self.endpoint == "bars" else self.endpoint
        return " ".join(part for part in (self.symbol, about, self.purpose) if part)

    @property
    def window(self) -> Window:
        return self.start, self.end

    def part(self, start: datetime, end: datetime) -> Task:
        """The same question for a piece of its window (one page, one file)."""
        return replace(self, start=start, end=end)


@dataclass(frozen=True)
class Answer:
    """What came of one attempt. `body` is None when no answer came; `error` says why and what to do."""

    requested_at: datetime
    fetched_at: datetime
    breaker_state: str
    body: bytes | None = None
    http_status: int | None = None
    response_ms: int | None = None
    quota_remaining: int | None = None
    error: str | None = None
    # Nothing was sent, for want of budget: the source is as good as before.
    is_deferred: bool = False
    # Why `body` is not the whole of what was sent.
    problem: str | None = None

    @property
    def is_success(self) -> bool:
        return self.error is None and self.http_status is not None and self.http_status < 300


@dataclass(frozen=True)
class Parsed:
    """The rows of a good body: how many, and the digest by which a later identical answer is known."""

    row_count: int | None
    sha: str
    # The payload to store where it is not the body itself (archive files).
    payload: str | None = None
    # When the first and the last of the rows begin: what came, which need not be all that was asked for. None where
    # there is no row.
    first_at: datetime | None = None
    last_at: datetime | None = None


class BadPayload(ValueError):
    """The body is not what the source's API documents."""


class NoAnswer(ValueError):
    """A well-formed body that answers nothing: it must never count as "no rows, go on"."""


@dataclass(frozen=True)
class Row:
    """A raw row with the task it belongs to."""

    task: Task
    values: dict[str, Any]
    is_deferred: bool = False
    # The same is asked elsewhere in this run: what is wrong with this answer is a warning.
    is_replaced: bool = False

    @property
    def status(self) -> str:
        return str(self.values["status"])

    def without_payload(self) -> Row:
        """The row as a summary needs it: payloads of a whole package do not fit into memory."""
        return replace(self, values={**self.values, "payload": None, "bad_payload": None})

    def to_arrow(self) -> pa.Table:
        return pa.Table.from_pylist([self.values], schema=ARROW_SCHEMA)


def sha256(rows: bytes) -> str:
    return hashlib.sha256(rows).hexdigest()


def _storable(text: str) -> str:
    """Any text as the database takes it."""
    text = text.replace("\x00", "\ufffd").encode(errors="replace").decode()
    # Up to PostgreSQL 17 COPY takes such a line for the end of its data, even inside quotes.
    return _END_OF_COPY.sub("\\\\ .", text)


def make_row(
    run_id: str, task: Task, answer: Answer, parsed: Parsed | None, known_sha: str | None, error: str | None
) -> Row:
    """Build the row. A good answer has `parsed`; a body that is not documented has an `error` and is quarantined."""
    values: dict[str, Any] = dict.fromkeys(ARROW_SCHEMA.names)
    values |= {
        "run_id": run_id,
        "symbol": task.symbol,
        "asset_class": task.asset_class,
        "provider_symbol": task.provider_symbol,
        "endpoint": task.endpoint,
        "origin": task.origin,
        "timeframe": task.timeframe,
        "window_start": task.start,
        "window_end": task.end,
        "requested_at": answer.requested_at,
        "fetched_at": answer.fetched_at,
        "http_status": answer.http_status,
        "response_ms": answer.response_ms,
        "quota_remaining": answer.quota_remaining,
        "breaker_state": answer.breaker_state,
        "error": _storable(redact(error or answer.error or "")[:ERROR_LIMIT]) or None,
    }
    if parsed is not None:
        unchanged = parsed.sha == known_sha
        values |= {
            "status": "unchanged" if unchanged else "ok",
            "payload_sha": parsed.sha,
            "row_count": parsed.row_count,
            "first_row_at": parsed.first_at,
            "last_row_at": parsed.last_at,
            "payload": None if unchanged else parsed.payload or redact_body(answer.body or b"").decode(),
        }
    elif answer.is_success and answer.body is not None:
        # Redacted before it is cut: the beginning of a key would be no key to the redaction.
        text = redact(answer.body[: BAD_PAYLOAD_LIMIT + 1000].decode(errors="replace"))
        values |= {"status": "quarantined", "bad_payload": _storable(text[:BAD_PAYLOAD_LIMIT])}
    else:
        values["status"] = "failed"
    return Row(task, values, answer.is_deferred)
