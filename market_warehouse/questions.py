"""A question for bars, checked against what there is.

Data flow: arguments -> `Question` -> selects.py. Prices and amounts are distinguished by their types in the database, so a
feature that is new there needs no line here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from difflib import get_close_matches
from typing import Literal

from psycopg import Connection

from extract.calendar.timeframes import STEPS
from market_warehouse.errors import BadQuestion, UnknownSymbol
from scripts import reading

Adjustment = Literal["splits", "total_return"]
Time = str | date | datetime | None

OHLCV = ("open", "high", "low", "close", "volume")
KEYS = ("symbol", "asset_class", "timeframe", "timestamp")
# (precision, scale) of the columns that a split changes: it lowers prices, and multiplies what is counted in shares.
PRICE, AMOUNT = (19, 10), (28, 8)


@dataclass(frozen=True)
class Column:
    """A column of market_data_v2: its type, as information_schema calls it, and the digits of a number."""

    name: str
    type: str
    precision: int | None
    scale: int | None

    @property
    def is_number(self) -> bool:
        return self.type == "numeric"

    @property
    def is_price(self) -> bool:
        return self.is_number and (self.precision, self.scale) == PRICE

    @property
    def is_amount(self) -> bool:
        return self.is_number and (self.precision, self.scale) == AMOUNT


@dataclass(frozen=True)
class Series:
    """One series of bars."""

    symbol: str
    asset_class: str
    timeframe: str


@dataclass(frozen=True)
class Question:
    """What is asked of some series of one timeframe. `start` is included, `end` is not; both are aware instants."""

    series: tuple[Series, ...]
    columns: tuple[Column, ...]
    start: datetime | None = None
    end: datetime | None = None
    adjusted: Adjustment | None = None
    as_of: datetime | None = None


def adjustment(adjusted: bool | str) -> Adjustment | None:
    """What `adjusted=` means: True is 'splits'. Raises BadQuestion."""
    if adjusted in (False, "", "false", "none"):
        return None
    if adjusted in (True, "true", "splits"):
        return "splits"
    if adjusted == "total_return":
        return "total_return"
    raise BadQuestion(f"adjusted: {adjusted!r} is none of False, True (as 'splits'), 'splits', 'total_return'")


def instant(name: str, value: Time, is_end: bool = False) -> datetime | None:
    """A time without an offset is UTC; an end that is a date includes that day. Raises BadQuestion."""
    if value is None:
        return None
    is_date = isinstance(value, date) and not isinstance(value, datetime)
    try:
        if isinstance(value, str):
            is_date = len(value) == len("2024-01-31")
            value = datetime.fromisoformat(value)
        elif is_date:
            value = datetime(value.year, value.month, value.day, tzinfo=UTC)
        assert isinstance(value, datetime)
        moment = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
        return moment + timedelta(days=1) if is_end and is_date else moment
    except (ValueError, OverflowError, AssertionError):
        raise BadQuestion(
            f"{name}: {value!r} is neither a date like 2024-01-31 nor an ISO-8601 instant like 2024-01-31T12:00:00Z"
        ) from None


def words(values: str | Iterable[str]) -> list[str]:
    """Names, each once: one text parted by commas or blanks, or a list."""
    given = values.replace(",", " ").split() if isinstance(values, str) else list(values)
    return list(dict.fromkeys(given))


def columns_there(connection: Connection) -> dict[str, Column]:
    """The columns of market_data_v2 but its keys, by name, in its order."""
    rows = connection.execute(
        """
        select
            attributes.attname,
            cast(format_type(attributes.atttypid, null) as text),
            case when attributes.atttypid = 'numeric'::regtype then ((attributes.atttypmod - 4) >> 16) & 65535 end,
            case when attributes.atttypid = 'numeric'::regtype then (attributes.atttypmod - 4) & 65535 end
        from pg_attribute as attributes
        where attributes.attrelid = 'marts.market_data_v2'::regclass and attributes.attnum > 0 and not attributes.attisdropped
        order by attributes.attnum
        """
    ).fetchall()
    return {row[0]: Column(*row) for row in rows if row[0] not in KEYS}


def chosen_columns(wanted: str | Sequence[str] | None, there: dict[str, Column]) -> tuple[Column, ...]:
    """The columns asked for; None: open, high, low, close, volume; "all": every one. Raises BadQuestion."""
    if wanted == "all":
        return tuple(there.values())
    names = [name for name in words(OHLCV if wanted is None else wanted) if name not in KEYS]
    if unknown := [name for name in names if name not in there]:
        raise BadQuestion(no_columns(unknown, there))
    return tuple(there[name] for name in names)


def no_columns(unknown: Sequence[str], there: Iterable[str]) -> str:
    """The message for columns that are none, with what there is, and the nearest at its end, where it is seen."""
    names = list(there)
    near = list(dict.fromkeys(one for name in unknown for one in get_close_matches(name, names, n=1)))
    hint = f"; did you mean {', '.join(near)}?" if near else ""
    return f"columns: {', '.join(unknown)[:200]} is none of {', '.join(names)}{hint}"


def series_there(connection: Connection) -> list[Series]:
    """All series that the warehouse knows."""
    rows = connection.execute(
        "select distinct symbol, asset_class, timeframe from marts.enrichment_status order by symbol, asset_class"
    )
    return [Series(*row) for row in rows.fetchall()]


def chosen_series(
    symbols: Sequence[str], timeframe: str, there: list[Series], asset_class: str | None = None
) -> tuple[Series, ...]:
    """The series of these symbols, in their order. Raises UnknownSymbol, or BadQuestion where a symbol lacks the
    timeframe or is several assets."""
    if timeframe not in STEPS:
        raise BadQuestion(f"timeframe: {timeframe!r} is none of {' '.join(STEPS)}")
    if not symbols:
        raise BadQuestion("symbols: name at least one")
    chosen = []
    for symbol in spelled(symbols, there):
        refuse_unknown(symbol, there)
        known = [one for one in there if one.symbol == symbol and asset_class in (None, one.asset_class)]
        found = [one for one in known if one.timeframe == timeframe]
        if not found:
            raise no_bars(symbol, timeframe, known)
        if len(found) > 1:
            classes = " and ".join(one.asset_class for one in found)
            raise BadQuestion(f"{symbol} is {classes}: say which by asset_class=")
        chosen += found
    return tuple(chosen)


def spelled(symbols: Iterable[str], there: list[Series]) -> list[str]:
    """The symbols as the warehouse spells them, each once: `aapl` is AAPL unless there are both."""
    known = {one.symbol for one in there}
    return list(dict.fromkeys(reading.spelled(symbol, known) for symbol in symbols))


def refuse_unknown(symbol: str, there: list[Series]) -> None:
    """Raises UnknownSymbol, with the nearest ones, for a symbol without any series."""
    known = sorted({one.symbol for one in there})
    if symbol not in known:
        raise UnknownSymbol(reading.unknown_symbol(symbol, known))


def no_bars(symbol: str, timeframe: str, known: list[Series]) -> BadQuestion:
    """What to raise where a symbol, whose series are `known`, lacks a timeframe."""
    names = [name for name in STEPS if name in {one.timeframe for one in known}]
    return BadQuestion(f"{symbol} has no {timeframe} bars; there are {', '.join(names) or 'none of that class'}")


def refuse_before_history(connection: Connection, as_of: datetime) -> None:
    """Raises BadQuestion where `as_of` lies before the first build: nothing was known to this warehouse then."""
    row = connection.execute("select min(dbt_valid_from) from snapshots.market_data_history").fetchone()
    begins = row[0] if row else None
    if begins is not None and as_of < begins:
        raise BadQuestion(before_history(as_of, begins))


def before_history(as_of: datetime, begins: datetime) -> str:
    """The message for a moment before the first build."""
    return (
        f"as_of: at {as_of:%Y-%m-%d %H:%M:%S} UTC this warehouse knew nothing yet: its first build was at"
        f" {begins.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    )


def refuse_impossible(question: Question) -> None:
    """Raises BadQuestion for a total return of the past, or of features: neither is known."""
    if question.adjusted != "total_return":
        return
    if question.as_of is not None:
        raise BadQuestion("adjusted='total_return' is not known as of a past moment; adjusted='splits' is")
    if odd := [one.name for one in question.columns if one.is_price and one.name not in OHLCV]:
        raise BadQuestion(
            f"adjusted='total_return' is of open, high, low, close only, not of {', '.join(odd)}: ask for those with"
            " adjusted='splits'"
        )
