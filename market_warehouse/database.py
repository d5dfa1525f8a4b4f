"""Bars straight from Postgres: ADBC reads the binary COPY into Arrow, so a number costs no Python object."""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from itertools import groupby
from typing import TYPE_CHECKING, Any, Literal, LiteralString

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import dict_row

from extract.calendar.timeframes import STEPS
from market_warehouse import questions, selects
from market_warehouse.errors import BadQuestion, WarehouseUnavailable
from market_warehouse.questions import Adjustment, Question, Series
from scripts import reading

if TYPE_CHECKING:
    import pyarrow

# All bars of a large warehouse take minutes; a page of the API must not.
TIMEOUT_MS = 600_000
SESSIONS_KEPT, IDLE_MS = 2, 300_000
Numbers = Literal["float64", "decimal"]


class Warehouse:
    """A connection that can only read, for catalogues, and what libpq needs to open another, for data."""

    def __init__(self, connection: psycopg.Connection, information: str) -> None:
        self.connection, self._information = connection, information

    def table(self, asked: Question, numbers: Numbers) -> pyarrow.Table:
        """The whole answer, all of it as of one moment. Raises BadQuestion, WarehouseUnavailable.

        Two connections read half of the series each: most of the time goes into the server's casts of decimals, and a
        connection has one backend (a million bars with seven other processes on two cores: 2.7 s instead of 3.5).
        """
        import pyarrow

        with self.connection.transaction():
            self.connection.execute("set transaction isolation level repeatable read")
            row = self.connection.execute("select pg_export_snapshot()").fetchone()
            assert row is not None
            factors = self._factors(asked)
            statements = [
                (part, selects.select(part, factors, numbers).as_string(self.connection))
                for part in _parts(asked, factors)
            ]

            def read(part: tuple[Question, str]) -> pyarrow.Table:
                with self._batches(*part, snapshot=row[0]) as batches:
                    return batches.read_all()

            with ThreadPoolExecutor(SESSIONS_KEPT) as pool:
                return pyarrow.concat_tables(pool.map(read, statements))

    @contextmanager
    def reader(self, asked: Question, numbers: Numbers) -> Iterator[pyarrow.RecordBatchReader]:
        """The answer in batches, while the block lasts. Raises BadQuestion, WarehouseUnavailable."""
        statement = selects.select(asked, self._factors(asked), numbers).as_string(self.connection)
        with self._batches(asked, statement) as batches:
            yield batches

    def _factors(self, asked: Question) -> dict[Series, Any]:
        questions.refuse_impossible(asked)
        if asked.as_of is not None:
            questions.refuse_before_history(self.connection, asked.as_of)
        return selects.shares(self.connection, asked) if asked.adjusted else {}

    @contextmanager
    def _batches(
        self, asked: Question, statement: str, snapshot: str | None = None
    ) -> Iterator[pyarrow.RecordBatchReader]:
        import adbc_driver_manager

        try:
            with _session(self._information) as session, session.cursor() as cursor:
                if snapshot is not None:
                    cursor.execute("begin isolation level repeatable read read only")
                    cursor.execute(f"set transaction snapshot '{snapshot}'")
                cursor.execute(statement)
                yield _typed(cursor.fetch_record_batch(), asked)
                if snapshot is not None:
                    cursor.execute("commit")
        except adbc_driver_manager.Error as error:
            known = psycopg.errors.lookup(error.sqlstate)(str(error)) if error.sqlstate else None
            words = reading.in_plain_words(known) if known else None
            raise WarehouseUnavailable(words or f"the warehouse does not answer: {error}") from None


def _parts(asked: Question, factors: dict[Series, Any]) -> list[Question]:
    """The question in pieces, in order, each of which the index answers in the order of its rows: of one class, and adjusted
    to one factor (a join with the factors costs a sort of all bars, a third of the time). At least two, if there are
    several series. Of the past it stays whole: the server looks for what was in force then, each time for all."""
    if asked.as_of is not None:
        return [asked]
    runs = [tuple(run) for _, run in groupby(asked.series, lambda one: (one.asset_class, factors.get(one)))]
    if len(runs) == 1 and len(asked.series) > 1:
        middle = len(asked.series) // 2
        runs = [runs[0][:middle], runs[0][middle:]]
    return [replace(asked, series=run) for run in runs]


# ADBC reads the whole catalogue of types when it connects: 0.4 s in a warehouse, ten times what a series of days takes. So
# sessions wait for the next question, by process (a fork must not share them) and address.
_waiting: dict[tuple[int, str], list[Any]] = {}
_one_at_a_time = threading.Lock()


@contextmanager
def _session(information: str) -> Iterator[Any]:
    """One session of ADBC, for one question at a time."""
    import adbc_driver_postgresql.dbapi as adbc

    waiting = _waiting.setdefault((os.getpid(), information), [])
    with _one_at_a_time:
        session = waiting.pop() if waiting else None
    if session is not None:
        try:
            with session.cursor() as cursor:
                cursor.execute("select 1")
                cursor.fetchone()
        except adbc.Error:
            # The server has ended it.
            session.close()
            session = None
    session = session or adbc.connect(information, autocommit=True)
    try:
        yield session
    except BaseException:
        session.close()
        raise
    with _one_at_a_time:
        if is_kept := len(waiting) < SESSIONS_KEPT:
            waiting.append(session)
    if not is_kept:
        session.close()


@atexit.register
def _close_sessions() -> None:
    for (process, _), sessions in _waiting.items():
        for session in sessions if process == os.getpid() else ():
            session.close()


def _read_role(address: str, is_given: bool) -> str | None:
    """The role to read as. This connects first: where the address is the caller's (url=), the settings' is not to blame."""
    try:
        if is_given:
            conninfo_to_dict(address)
        return reading.read_role(address)
    except psycopg.ProgrammingError as error:
        if error.sqlstate:
            raise
        raise BadQuestion(
            "url: neither a database's (postgresql://..., as `market url` prints it) nor the API's (http://...)"
        ) from None
    except psycopg.OperationalError as error:
        if not is_given:
            raise
        raise WarehouseUnavailable(f"url: that database does not answer: {' '.join(str(error).split())}") from None


@contextmanager
def connected(url: str | None, application: str = "bars") -> Iterator[Warehouse]:
    """The warehouse of this URL, or of the settings. Raises WarehouseUnavailable, BadQuestion for a URL that is none."""
    try:
        with reading.plain_errors():
            address = url or reading.dsn()
            chosen = reading.options(_read_role(address, url is not None), TIMEOUT_MS)
            named = {"application_name": f"market {application}"}
            with psycopg.connect(make_conninfo(address, options=chosen, **named), autocommit=True) as connection:
                # Whoever waits for the next question holds no connection for ever.
                chosen += f" -c idle_session_timeout={IDLE_MS}"
                yield Warehouse(connection, make_conninfo(address, options=chosen, **named))
    except reading.Unreadable as error:
        raise WarehouseUnavailable(str(error), error.is_setting) from None


def read(
    url: str | None,
    symbols: Sequence[str],
    timeframe: str,
    columns: str | Sequence[str] | None,
    adjusted: Adjustment | None,
    numbers: Numbers,
    asset_class: str | None,
    start: datetime | None,
    end: datetime | None,
    as_of: datetime | None,
) -> pyarrow.Table:
    """symbol, timestamp (UTC, microseconds) and the columns, in the order of symbol and time. Raises as `bars()` does."""
    with connected(url) as warehouse:
        connection = warehouse.connection
        there = questions.series_there(connection)
        places = {one: place for place, one in enumerate(there)}
        asked = Question(
            # In the server's order of symbols, which is that of its rows.
            series=tuple(
                sorted(questions.chosen_series(symbols, timeframe, there, asset_class), key=places.__getitem__)
            ),
            columns=questions.chosen_columns(columns, questions.columns_there(connection)),
            start=start,
            end=end,
            adjusted=adjusted,
            as_of=as_of,
        )
        return warehouse.table(asked, numbers)


def symbols(url: str | None) -> list[dict[str, Any]]:
    """What there is, a row a series: see market_warehouse.symbols."""
    with connected(url) as warehouse:
        cursor = warehouse.connection.cursor(row_factory=dict_row)
        return cursor.execute(SYMBOLS, {"timeframes": list(STEPS)}).fetchall()


SYMBOLS: LiteralString = """
select
    symbol, asset_class, timeframe, first_bar, newest_bar, bars, is_stale,
    (select min(dbt_valid_from) from snapshots.market_data_history) as known_since
from marts.enrichment_status
order by symbol, asset_class, array_position(%(timeframes)s, timeframe::text)
"""


def _typed(batches: pyarrow.RecordBatchReader, asked: Question) -> pyarrow.RecordBatchReader:
    """With the mart's types: symbols as a dictionary, times in UTC, and decimals, which ADBC hands over as text."""
    import pyarrow
    from pyarrow import compute

    digits = {one.name: pyarrow.decimal128(one.precision, one.scale) for one in asked.columns if one.is_number}
    fields = []
    for field in batches.schema:
        kind = field.type
        if isinstance(kind, pyarrow.BaseExtensionType):
            kind = digits[field.name]
        elif field.name == "symbol":
            kind = pyarrow.dictionary(pyarrow.int32(), pyarrow.string())
        elif pyarrow.types.is_timestamp(kind):
            kind = pyarrow.timestamp("us", tz="UTC")
        fields.append(pyarrow.field(field.name, kind))
    schema = pyarrow.schema(fields)

    def converted() -> Iterator[pyarrow.RecordBatch]:
        for batch in batches:
            arrays = []
            for array, field in zip(batch.columns, schema, strict=True):
                if isinstance(array.type, pyarrow.BaseExtensionType):
                    array = array.storage
                arrays.append(array if array.type == field.type else compute.cast(array, field.type))
            yield pyarrow.RecordBatch.from_arrays(arrays, schema=schema)

    return pyarrow.RecordBatchReader.from_batches(schema, converted())
