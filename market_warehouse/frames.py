"""`bars()`: bars and features of many symbols as one frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, overload

from market_warehouse import questions
from market_warehouse.errors import BadQuestion
from market_warehouse.questions import Time

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow

Numbers = Literal["float64", "decimal"]
WHOLE_OR_ABSENT = ("amended_from",)


@overload
def bars(
    symbols: str | Sequence[str],
    timeframe: str = ...,
    *,
    start: Time = ...,
    end: Time = ...,
    columns: str | Sequence[str] | None = ...,
    adjusted: bool | str = ...,
    as_of: Time = ...,
    frame: Literal["pandas"] = ...,
    numbers: Numbers = ...,
    asset_class: str | None = ...,
    url: str | None = ...,
) -> pandas.DataFrame: ...
@overload
def bars(
    symbols: str | Sequence[str],
    timeframe: str = ...,
    *,
    start: Time = ...,
    end: Time = ...,
    columns: str | Sequence[str] | None = ...,
    adjusted: bool | str = ...,
    as_of: Time = ...,
    frame: Literal["polars"],
    numbers: Numbers = ...,
    asset_class: str | None = ...,
    url: str | None = ...,
) -> polars.DataFrame: ...
@overload
def bars(
    symbols: str | Sequence[str],
    timeframe: str = ...,
    *,
    start: Time = ...,
    end: Time = ...,
    columns: str | Sequence[str] | None = ...,
    adjusted: bool | str = ...,
    as_of: Time = ...,
    frame: Literal["arrow"],
    numbers: Numbers = ...,
    asset_class: str | None = ...,
    url: str | None = ...,
) -> pyarrow.Table: ...
def bars(
    symbols: str | Sequence[str],
    timeframe: str = "1d",
    *,
    start: Time = None,
    end: Time = None,
    columns: str | Sequence[str] | None = None,
    adjusted: bool | str = False,
    as_of: Time = None,
    frame: Literal["pandas", "polars", "arrow"] = "pandas",
    numbers: Numbers = "float64",
    asset_class: str | None = None,
    url: str | None = None,
) -> Any:
    """Bars and features of the symbols, in the order of symbol and time.

    symbols: one, or a list. timeframe: 5m 15m 30m 1h 4h 1d 1w.
    start, end: dates or instants, UTC where they have no offset. The start is included; the end is not, but a date as
        end includes its day.
    columns: names of market_data_v2 ("close,sma_20" or a list), "all" of them, or by default open, high, low, close,
        volume (in units of the asset).
    adjusted: False: prices as traded. True or "splits": prices (and features in prices) in the shares of the newest bar,
        volumes likewise. "total_return": open, high, low, close with dividends, too.
    as_of: an instant: values, features and splits as this warehouse knew them then; nothing of later is in the answer.
    frame: pandas; polars or arrow have symbol and timestamp as columns.
    numbers: float64, or decimal: exact, as stored. Absent values are NaN in pandas, null elsewhere; never 0.
    asset_class: where a symbol is several assets.
    url: the database (postgresql://…, what `market url` prints) or the API (http://127.0.0.1:8000); by default the
        warehouse of the settings, as for every command.

    pandas: for one symbol (a text) the index is a UTC DatetimeIndex `timestamp`, the open of each bar; for a list it has
    the levels `symbol` and `timestamp`. No bar in the range: an empty frame of the same types.

    Raises UnknownSymbol, BadQuestion (ValueErrors that say what there is), WarehouseUnavailable.
    """
    names = questions.words([symbols] if isinstance(symbols, str) else symbols)
    if frame not in ("pandas", "polars", "arrow"):
        raise BadQuestion(f"frame: {frame!r} is none of pandas, polars, arrow")
    if numbers not in ("float64", "decimal"):
        raise BadQuestion(f"numbers: {numbers!r} is none of float64, decimal")
    asked = {
        "start": questions.instant("start", start),
        "end": questions.instant("end", end, is_end=True),
        "as_of": questions.instant("as_of", as_of),
    }
    change = questions.adjustment(adjusted)
    if _is_api(url):
        from market_warehouse import api

        table = api.read(str(url), names, timeframe, columns, change, numbers, asset_class, **asked)
    else:
        from market_warehouse import database

        table = database.read(url, names, timeframe, columns, change, numbers, asset_class, **asked)
    if frame == "arrow":
        return table
    if frame == "polars":
        return _polars(table)
    return _pandas(table, is_one=isinstance(symbols, str))


def symbols(url: str | None = None) -> pandas.DataFrame:
    """What there is, a row a series: symbol, asset_class, timeframe, first_bar, newest_bar (opens, UTC), bars, is_stale,
    and known_since, the first build: `bars(as_of=)` knows nothing earlier.

    url: as for `bars()`. Raises WarehouseUnavailable.
    """
    import pandas

    if _is_api(url):
        from market_warehouse import api

        rows = api.symbols(str(url))
    else:
        from market_warehouse import database

        rows = database.symbols(url)
    found = pandas.DataFrame(rows)
    for name in ("first_bar", "newest_bar", "known_since"):
        found[name] = pandas.to_datetime(found[name], utc=True)
    return found


def _is_api(url: str | None) -> bool:
    return url is not None and url.startswith(("http://", "https://"))


def _polars(table: pyarrow.Table) -> polars.DataFrame:
    try:
        import polars
    except ImportError:
        raise ImportError("frame='polars' needs polars: pip install polars") from None
    return polars.DataFrame(polars.from_arrow(table))


def _pandas(table: pyarrow.Table, is_one: bool) -> pandas.DataFrame:
    import pandas
    import pyarrow

    times = pandas.DatetimeIndex(table["timestamp"].to_pandas(), name="timestamp")
    found = table.drop_columns(["symbol", "timestamp"]).to_pandas(date_as_object=False, split_blocks=True)
    # Whole numbers that may be absent are floats, in a frame without an absent one, too: types depend on the question alone.
    found = found.astype({name: "float64" for name in WHOLE_OR_ABSENT if name in found})
    if is_one:
        found.index = times
        return found
    # A level as codes: a million texts would take longer than the prices.
    symbols = table["symbol"].combine_chunks()
    if not pyarrow.types.is_dictionary(symbols.type):
        symbols = symbols.dictionary_encode()
    levels = pandas.Index(symbols.dictionary.to_pylist(), dtype="str", name="symbol")
    stamps, places = _codes(times)
    found.index = pandas.MultiIndex(
        levels=[levels, stamps], codes=[symbols.indices.to_numpy(), places], names=["symbol", "timestamp"]
    )
    return found


def _codes(times: Any) -> tuple[Any, Any]:
    import pandas

    places, stamps = pandas.factorize(times, sort=True)
    return pandas.DatetimeIndex(stamps, name="timestamp"), places
