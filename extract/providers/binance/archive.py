"""The file archive, data.binance.vision: names of files, when they appear, and what is in them.

A file is a zip with one CSV; `<file>.CHECKSUM` holds its sha256. Files may be replaced later, with a new checksum.
"""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import orjson

from extract.calendar.timeframes import day_start
from extract.calendar.windows import Window
from extract.load.responses import BadPayload, Parsed, Task, sha256
from extract.providers import questions
from extract.providers.binance.settings import INTERVALS
from extract.transport.bodies import LARGEST_BODY, too_large

# The documented columns of each kind of file, in the order in which staging reads them.
COLUMNS = {
    "bars": (
        "open_time", "open", "high", "low", "close", "volume", "close_time", "quote_volume", "count",
        "taker_buy_volume", "taker_buy_quote_volume", "ignore",
    ),
    "metrics": (
        "create_time", "symbol", "sum_open_interest", "sum_open_interest_value", "count_toptrader_long_short_ratio",
        "sum_toptrader_long_short_ratio", "count_long_short_ratio", "sum_taker_long_short_vol_ratio",
    ),
    "funding": ("calc_time", "funding_interval_hours", "last_funding_rate"),
}  # fmt: skip
# The same columns as the API's documentation calls them.
_ALIASES = {
    "quoteassetvolume": "quotevolume",
    "numberoftrades": "count",
    "takerbuybaseassetvolume": "takerbuyvolume",
    "takerbuybasevolume": "takerbuyvolume",
    "takerbuyquoteassetvolume": "takerbuyquotevolume",
}
# Where cells have blanks around them; times of metrics have one inside.
BLANKS = (" ,", ", ", "\t", " \n", " \r", "\n ")
_DIGEST = re.compile("[0-9a-f]{64}")


class BadFile(BadPayload):
    """A file of the archive that cannot be used; `text` is its CSV, where it has a readable one."""

    def __init__(self, problem: str, text: str | None = None) -> None:
        super().__init__(problem)
        self.text = text


def months(start: datetime, end: datetime) -> Iterator[Window]:
    """The whole calendar months inside [start, end), UTC."""
    month = month_start(start)
    if month < start:
        month = next_month(month)
    while next_month(month) <= end:
        yield month, next_month(month)
        month = next_month(month)


def days(start: datetime, end: datetime) -> Iterator[Window]:
    """The whole days inside [start, end), UTC."""
    day = day_start(start, UTC)
    if day < start:
        day += timedelta(days=1)
    while day + timedelta(days=1) <= end:
        yield day, day + timedelta(days=1)
        day += timedelta(days=1)


def month_start(instant: datetime) -> datetime:
    return datetime(instant.year, instant.month, 1, tzinfo=UTC)


def next_month(month: datetime) -> datetime:
    return month_start(month + timedelta(days=32))


def month_is_published(month: datetime, now: datetime) -> bool:
    """Monthly files appear on the first Monday of the next month; from the day after we count on them."""
    following = next_month(month)
    monday = following + timedelta(days=(7 - following.weekday()) % 7)
    return now >= monday + timedelta(days=1)


def file_path(task: Task) -> str:
    """The path of a task's file below the archive's base URL."""
    is_month = task.end - task.start > timedelta(days=1)
    date = f"{task.start:%Y-%m}" if is_month else f"{task.start:%Y-%m-%d}"
    market = "spot" if task.via == "spot" else "futures/um"
    folder = f"data/{market}/{'monthly' if is_month else 'daily'}"
    symbol = task.provider_symbol
    if task.endpoint == "bars":
        interval = INTERVALS[task.timeframe or ""]
        return f"/{folder}/klines/{symbol}/{interval}/{symbol}-{interval}-{date}.zip"
    kind = {"metrics": "metrics", "funding": "fundingRate"}[task.endpoint]
    return f"/{folder}/{kind}/{symbol}/{symbol}-{kind}-{date}.zip"


def checksum_of(body: bytes, file_name: str) -> str:
    """The digest a CHECKSUM file names: `<sha256>  <file name>`, in any case, however the name is written; of several
    lines the one with the file's name, else the first."""
    lines = body[:10_000].removeprefix(b"\xef\xbb\xbf").decode(errors="replace").split("\n")
    words = next((line.split() for line in lines if file_name in line), lines[0].split())
    digest = words[0].lower() if words else ""
    if not _DIGEST.fullmatch(digest):
        raise BadPayload("expected `<sha256>  <file name>` in the CHECKSUM file")
    return digest


def contents(body: bytes, task: Task, checksum: str) -> Parsed:
    """A file's rows, every value as the text of the CSV, in the documented order of columns whatever the file's own is.

    Raises BadFile where it cannot be used.
    """
    file_name = file_path(task).rsplit("/", 1)[1]
    if sha256(body) != checksum:
        raise BadFile(f"{file_name} does not have the checksum of its CHECKSUM file; it may be in the making")
    text = _unpacked(body, file_name)
    if "\x00" in text:
        raise BadFile(f"{file_name} holds a NUL", text)
    try:
        rows = [row for row in csv.reader(io.StringIO(text, newline="")) if row]
    except csv.Error as error:
        raise BadFile(f"{file_name} is no CSV ({error})", text) from None
    if any(mark in text for mark in BLANKS):
        rows = [row for row in ([cell.strip() for cell in row] for row in rows) if any(row)]
    columns = COLUMNS[task.endpoint]
    if not rows[_has_header(rows, columns) :]:
        raise BadFile(f"{file_name} has no rows")
    try:
        named = _header(rows, columns)
        payload: dict[str, object] = {"file": file_name, "checksum": checksum, "header": named}
        if named:
            rows = rows[1:]
            if (order := _order(named, columns)) is not None:
                # Staging reads by position.
                rows = [["" if i is None or i >= len(row) else row[i] for i in order] for row in rows]
                payload |= {"header": list(columns), "header_of_file": named}
        if task.endpoint == "bars" and len(rows[-1]) < len(rows[0]):
            raise BadPayload("it ends within a row")
        first, last = _examined(rows, task, columns)
    except BadPayload as problem:
        raise BadFile(f"{file_name}: {problem}", text) from None
    stored = orjson.dumps({**payload, "rows": rows})
    return Parsed(len(rows), checksum, stored.decode(), first_at=first, last_at=last)


def _unpacked(body: bytes, file_name: str) -> str:
    """The one CSV in a zip."""
    try:
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            (member,) = (one for one in archive.infolist() if not one.is_dir())
            # What the zip says of its size need not be true.
            with archive.open(member) as file:
                unpacked = file.read(LARGEST_BODY + 1)
            if len(unpacked) > LARGEST_BODY:
                raise BadFile(f"{file_name}: {too_large('its CSV')}")
            return unpacked.decode("utf-8-sig")
    except BadFile:
        raise
    except Exception as error:
        # zipfile raises nearly everything: BadZipFile, NotImplementedError, RuntimeError, EOFError, zlib.error ...
        raise BadFile(f"{file_name} is not a zip of one CSV ({error})") from None


def _has_header(rows: list[list[str]], columns: tuple[str, ...]) -> bool:
    return bool(rows and {_plain(name) for name in rows[0]} & {_plain(name) for name in columns})


def _header(rows: list[list[str]], columns: tuple[str, ...]) -> list[str] | None:
    """The names in the first line, None where that is a row already, as in older files."""
    if _has_header(rows, columns):
        return rows[0]
    if not rows[0][0][:1].isdigit():
        raise BadPayload(f"unknown column names: {', '.join(rows[0])[:200]}")
    if len(rows[0]) != len(columns):
        raise BadPayload(f"expected {len(columns)} columns where there is no header, got {len(rows[0])}")
    return None


def _order(named: list[str], columns: tuple[str, ...]) -> list[int | None] | None:
    """The position of each documented column in the file; None where all are where they should be."""
    known = [_ALIASES.get(_plain(name), _plain(name)) for name in named]
    wanted = [_plain(name) for name in columns]
    if missing := [name for name in columns if _plain(name) not in known and name != "ignore"]:
        raise BadPayload(f"column {', '.join(missing)} is not among {', '.join(named)[:300]}")
    if doubled := [name for name in wanted if known.count(name) > 1]:
        raise BadPayload(f"column {doubled[0]} is there twice")
    if known == wanted:
        return None
    return [known.index(name) if name in known else None for name in wanted]


def _plain(name: str) -> str:
    return name.strip().lower().replace("_", "").replace(" ", "")


def _examined(rows: list[list[str]], task: Task, columns: tuple[str, ...]) -> tuple[datetime | None, datetime | None]:
    """When the first and the last row begin, of a file that is what its name says."""
    if task.endpoint == "metrics":
        questions.about(task.provider_symbol, [row[1] for row in rows if len(row) > 1])
        times = [found for row in rows if (found := _read_time(row[0])) is not None]
    else:
        for row in rows:
            # A spreadsheet may have been at it: 1.7353E+12.
            if not row[0].isdigit() and (exact := _whole(row[0])) is not None:
                row[0] = str(exact)
        times = [found for row in rows if (found := _epoch(row[0])) is not None]
    if task.endpoint == "bars":
        questions.lengths(task, rows, _length)
        questions.of_bars(rows, [row[4] if len(row) > 4 else None for row in rows])
    if not times:
        raise BadPayload(f"no {columns[0]} is a time, e.g. {str(rows[0][0])[:50]!r}")
    return questions.ends(questions.inside(task, times))


def _whole(cell: str) -> int | None:
    """The integer in a cell, also in scientific notation."""
    try:
        value = Decimal(cell)
        return (
            int(value) if value.is_finite() and value.adjusted() < 20 and value == value.to_integral_value() else None
        )
    except ArithmeticError:
        return None


def _epoch(cell: str) -> int | None:
    """Milliseconds from a file's milliseconds or microseconds, by magnitude; spot has the latter from 2025 on."""
    value = int(cell) if cell.isascii() and cell.isdigit() and len(cell) < 20 else _whole(cell)
    if value is None:
        return None
    return questions.number(value // 1000 if value > 10**14 else value)


def _read_time(cell: str) -> int | None:
    """Milliseconds from `YYYY-MM-DD HH:MM:SS`, UTC."""
    try:
        return questions.number(round(datetime.fromisoformat(cell).replace(tzinfo=UTC).timestamp() * 1000))
    except (ValueError, OverflowError):
        return None


def _length(row: Any) -> int | None:
    if len(row) < 7 or (opened := _epoch(row[0])) is None or (closed := _epoch(row[6])) is None:
        return None
    return closed - opened + 1
