"""The dlt pipelines: one per source, append-only, exactly once.

Data flow: tasks -> worker threads ask the provider -> one arrow row per answer -> dlt (csv, COPY) -> raw_<source>.

Why it is exactly once: each job of a package commits on its own, so rows can be visible although their package failed.
Readers therefore take only rows whose load id is in `_dlt_loads` with status 0, and every run first aborts what an
earlier one left pending: resuming instead copied rows twice, or got stuck for good, in 2 of 6 trials with kill -9.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import dlt
import psycopg2
import psycopg2.errors
import pyarrow as pa
from dlt.common.destination.capabilities import DestinationCapabilitiesContext
from dlt.common.normalizers.naming import NamingConvention
from dlt.common.runtime.collector import NULL_COLLECTOR
from dlt.pipeline.exceptions import PipelineStepFailed

from extract.core import database, sources
from extract.core.project import project_directory
from extract.load.responses import ARROW_SCHEMA, DLT_COLUMNS, Task

WORKERS = 8

# Settings live here and not in a `.dlt` folder: the pipeline is wrong, not just slower, without some of them.
DLT_SETTINGS = {
    "runtime.dlthub_telemetry": False,
    # The trace would keep resolved credentials on disk.
    "enable_runtime_trace": False,
    # No resource keeps a state of dlt's: what is loaded is read from the rows (extract/coverage). Looking for one in the
    # database, and writing it there, was a tenth of the CPU of a run that loads a dozen answers.
    "restore_from_destination": False,
    "runtime.log_level": "CRITICAL",
    # gzip is half of the CPU of a load of text payloads, for files that are deleted a second later.
    "data_writer.disable_compression": True,
    "normalize.data_writer.disable_compression": True,
    # The buffer counts rows, and a row can be a megabyte: 5M bars took 1.4 GB with 5000, 503 MB with 20, 406 with 5.
    "data_writer.buffer_max_items": 5,
    "normalize.data_writer.buffer_max_items": 5,
    # Several files a package, so that several COPYs run at once.
    "data_writer.file_max_bytes": 30_000_000,
    "normalize.data_writer.file_max_bytes": 30_000_000,
    "normalize.parquet_normalizer.add_dlt_load_id": True,
    "extract.workers": WORKERS,
    "extract.max_parallel_items": WORKERS,
    "load.workers": 4,
    "load.delete_completed_jobs": True,
}

INDEXES = {
    # The last answer for a window.
    "responses_series": "(endpoint, symbol, timeframe, window_start) include (payload_sha, _dlt_load_id)"
    " where status in ('ok', 'unchanged')",
    # The rows of new loads: rows are appended load by load, so the smallest index there is will do.
    "responses_loads": "using brin (_dlt_load_id)",
    "responses_files": "(window_end) where origin = 'archive' and status in ('ok', 'unchanged')",
    "responses_failures": "(_dlt_load_id) where status in ('failed', 'quarantined')",
    # The last attempt at a gap, where it failed.
    "responses_failed_series": "(endpoint, symbol, timeframe, window_start) where status in ('failed', 'quarantined')",
}

RESPONSES: dict[str, Any] = {
    "name": "responses",
    "columns": DLT_COLUMNS,
    "write_disposition": "append",
    "schema_contract": {"tables": "evolve", "columns": "freeze", "data_type": "freeze"},
}

log = logging.getLogger(__name__)


class _Postgres(dlt.destinations.postgres):
    """dlt's destination, which says what PostgreSQL can do without resolving its settings first.

    It resolves a dozen of them from environment and files at every step of every package, and then does not look at
    them: a third of the CPU of a run that loads a dozen answers.
    """

    def capabilities(
        self, config: Any = None, naming: NamingConvention | None = None
    ) -> DestinationCapabilitiesContext:
        return super().capabilities(config or self.spec(), naming)

    @property
    def destination_type(self) -> str:
        # The name in the working files of earlier versions, and in dlt's messages.
        return "dlt.destinations.postgres"


class Refused(Exception):
    """The database has refused a row for what it is; nothing of the package is committed."""


def make(source: str, own_name: str | None = None) -> dlt.Pipeline:
    """The source's pipeline, with whatever an interrupted run left behind thrown away.

    Under an `own_name` a second process can load into the same schema at the same time.
    """
    for name, value in DLT_SETTINGS.items():
        dlt.config[name] = value
    pipeline = dlt.pipeline(
        pipeline_name=f"market_{own_name or source}",
        destination=_Postgres(database.url()),
        dataset_name=sources.listed()[source].schema,
        pipelines_dir=str(_work_directory()),
        progress=NULL_COLLECTOR,
    )
    # dlt keeps a folder of every package it has ever loaded.
    for package in Path(pipeline.working_dir, "load", "loaded").glob("*"):
        shutil.rmtree(package, ignore_errors=True)
    # dlt warns of each arrow row that jsonb is not text, and prints a page of traceback, past our log and its redaction,
    # before it tries a COPY again. What it gives up on is an exception, which we report.
    logging.getLogger("dlt").setLevel(logging.CRITICAL)
    if pipeline.has_pending_data:
        log.warning("%s: an earlier run was interrupted; what it had not committed is asked for again", source)
        pipeline.abort_packages()
        # Finishes the abort of a package that was already being loaded.
        if pipeline.has_pending_data:
            pipeline.load()
    return pipeline


def pending_packages() -> list[Path]:
    """The packages that an interrupted run left behind."""
    places = ("normalize/extracted", "load/new", "load/normalized")
    return [package for place in places for package in _work_directory().glob(f"market_*/{place}/*")]


def create_raw_tables() -> None:
    """Make `raw_<source>.responses` and dlt's tables for every source, so that dbt always finds them."""
    with database.pool().connection() as connection:
        missing = [
            source
            for source in sources.names()
            if connection.execute("select to_regclass(%s)", (f"raw_{source}.responses",)).fetchone() == (None,)
        ]
    for source in missing:
        # dlt creates a table from an empty arrow table.
        _run(make(source), dlt.resource([ARROW_SCHEMA.empty_table()], **RESPONSES))
    with database.pool().connection() as connection:
        for source, (name, definition) in itertools.product(sources.names(), INDEXES.items()):
            # Asked for first: `if not exists` would wait for the collector's COPY before it looks.
            if connection.execute("select to_regclass(%s)", (f"raw_{source}.{name}",)).fetchone() == (None,):
                connection.execute(f"create index {name} on raw_{source}.responses {definition}")


def load(pipeline: dlt.Pipeline, tasks: Sequence[Task], fetch: Callable[[Task], Iterator[pa.Table]]) -> None:
    """Fetch the tasks in parallel and load all their rows as one package, committed as a whole or not at all.

    Raises Refused where the database does not take one of the rows.
    """

    @dlt.transformer(data_from=dlt.resource(list(tasks), name="tasks", selected=False), parallelized=True, **RESPONSES)
    def responses(task: Task) -> Iterator[pa.Table]:
        yield from fetch(task)

    try:
        _run(pipeline, responses)
    except PipelineStepFailed as failure:
        if refusal := _refusal(failure.exception):
            raise Refused(str(refusal).partition("\n")[0]) from failure
        raise


def _refusal(failure: BaseException) -> BaseException | None:
    """The database's error, if it is one of the data. dlt takes it for one of the moment, and tries five times."""
    seen: list[BaseException] = []
    left = [failure]
    while left:
        problem = left.pop()
        if isinstance(problem, psycopg2.DataError | psycopg2.errors.ProgramLimitExceeded):
            return problem
        seen.append(problem)
        causes = (problem.__cause__, problem.__context__, getattr(problem, "client_exception", None))
        left += [cause for cause in causes if cause is not None and cause not in seen]
    return None


def _run(pipeline: dlt.Pipeline, resource: dlt.sources.DltResource) -> None:
    pipeline.run(resource, loader_file_format="csv").raise_on_failed_jobs()


def _work_directory() -> Path:
    """dlt's working files, per warehouse: pending packages of one must never be loaded into another."""
    parts = urlsplit(database.url())
    digest = hashlib.sha256(f"{parts.hostname}:{parts.port}{parts.path}".encode()).hexdigest()[:8]
    # A database may be called anything, and dlt takes a path with % in it for a template.
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", unquote(parts.path).strip("/"))
    return project_directory() / ".warehouse" / "dlt" / f"{name}-{digest}"
