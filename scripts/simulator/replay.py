"""Answers that somebody recorded (`market record`), given again to whoever asks the same.

Data flow: DIR/index.json + its bodies -> per request the newest recorded answer up to the simulator's clock.

A request for exactly a recorded window gets that body as it was recorded, odd as it may be. Any other window of a recorded
series gets its rows of all recorded answers, the newest word on each instant, in the provider's shape: a warehouse that
starts empty does not ask what one asked that went on for weeks.
"""

from __future__ import annotations

import csv
import datetime as dt
import hashlib
import io
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import orjson

from scripts.simulator import bars as grid
from scripts.simulator.world import Call, Reply

# How far two ways to say the end of one window may be apart: inclusive or not, a second or a millisecond.
SAME_END = 1000
# What may be left out at the end of a request: Polygon's weeks, Binance's running bar.
ARCHIVE_FIELDS = 12


@dataclass(frozen=True)
class Recorded:
    """One line of the index; times are Unix milliseconds."""

    values: dict[str, Any]
    folder: Path

    @property
    def start(self) -> int:
        return milliseconds(self.values["window_start"])

    @property
    def end(self) -> int:
        return milliseconds(self.values["window_end"])

    @property
    def at(self) -> int:
        return milliseconds(self.values["requested_at"])

    @property
    def key(self) -> tuple[str, str, str | None, str | None]:
        values = self.values
        return values["source"], values["endpoint"], values["provider_symbol"], values["timeframe"]

    @cached_property
    def body(self) -> bytes:
        return b"" if self.values["file"] is None else (self.folder / self.values["file"]).read_bytes()

    @property
    def is_good(self) -> bool:
        return self.values["status"] in ("ok", "unchanged") and bool(self.body)


class Recording:
    """A case folder."""

    def __init__(self, folder: Path) -> None:
        path = folder / "index.json"
        if not path.exists():
            raise ValueError(f"{folder} is no case folder of `market record`: it has no index.json")
        self.index: dict[str, Any] = orjson.loads(path.read_bytes())
        self.answers = [Recorded(values, folder) for values in self.index["answers"]]
        self.clock = str(self.index["warehouse_now"])

    def answer(self, call: Call, clock: int, error: Callable[..., Reply]) -> Reply | None:
        """What was recorded for a request; None for one that only a simulator answers (cookies, time, ping)."""
        source = call.provider.partition("-")[0]
        if call.provider == "binance-archive":
            return self._file(call, clock)
        if not any(one.key[:2] == (source, call.endpoint) for one in self.answers):
            return None if call.endpoint not in ENDPOINTS else error(404, "not recorded")
        symbol = None if call.endpoint in ("grouped_daily", "market_status", "market_holidays") else call.symbol
        found = [
            one
            for one in self.answers
            if one.key[:3] == (source, call.endpoint, symbol)
            and (call.timeframe is None or one.key[3] in (call.timeframe, None))
            and one.values["origin"] != "archive"
            and one.at <= clock
        ]
        files = self._files_as_rows(call, clock) if call.endpoint in ("bars", "funding") else []
        if not found and not files:
            return error(404, "not recorded")
        start, end = window_of(call)
        same = [one for one in found if start is None or (one.start == start and _same_end(one, end, call))]
        if same:
            return _as_recorded(max(same, key=lambda one: one.at), error)
        return _composed(call, found, files, start or 0, 2**62 if end is None else end, error)

    def _file(self, call: Call, clock: int) -> Reply:
        """A file of the archive, made again from its rows; its checksum is that of the new file."""
        name = call.path.removesuffix(".CHECKSUM").rsplit("/", 1)[1]
        found = [one for one in self._archived(clock) if orjson.loads(one.body)["file"] == name]
        if not found:
            return Reply(404, b"<Error><Code>NoSuchKey</Code></Error>", {}, "application/xml")
        content = zipped(orjson.loads(max(found, key=lambda one: one.at).body))
        if call.path.endswith(".CHECKSUM"):
            return Reply(200, f"{hashlib.sha256(content).hexdigest()}  {name}".encode(), {}, "text/plain")
        return Reply(200, content, {}, "application/zip")

    def _archived(self, clock: int) -> list[Recorded]:
        return [
            one
            for one in self.answers
            if one.values["origin"] == "archive"
            and one.is_good
            and one.at <= clock
            and one.values["source"] == "binance"
        ]

    def _files_as_rows(self, call: Call, clock: int) -> list[tuple[int, int, Any]]:
        """The rows of recorded files as REST would give them: (recorded at, instant, row)."""
        rows = []
        for one in self._archived(clock):
            if one.key != ("binance", call.endpoint, call.symbol, call.timeframe):
                continue
            for cells in orjson.loads(one.body)["rows"]:
                at = int(cells[0]) // (1000 if len(cells[0]) > 13 else 1)
                if call.endpoint == "bars":
                    row: Any = [at, *cells[1:6], int(cells[6][:13]), cells[7], int(cells[8]), *cells[9:ARCHIVE_FIELDS]]
                else:
                    row = {"symbol": call.symbol, "fundingTime": at, "fundingRate": cells[2], "markPrice": ""}
                rows.append((one.at, at, row))
        return rows


ENDPOINTS = {
    "bars", "grouped_daily", "splits", "dividends", "tickers", "funding", "open_interest", "open_interest_now",
    "long_short_ratio", "taker_ratio", "exchange_inflow",
}  # fmt: skip


def milliseconds(text: str) -> int:
    return round(dt.datetime.fromisoformat(text).timestamp() * 1000)


def zipped(payload: dict[str, Any]) -> bytes:
    """A file of the archive as published: a zip with one CSV, the same bytes every time."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows(([payload["header"]] if payload["header"] else []) + payload["rows"])
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        name = str(payload["file"]).removesuffix(".zip") + ".csv"
        archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), text.getvalue())
    return made.getvalue()


def window_of(call: Call) -> tuple[int | None, int | None]:
    """The first and the last instant that a request asks for, Unix ms; None where it asks for none."""
    query = call.query
    if call.provider == "polygon":
        if call.endpoint == "bars":
            return _polygon_instant(call.parameters["from"]), _polygon_instant(call.parameters["to"])
        if call.endpoint == "grouped_daily":
            day = grid.local_midnight(dt.date.fromisoformat(call.parameters["date"]), grid.NEW_YORK)
            return day, None
        for field in ("execution_date", "ex_dividend_date"):
            if f"{field}.gte" in query:
                return _day(query[f"{field}.gte"]), _day(query.get(f"{field}.lte", "9998-12-31")) + grid.DAY - 1
        return None, None
    if call.provider == "yahoo" and "period1" in query:
        return int(query["period1"]) * 1000, int(query["period2"]) * 1000 + 999
    if call.provider == "coinmetrics":
        return _day(query["start_time"]), _day(query["end_time"]) + grid.DAY - 1
    if "startTime" in query:
        return int(query["startTime"]), int(query.get("endTime", 2**62))
    return None, None


def _polygon_instant(text: str) -> int:
    return int(text) if text.isdigit() else _day(text)


def _day(text: str) -> int:
    return milliseconds(f"{text[:10]}T00:00:00+00:00")


def _same_end(one: Recorded, end: int | None, call: Call) -> bool:
    """Whether a recorded answer is to the same question, given that it begins at the same instant."""
    if end is None or abs(one.end - end) <= SAME_END:
        return True
    if call.provider == "polygon" and call.endpoint == "bars":
        # A page is recorded with its own part of the window; Polygon's weeks are asked for up to Friday.
        return b'"next_url"' in one.body or (call.timeframe == "1w" and 0 < one.end - end <= 2 * grid.DAY + SAME_END)
    # The newest klines are asked for up to now, for the running one.
    return call.endpoint == "bars" and one.end <= end <= one.at + SAME_END


def _as_recorded(one: Recorded, error: Callable[..., Reply]) -> Reply:
    status = one.values["http_status"] or 503
    if one.values["status"] == "failed":
        return error(status, str(one.values["error"] or "failed when it was recorded")) if status >= 300 else error(503)
    return Reply(status, one.body)


def _composed(
    call: Call,
    found: list[Recorded],
    files: list[tuple[int, int, Any]],
    start: int,
    end: int,
    error: Callable[..., Reply],
) -> Reply:
    """The recorded rows of a window that nobody asked for as such."""
    good = sorted((one for one in found if one.is_good), key=lambda one: one.at)
    if not good and not files:
        newest = max(found, key=lambda one: one.at)
        return _as_recorded(newest, error)
    if call.provider == "yahoo":
        return _yahoo_chart(good, start, end)
    rows = list(files)
    for one in good:
        document = orjson.loads(one.body)
        listed = document if isinstance(document, list) else document.get("results", document.get("data", []))
        rows += [(one.at, instant_of(call, row), row) for row in listed]
    reported = {at: (asked, row) for asked, at, row in sorted(rows, key=lambda item: item[0]) if start <= at <= end}
    if call.provider == "polygon" and call.endpoint != "bars":
        # Several events may stand on one day: all of the newest answer that has any of that day.
        chosen = [row for asked, at, row in rows if start <= at <= end and reported[at][0] == asked]
    else:
        chosen = [reported[at][1] for at in sorted(reported)]
    if call.provider == "polygon":
        body: Any = {"results": chosen, "status": "OK", "request_id": "replay"}
        if call.endpoint == "bars":
            head = {"ticker": call.symbol, "queryCount": len(chosen), "resultsCount": len(chosen), "adjusted": False}
            body = head | body | {"count": len(chosen)}
    elif call.provider == "coinmetrics":
        body = {"data": chosen}
    else:
        body = chosen[: int(call.query.get("limit", 500))]
    return Reply(200, orjson.dumps(body))


def instant_of(call: Call, row: Any) -> int:
    """The instant that a row is about, Unix ms."""
    if isinstance(row, list):
        return int(row[0])
    for field in ("t", "fundingTime", "timestamp"):
        if field in row:
            return int(row[field])
    for field in ("execution_date", "ex_dividend_date", "time"):
        if field in row:
            return _day(str(row[field]))
    return 0


def _yahoo_chart(good: list[Recorded], start: int, end: int) -> Reply:
    bars: dict[int, dict[str, Any]] = {}
    events: dict[str, dict[str, Any]] = {}
    meta: dict[str, Any] = {}
    for one in good:
        result = orjson.loads(one.body)["chart"]["result"][0]
        meta = result["meta"]
        quote = result["indicators"]["quote"][0]
        for place, stamp in enumerate(result.get("timestamp") or []):
            bars[stamp] = {name: column[place] for name, column in quote.items()}
        for kind, reported in (result.get("events") or {}).items():
            events.setdefault(kind, {}).update(reported)
    stamps = [stamp for stamp in sorted(bars) if start <= stamp * 1000 <= end]
    quote = {name: [bars[stamp].get(name) for stamp in stamps] for name in ("open", "high", "low", "close", "volume")}
    result = {"meta": meta, "indicators": {"quote": [quote if stamps else {}]}}
    if stamps:
        result["timestamp"] = stamps
        inside = {
            kind: {key: reported for key, reported in each.items() if start <= int(reported["date"]) * 1000 <= end}
            for kind, each in events.items()
        }
        result["events"] = {kind: each for kind, each in inside.items() if each}
    return Reply(200, orjson.dumps({"chart": {"result": [result], "error": None}}))
