"""`market record`: writes what the raw tables hold of some answers as a case folder, for a report or for a test.

Data flow: raw_<source>.responses (committed loads) -> DIR/index.json + one file per body -> python -m scripts.simulator
--replay DIR, which answers the same questions with the same bodies.

Keys are taken out of every text. A body is what the raw table holds: JSON as jsonb keeps it (the same values, not the same
blanks), an archive file as its rows, a quarantined body as its text, cut where the raw table cut it. Headers are not kept
there, so there are none here. An answer that reported nothing new shares its file with the one that it repeats.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from extract.core import clock, database, settings, sources
from extract.core.redaction import redact
from extract.core.settings import ConfigurationError
from extract.load.responses import Task
from extract.symbols import registry
from extract.symbols.registry import Asset

INDEX = "index.json"
FORMAT = 1
# Settings that are about a place and not about the data.
LOCAL = re.compile(r"^(pg|warehouse_now$)|_url$|^alert_urls$")

_ANSWERS = """
select
    responses._dlt_load_id as load_id, responses.run_id, responses.symbol, responses.asset_class,
    responses.provider_symbol, responses.endpoint, responses.origin, responses.timeframe, responses.window_start,
    responses.window_end, responses.status, responses.http_status, responses.row_count, responses.payload_sha,
    responses.response_ms, responses.quota_remaining, responses.breaker_state, responses.error,
    responses.requested_at, responses.fetched_at,
    coalesce(cast(responses.payload as text), original.payload) as payload,
    responses.bad_payload
from {schema}.responses
left join lateral (
    -- The answer that an unchanged one repeats.
    select cast(earlier.payload as text) as payload
    from {schema}.responses as earlier
    where
        responses.status = 'unchanged'
        and earlier.status = 'ok'
        and earlier.endpoint = responses.endpoint
        and earlier.symbol is not distinct from responses.symbol
        and earlier.timeframe is not distinct from responses.timeframe
        and earlier.window_start = responses.window_start
        and earlier.payload_sha = responses.payload_sha
        and earlier._dlt_load_id <= responses._dlt_load_id
    order by earlier._dlt_load_id desc
    limit 1
) as original on true
where
    responses._dlt_load_id in (select load_id from {schema}._dlt_loads where status = 0)
    and (responses.symbol = any(%(symbols)s) or responses.symbol is null and responses.endpoint = any(%(whole)s))
    and (%(timeframes)s::text[] is null or responses.timeframe = any(%(timeframes)s) or responses.endpoint <> 'bars')
    and (%(start)s::timestamptz is null or responses.window_end >= %(start)s)
    and (%(end)s::timestamptz is null or responses.window_start < %(end)s)
order by responses.requested_at, responses._dlt_load_id, responses.window_start, responses.endpoint
"""


@dataclass(frozen=True)
class Recorded:
    """What was written: how many answers, in how many files, and the clock to replay them at."""

    folder: Path
    answers: int
    files: int
    warehouse_now: str

    def __str__(self) -> str:
        return (
            f"{self.answers} answers in {self.files} files: {self.folder}\n"
            f"replay: python -m scripts.simulator --replay {self.folder} (WAREHOUSE_NOW={self.warehouse_now})"
        )


def record(
    symbols: Sequence[str],
    folder: Path,
    source: str | None = None,
    timeframes: Sequence[str] = (),
    start: datetime | None = None,
    end: datetime | None = None,
) -> Recorded:
    """Write the committed answers about these symbols into a new folder.

    `start` and `end` choose answers whose window overlaps [start, end). Raises ConfigurationError for an unknown symbol, a
    folder that is not empty, and where nothing was found.
    """
    assets = registry.load()
    known = {asset.symbol for asset in assets}
    if unknown := [symbol for symbol in symbols if symbol not in known]:
        raise ConfigurationError(f"{', '.join(unknown)}: not in {settings.ASSETS}")
    if folder.exists() and any(folder.iterdir()):
        raise ConfigurationError(f"{folder} is not empty: name a new folder")
    chosen = [asset for asset in assets if asset.symbol in symbols]
    folder.mkdir(parents=True, exist_ok=True)
    answers: list[dict[str, Any]] = []
    files: dict[str, str] = {}
    newest = datetime.min.replace(tzinfo=clock.now().tzinfo)
    values = {"symbols": list(symbols), "timeframes": list(timeframes) or None, "start": start, "end": end}
    with psycopg.connect(database.url(), row_factory=dict_row, application_name="market record") as connection:
        for name in [source] if source else sources.names():
            for row in _rows(connection, name, values):
                newest = max(newest, row["fetched_at"])
                answers.append(_entry(folder, name, row, chosen, len(answers) + 1, files))
    if not answers:
        folder.rmdir()
        raise ConfigurationError("no committed answer fits: see --source, --timeframes, --start and --end")
    index = {
        "format": FORMAT,
        "product_version": version("market-warehouse"),
        "recorded_at": f"{clock.now():%Y-%m-%dT%H:%M:%SZ}",
        "warehouse_now": newest.isoformat().replace("+00:00", "Z"),
        "settings": _settings(),
        "registry": _registry_lines(symbols),
        "answers": answers,
    }
    (folder / INDEX).write_text(redact(json.dumps(index, indent=1, ensure_ascii=False)) + "\n")
    (folder / "README").write_text(
        "Situation: say here what was asked and done\n"
        f"Body: {len(answers)} answers, see {INDEX}; WAREHOUSE_NOW={index['warehouse_now']}\n"
        "Expected: say here what the marts should hold\nWhy: -\nSeen: say here what they hold\n"
    )
    return Recorded(folder, len(answers), len(set(files.values())), str(index["warehouse_now"]))


def _rows(connection: psycopg.Connection[dict[str, Any]], source: str, values: dict[str, Any]) -> Iterator[Any]:
    if connection.execute("select to_regclass(%s) as found", (f"raw_{source}.responses",)).fetchone() == {
        "found": None
    }:
        return
    statement = sql.SQL(_ANSWERS).format(schema=sql.Identifier(f"raw_{source}"))
    recording = _recording(source)
    whole = list(recording.WHOLE_MARKET) if recording else []
    yield from connection.execute(statement, {**values, "whole": whole})


def _entry(
    folder: Path, source: str, row: dict[str, Any], assets: Sequence[Asset], number: int, files: dict[str, str]
) -> dict[str, Any]:
    """The answer's line of the index; writes its body unless an answer before has the same."""
    body = row.pop("payload")
    bad_body = row.pop("bad_payload")
    text = body if body is not None else bad_body
    name = None
    if text is not None:
        text = redact(text)
        name = files.get(text)
        if name is None:
            about = "-".join(filter(None, (source, row["endpoint"], row["symbol"], row["timeframe"])))
            name = f"{number:04d}-{re.sub(r'[^A-Za-z0-9-]+', '_', about)}.{'json' if body is not None else 'txt'}"
            (folder / name).write_text(text)
            files[text] = name
    task = Task(
        source, row["endpoint"], row["window_start"], row["window_end"], row["symbol"], row["asset_class"],
        row["provider_symbol"], row["timeframe"], row["origin"],
    )  # fmt: skip
    plain = {key: value.isoformat() if isinstance(value, datetime) else value for key, value in row.items()}
    return {
        "file": name,
        "source": source,
        **plain,
        "is_cut": bad_body is not None and len(bad_body) >= 100_000,
        "request": request_of(task, assets),
    }


def _recording(source: str) -> Any:
    """What the source's folder knows of its requests; None where it has no such module."""
    path = f"extract.providers.{source}.recording"
    return import_module(path) if find_spec(path) else None


def request_of(task: Task, assets: Sequence[Asset]) -> str | None:
    """The request that brings a task's answer, as path and query below the setting that names its host. Rebuilt: the raw
    row holds the question, not the request. Of a page it is the one that would begin there. None where the source's folder
    does not say."""
    recording = _recording(task.source)
    return recording.request_of(task, assets) if recording else None


def _settings() -> dict[str, Any]:
    """The settings that are not as delivered, without secrets and places."""
    chosen = settings.load()
    fields = type(chosen).model_fields
    return {
        name.upper(): list(value) if isinstance(value, tuple) else value
        for name, value in chosen.model_dump().items()
        if not LOCAL.search(name)
        and "Secret" not in str(fields[name].annotation)
        and value != fields[name].get_default(call_default_factory=True)
    }


def _registry_lines(symbols: Sequence[str]) -> list[dict[str, str]]:
    with (settings.project_directory() / settings.ASSETS).open(newline="") as file:
        return [{k: v for k, v in row.items() if v} for row in csv.DictReader(file) if row["symbol"] in symbols]
