"""Bars over the HTTP API, where there is no way to the database."""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

import requests

from market_warehouse import questions
from market_warehouse.errors import BadQuestion, UnknownSymbol, WarehouseUnavailable
from market_warehouse.questions import Adjustment

if TYPE_CHECKING:
    import pyarrow

# The server ends an export after two minutes.
SECONDS = 150
# As many symbols as one question may name.
AT_ONCE = 100


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

    if not symbols:
        raise BadQuestion("symbols: name at least one")
    asked = {"timeframe": timeframe, "format": "parquet", "adjusted": adjusted or "false"}
    asked |= {name: value.isoformat() for name, value in (("start", start), ("end", end), ("as_of", as_of)) if value}
    if asset_class is not None:
        asked["asset_class"] = asset_class
    if columns != "all":
        asked["columns"] = ",".join(questions.words(questions.OHLCV if columns is None else columns))
    ordered = sorted(symbols)
    parts = [
        _some(url.rstrip("/"), ordered[place : place + AT_ONCE], asked) for place in range(0, len(ordered), AT_ONCE)
    ]
    table = pyarrow.concat_tables(parts)
    names = table["symbol"].cast(pyarrow.dictionary(pyarrow.int32(), pyarrow.string())).unify_dictionaries()
    table = table.set_column(0, "symbol", names)
    return table if numbers == "decimal" else _floats(table)


def symbols(url: str) -> list[dict[str, Any]]:
    """As market_warehouse.database.symbols."""
    document = _get(f"{url.rstrip('/')}/api/v1/symbols", {}).json()
    return [
        {
            "symbol": one["symbol"], "asset_class": one["asset_class"], "timeframe": series["timeframe"],
            "first_bar": series["first_bar"], "newest_bar": series["newest_bar"], "bars": series["bars"],
            "is_stale": series["is_stale"], "known_since": document["known_since"],
        }
        for one in document["symbols"]
        for series in one["series"]
    ]  # fmt: skip


def _some(url: str, symbols: Sequence[str], asked: dict[str, str]) -> pyarrow.Table:
    from pyarrow import parquet

    answer = _get(f"{url}/api/v1/data", {**asked, "symbols": ",".join(symbols)})
    return parquet.read_table(io.BytesIO(answer.content))


def _get(address: str, asked: dict[str, str]) -> requests.Response:
    try:
        answer = requests.get(address, params=asked, timeout=SECONDS)
    except requests.RequestException as error:
        raise WarehouseUnavailable(
            f"{address} does not answer ({type(error).__name__}): is `market serve` running?"
        ) from None
    if answer.status_code != 200:
        raise _meaning(answer)
    return answer


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
