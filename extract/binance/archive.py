"""The file archive, data.binance.vision: names of files, when they appear, and what is in them.

A file is a zip with one CSV; `<file>.CHECKSUM` holds its sha256. Files may be replaced later, with a new checksum.
"""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import orjson

from extract.responses import BadPayload, Parsed, Task, sha256
from extract.timeframes import day_start
from extract.windows import Window


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
    day = day_start(start, "crypto")
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
        return f"/{folder}/klines/{symbol}/{task.timeframe}/{symbol}-{task.timeframe}-{date}.zip"
    kind = {"metrics": "metrics", "funding": "fundingRate"}[task.endpoint]
    return f"/{folder}/{kind}/{symbol}/{symbol}-{kind}-{date}.zip"


def checksum_of(body: bytes) -> str:
    """The digest a CHECKSUM file names."""
    digest = body.split()[0].decode(errors="replace") if body.split() else ""
    if len(digest) != 64:
        raise BadPayload("expected `<sha256>  <file name>` in the CHECKSUM file")
    return digest


def contents(body: bytes, file_name: str, checksum: str) -> Parsed:
    """A file's rows, every value as the text of the CSV. Older files have no header line."""
    if sha256(body) != checksum:
        raise BadPayload(f"{file_name} does not have the checksum of its CHECKSUM file; it may be in the making")
    try:
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            text = archive.read(archive.namelist()[0]).decode()
    except (zipfile.BadZipFile, IndexError, UnicodeDecodeError) as error:
        raise BadPayload(f"{file_name} is not a zip of one CSV ({error})") from None
    rows = [row for row in csv.reader(io.StringIO(text)) if row]
    header = rows.pop(0) if rows and rows[0][0][:1].isalpha() else None
    payload = orjson.dumps({"file": file_name, "checksum": checksum, "header": header, "rows": rows})
    return Parsed(len(rows), checksum, payload.decode())
