"""Bars over the HTTP API, where there is no way to the database."""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote

import requests

from market_warehouse import questions
from market_warehouse.errors import BadQuestion, UnknownSymbol, WarehouseUnavailable
from market_warehouse.questions import Adjustment

if TYPE_CHECKING:
    import pyarrow

# The server ends an export after two minutes.
SECONDS = 150


def read(
    url: str,
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
    """As market_warehouse.database.read."""
    import pyarrow

    if adjusted is not None or asset_class is not None:
        raise BadQuestion("adjusted and asset_class need the database: give bars() the URL that `market url` prints")
    if not symbols:
        raise BadQuestion("symbols: name at least one")
    asked = {"timeframe": timeframe, "format": "parquet"}
    asked |= {name: value.isoformat() for name, value in (("start", start), ("end", end), ("as_of", as_of)) if value}
    if columns != "all":
        asked["columns"] = ",".join(questions.words(questions.OHLCV if columns is None else columns))
    parts = [_one(url.rstrip("/"), symbol, asked) for symbol in sorted(symbols)]
    table = pyarrow.concat_tables(parts).unify_dictionaries()
    return table if numbers == "decimal" else _floats(table)


def _one(url: str, symbol: str, asked: dict[str, str]) -> pyarrow.Table:
    import pyarrow
    from pyarrow import parquet

    try:
        answer = requests.get(f"{url}/api/v1/data/{quote(symbol, safe='')}", params=asked, timeout=SECONDS)
    except requests.RequestException as error:
        raise WarehouseUnavailable(
            f"{url} does not answer ({type(error).__name__}): is `market serve` running?"
        ) from None
    if answer.status_code != 200:
        raise _meaning(answer)
    table = parquet.read_table(io.BytesIO(answer.content))
    names = pyarrow.DictionaryArray.from_arrays(
        pyarrow.array([0] * len(table), pyarrow.int32()), pyarrow.array([symbol])
    )
    return table.add_column(0, "symbol", names)


def _meaning(answer: requests.Response) -> Exception:
    try:
        words = str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        words = f"{answer.url} answers {answer.status_code}: is it the API of a market warehouse?"
    if answer.status_code == 404 and words.startswith("unknown symbol"):
        return UnknownSymbol(words)
    if answer.status_code in (404, 422):
        return BadQuestion(words)
    return WarehouseUnavailable(words)


def _floats(table: pyarrow.Table) -> pyarrow.Table:
    import pyarrow

    schema = pyarrow.schema(
        [
            pyarrow.field(field.name, pyarrow.float64() if pyarrow.types.is_decimal(field.type) else field.type)
            for field in table.schema
        ]
    )
    return table.cast(schema)
