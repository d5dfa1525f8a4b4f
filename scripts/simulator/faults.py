"""What can go wrong at a provider, switched on and off while the simulator runs.

A fault names a provider and, if it should hit less than all of it, an endpoint, a symbol, a timeframe; ``count`` limits
it to the next N requests that match. Kinds that spoil the answer: status, html, truncated, timeout, disconnect, schema,
body, edit, short, loop, headers, drip, large, label. Kinds that spoil bars: late, missing, amended, duplicated,
unfinished, stray, null.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import itertools
import threading
from collections.abc import Iterable
from decimal import Decimal
from typing import Any, TypeVar

import numpy as np

from scripts.simulator.bars import Bars, partial

ANSWER_KINDS = {
    "status": "answer with `status` (429, 418, 451, 403, 401, 404, 5xx ...) and the provider's own body; "
    "`retry_after` seconds",
    "html": "answer with an HTML page, `status` 200 unless given",
    "truncated": "cut the body in half",
    "timeout": "do not answer for `seconds` (default 3600)",
    "disconnect": "close the connection without an answer",
    "schema": "`rename` {old: new}, `drop` [field], `extra` {field: value}, `retype` {field: value} in every row; "
    "fields of array rows are positions",
    "body": "answer with the text `body` and `status`",
    "edit": "replace what the regular expression `find` matches in the body by `body` (\\1 is its first group)",
    "short": "answer with the first `rows` rows only, as if the cap of a page were that",
    "loop": "the page after this one is this one again (Polygon's `next_url`)",
    "headers": "answer with these `headers` besides",
    "drip": "send the body a byte every `seconds`",
    "large": "answer with `size` bytes of blanks, as gzip that unpacks to them where `is_packed`",
    "label": "samples bear a label `seconds` later (negative: earlier)",
}
BAR_KINDS = {
    "late": "bars appear only `seconds` after their close",
    "missing": "bars in [start, end) are absent",
    "amended": "`field` of bars (or samples) in [start, end) is multiplied by `factor`",
    "duplicated": "bars in [start, end) come twice",
    "unfinished": "bars in [start, end) (default: the newest closed one) show only `share` (0.5) of their window",
    "stray": "bars in [start, end) (default: the newest one) come once more, `seconds` (negative: earlier) away from their time",
    "null": "bars in [start, end) are nulls (Yahoo)",
}
Row = TypeVar("Row")
FIELDS = ("open", "high", "low", "close", "volume")


@dataclasses.dataclass
class Fault:
    """One switched-on fault. Times are Unix milliseconds; None means any."""

    kind: str
    provider: str | None = None
    endpoint: str | None = None
    symbol: str | None = None
    timeframe: str | None = None
    count: int | None = None
    start: int | None = None
    end: int | None = None
    seconds: float | None = None
    status: int | None = None
    retry_after: int | None = None
    message: str | None = None
    body: str | None = None
    field: str = "close"
    factor: str = "1.01"
    share: float = 0.5
    find: str | None = None
    rows: int | None = None
    size: int = 0
    is_packed: bool = False
    headers: dict[str, str] = dataclasses.field(default_factory=dict)
    rename: dict[str, str] = dataclasses.field(default_factory=dict)
    drop: list[str] = dataclasses.field(default_factory=list)
    extra: dict[str, Any] = dataclasses.field(default_factory=dict)
    retype: dict[str, Any] = dataclasses.field(default_factory=dict)
    id: int = 0

    @staticmethod
    def parse(data: dict[str, Any]) -> Fault:
        """A fault from JSON; ValueError says what is wrong. ``start`` and ``end``: ISO 8601 or Unix milliseconds."""
        known = {field.name for field in dataclasses.fields(Fault)} - {"id"}
        if unknown := set(data) - known:
            raise ValueError(f"unknown fault field {', '.join(sorted(unknown))}; known are {', '.join(sorted(known))}")
        kinds = ANSWER_KINDS | BAR_KINDS
        if data.get("kind") not in kinds:
            raise ValueError(f"unknown fault kind {data.get('kind')!r}; choose one of {', '.join(kinds)}")
        if data["kind"] == "status" and not data.get("status"):
            raise ValueError("a fault of kind status needs a status, e.g. 503")
        if data.get("field", "close") not in FIELDS and data.get("endpoint") in (None, "bars"):
            raise ValueError(f"field of a bar must be one of {', '.join(FIELDS)}")
        return Fault(**{**data, **{key: instant(data[key]) for key in ("start", "end") if data.get(key) is not None}})

    def matches(self, provider: str, endpoint: str, symbol: str | None, timeframe: str | None) -> bool:
        return (
            self.provider in (None, provider)
            and self.endpoint in (None, endpoint)
            and self.symbol in (None, symbol)
            and self.timeframe in (None, timeframe)
        )


def instant(value: str | int) -> int:
    """Unix milliseconds of an ISO 8601 text (UTC unless it says otherwise) or of a number."""
    if isinstance(value, int):
        return value
    moment = dt.datetime.fromisoformat(value)
    return round((moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)).timestamp() * 1000)


class Faults:
    """The faults in force. Safe to change from another thread while requests are served."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()

    def add(self, fault: Fault) -> Fault:
        with self._lock:
            fault.id = next(self._numbers)
            self._faults.append(fault)
        return fault

    def remove(self, number: int | None = None) -> None:
        """Switch one fault off, or all."""
        with self._lock:
            self._faults = [f for f in self._faults if number is not None and f.id != number]

    def all(self) -> list[Fault]:
        with self._lock:
            return list(self._faults)

    def take(self, provider: str, endpoint: str, symbol: str | None, timeframe: str | None) -> list[Fault]:
        """The faults that hit this request; those with a count are used up by it."""
        if not self._faults:
            return []
        with self._lock:
            hit = [f for f in self._faults if f.matches(provider, endpoint, symbol, timeframe)]
            for fault in hit:
                if fault.count is not None:
                    fault.count -= 1
            self._faults = [f for f in self._faults if f.count is None or f.count > 0]
        return hit


def spoil_bars(bars: Bars, step: int, faults: Iterable[Fault], clock: int) -> Bars:
    """Bars with the bar faults applied in order; ``step`` is the bar length in ms."""
    for fault in faults:
        start = fault.start if fault.start is not None else -(2**62)
        end = fault.end if fault.end is not None else (start + 1 if fault.start is not None else 2**62)
        hit = (bars.time >= start) & (bars.time < end)
        if fault.kind == "late":
            bars = bars.take(bars.time + step + int((fault.seconds or 0) * 1000) <= clock)
        elif fault.kind == "missing":
            bars = bars.take(~hit)
        elif fault.kind == "duplicated":
            bars = bars.take(np.sort(np.concatenate((np.arange(len(bars)), np.flatnonzero(hit)))))
        elif fault.kind == "stray" and len(bars):
            moved = bars.take(hit if fault.start is not None else slice(-1, None))
            moved = moved.with_columns({"time": moved.time + int((fault.seconds or 0) * 1000)})
            bars = Bars.concatenate([bars, moved])
            bars = bars.take(np.argsort(bars.time, kind="stable"))
        elif fault.kind == "amended":
            numerator, denominator = Decimal(fault.factor).as_integer_ratio()
            column = getattr(bars, fault.field).copy()
            column[hit] = column[hit] * numerator // denominator
            bars = bars.with_columns({fault.field: column})
            if fault.field != "volume":  # an amended bar is still a possible bar
                bars = bars.with_columns({"high": np.maximum(bars.high, column), "low": np.minimum(bars.low, column)})
        elif fault.kind == "unfinished":
            if fault.start is None:
                closed = np.flatnonzero(bars.time + step <= clock)
                hit = np.zeros(len(bars), bool)
                hit[closed[-1:]] = True
            changed = {n: c.copy() for n, c in bars.columns().items()}
            cut = partial(bars.take(hit), fault.share).columns()
            for name, column in changed.items():
                column[hit] = cut[name]
            bars = bars.with_columns(changed)
    return bars


def spoil_samples(samples: list[tuple[int, Row]], faults: Iterable[Fault], clock: int) -> list[tuple[int, Row]]:
    """(Unix ms, row) pairs in order (funding, ratios, inflow) with late, missing, duplicated and amended applied."""
    for fault in faults:
        start = fault.start if fault.start is not None else -(2**62)
        end = fault.end if fault.end is not None else (start + 1 if fault.start is not None else 2**62)
        if fault.kind == "late":
            samples = [s for s in samples if s[0] + int((fault.seconds or 0) * 1000) <= clock]
        elif fault.kind == "missing":
            samples = [s for s in samples if not start <= s[0] < end]
        elif fault.kind == "duplicated":
            samples = [s for sample in samples for s in [sample] * (2 if start <= sample[0] < end else 1)]
        elif fault.kind == "amended":
            samples = [(at, _amended(row, fault) if start <= at < end else row) for at, row in samples]
    return samples


def _amended(row: Any, fault: Fault) -> Any:
    """A JSON row with its ``field`` multiplied; a CSV line with its last cell multiplied."""
    if isinstance(row, dict):
        if fault.field not in row:
            return row
        return {**row, fault.field: _multiplied(str(row[fault.field]), fault.factor)}
    head, _, cell = str(row).rstrip("\n").rpartition(",")
    return f"{head},{_multiplied(cell, fault.factor)}\n"


def _multiplied(text: str, factor: str) -> str:
    places = len(text.partition(".")[2])
    return f"{Decimal(text) * Decimal(factor):.{places}f}"


def spoil_rows(body: Any, fault: Fault) -> Any:
    """Schema drift in every row of a JSON body: objects by field name, arrays by position."""
    if isinstance(body, list) and body and isinstance(body[0], (list, dict)):
        return [_spoil_row(row, fault) for row in body]
    if isinstance(body, dict):
        rows = {key: value for key, value in body.items() if isinstance(value, (list, dict))}
        return (
            {**_spoil_row(body, fault), **{k: spoil_rows(v, fault) for k, v in rows.items()}}
            if rows
            else _spoil_row(body, fault)
        )
    return body


def shorten(body: Any, fault: Fault) -> Any:
    """The first rows of a JSON body: an array, or an object with the array `results` (whose count stays true)."""
    if isinstance(body, list):
        return body[: fault.rows]
    rows = body.get("results", [])[: fault.rows]
    return {**body, "results": rows} | ({"resultsCount": len(rows)} if "resultsCount" in body else {})


def looping(body: Any, url: str) -> Any:
    """A page of Polygon's whose following page is itself; other bodies as they are."""
    return {**body, "next_url": url} if isinstance(body, dict) and "results" in body else body


def relabelled(body: Any, seconds: float) -> Any:
    """Samples with another `timestamp` (milliseconds)."""
    return [{**row, "timestamp": row["timestamp"] + int(seconds * 1000)} for row in body]


def _spoil_row(row: Any, fault: Fault) -> Any:
    if isinstance(row, dict):
        row = {fault.rename.get(key, key): value for key, value in row.items() if key not in fault.drop}
        row.update({key: value for key, value in fault.retype.items() if key in row})
        return {**row, **fault.extra}
    if isinstance(row, list):
        kept = [fault.retype.get(str(i), value) for i, value in enumerate(row) if str(i) not in fault.drop]
        return kept + list(fault.extra.values())
    return row
