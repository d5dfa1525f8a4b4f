"""Bars straight from Postgres: ADBC reads the binary COPY into Arrow, so a number costs no Python object."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, LiteralString

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import dict_row

from extract.calendar.timeframes import STEPS
from market_warehouse import questions
from market_warehouse.errors import BadQuestion, WarehouseUnavailable
from market_warehouse.questions import Adjustment, Question
from scripts import reading

if TYPE_CHECKING:
    import pyarrow

# All bars of a large warehouse take minutes; a page of the API must not.
TIMEOUT_MS = 600_000


class Warehouse:
    """A connection that can only read, for catalogues, and what libpq needs to open another, for data."""

    def __init__(self, connection: psycopg.Connection, information: str) -> None:
        self.connection, self._information = connection, information

    @contextmanager
    def reader(self, asked: Question, numbers: Literal["float64", "decimal"]) -> Iterator[pyarrow.RecordBatchReader]:
        """The answer in batches, while the block lasts. Raises BadQuestion, WarehouseUnavailable."""
        import adbc_driver_manager
        import adbc_driver_postgresql.dbapi as adbc

        questions.refuse_impossible(asked)
        if asked.as_of is not None:
            questions.refuse_before_history(self.connection, asked.as_of)
        factors = questions.shares(self.connection, asked) if asked.adjusted else {}
        statement = questions.select(asked, factors, numbers).as_string(self.connection)
        try:
            with adbc.connect(self._information, autocommit=True) as session, session.cursor() as cursor:
                cursor.execute(statement)
                yield _typed(cursor.fetch_record_batch(), asked)
        except adbc_driver_manager.Error as error:
            known = psycopg.errors.lookup(error.sqlstate)(str(error)) if error.sqlstate else None
            words = reading.in_plain_words(known) if known else None
            raise WarehouseUnavailable(words or f"the warehouse does not answer: {error}") from None


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
            information = make_conninfo(address, options=chosen, application_name=f"market {application}")
            with psycopg.connect(information, autocommit=True) as connection:
                yield Warehouse(connection, information)
    except reading.Unreadable as error:
        raise WarehouseUnavailable(str(error), error.is_setting) from None


def read(
    url: str | None,
    symbols: Sequence[str],
    timeframe: str,
    columns: str | Sequence[str] | None,
    adjusted: Adjustment | None,
    numbers: Literal["float64", "decimal"],
    asset_class: str | None,
    start: datetime | None,
    end: datetime | None,
    as_of: datetime | None,
) -> pyarrow.Table:
    """symbol, timestamp (UTC, microseconds) and the columns, in the order of symbol and time. Raises as `bars()` does."""
    with connected(url) as warehouse:
        connection = warehouse.connection
        asked = Question(
            series=questions.chosen_series(symbols, timeframe, questions.series_there(connection), asset_class),
            columns=questions.chosen_columns(columns, questions.columns_there(connection)),
            start=start,
            end=end,
            adjusted=adjusted,
            as_of=as_of,
        )
        with warehouse.reader(asked, numbers) as batches:
            return batches.read_all()


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
