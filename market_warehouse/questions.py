"""A question for bars, checked, and the select that answers it.

Data flow: arguments -> `Question` -> one select over marts.market_data_v2 (or market_data_as_of) whose rows come in the
order of symbol and time. Prices and amounts are distinguished by their types in the database, so a feature that is new
there needs no line here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from difflib import get_close_matches
from typing import Any, Literal, LiteralString

from psycopg import Connection, sql

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


SHARES_TODAY: LiteralString = """
select
    newest.split_factor,
    (
        select adjusted.split_adjustment
        from marts.market_data_adjusted as adjusted
        where
            adjusted.symbol = newest.symbol
            and adjusted.asset_class = newest.asset_class
            and adjusted.timeframe = newest.timeframe
            and adjusted.timestamp = newest.timestamp
    ) as split_adjustment
from marts.market_data_v2 as newest
where newest.symbol = %s and newest.asset_class = %s and newest.timeframe = %s
order by newest.timestamp desc
limit 1
"""
SHARES_THEN: LiteralString = """
select split_factor, 1 as split_adjustment
from marts.market_data_as_of(%s)
where symbol = %s and asset_class = %s and timeframe = %s
order by timestamp desc
limit 1
"""


def shares(connection: Connection, question: Question) -> dict[Series, Any]:
    """The split factor that each series is adjusted to: that of its newest bar as known at `as_of`, or today's."""
    found = {}
    for one in question.series:
        key = (one.symbol, one.asset_class, one.timeframe)
        if question.as_of is None:
            row = connection.execute(SHARES_TODAY, key).fetchone()
        else:
            row = connection.execute(SHARES_THEN, (question.as_of, *key)).fetchone()
        found[one] = shares_of(row)
    return found


def shares_of(row: tuple[Any, ...] | None) -> Any:
    """The split factor to adjust to, by a row of SHARES_TODAY or SHARES_THEN; 1 without a bar."""
    if row is None:
        return 1
    # A split that is in force but has no bar yet: the mart's own adjustment of the newest bar is not 1 then.
    return row[0] if row[1] in (None, 1) else round(row[0] / row[1], 8)


def select(question: Question, factors: dict[Series, Any], numbers: Literal["float64", "decimal"]) -> sql.Composed:
    """The select: symbol, timestamp, then the columns. `factors` are those of `shares()` where prices are adjusted."""
    common = _common(question, factors)
    factor = sql.SQL("shares.split_factor" if common is None else "cast({} as numeric)").format(sql.Literal(common))
    return sql.SQL("select {columns} from {source} where {conditions} order by bars.symbol, bars.timestamp").format(
        columns=sql.SQL(", ").join(
            [
                sql.SQL("bars.symbol"),
                sql.SQL("bars.timestamp"),
                *(_value(one, question.adjusted, numbers, factor) for one in question.columns),
            ]
        ),
        source=source(question, factors),
        conditions=conditions(question),
    )


def source(question: Question, factors: dict[Series, Any]) -> sql.Composable:
    """What the select reads: the bars, with what they are adjusted by."""
    bars: sql.Composable = sql.SQL("marts.market_data_v2 as bars")
    if question.as_of is not None:
        bars = sql.SQL("marts.market_data_as_of({}) as bars").format(sql.Literal(question.as_of))
    if question.adjusted is None:
        return bars
    if _common(question, factors) is not None:
        return bars + _returns(question)
    rows = [
        sql.SQL("({}, {}, cast({} as numeric))").format(
            sql.Literal(one.symbol), sql.Literal(one.asset_class), sql.Literal(factors.get(one, 1))
        )
        for one in question.series
    ]
    joined = sql.SQL(
        "{bars} inner join (values {rows}) as shares (symbol, asset_class, split_factor)"
        " on shares.symbol = bars.symbol and shares.asset_class = bars.asset_class"
    ).format(bars=bars, rows=sql.SQL(", ").join(rows))
    return joined + _returns(question)


def _returns(question: Question) -> sql.Composable:
    is_wanted = question.adjusted == "total_return"
    return sql.SQL(" inner join marts.market_data_adjusted as returns on returns.id = bars.id" if is_wanted else "")


def _common(question: Question, factors: dict[Series, Any]) -> Any:
    """What all series are adjusted to, None where they differ."""
    found = {factors.get(one, 1) for one in question.series}
    return found.pop() if len(found) == 1 else None


def conditions(question: Question) -> sql.Composable:
    """Which bars: those of the series between the bounds."""
    by_class: dict[str, list[str]] = {}
    for one in question.series:
        by_class.setdefault(one.asset_class, []).append(one.symbol)
    listed = [
        sql.SQL("(bars.asset_class = {} and bars.symbol = any({}))").format(sql.Literal(name), sql.Literal(symbols))
        for name, symbols in by_class.items()
    ]
    conditions: list[sql.Composable] = [
        sql.SQL("bars.timeframe = {}").format(sql.Literal(question.series[0].timeframe)),
        sql.SQL("({})").format(sql.SQL(" or ").join(listed)),
    ]
    if question.adjusted == "total_return":
        # The view computes what it is asked for: named here as well, its own index finds them.
        conditions += [
            sql.SQL("returns.timeframe = {}").format(sql.Literal(question.series[0].timeframe)),
            sql.SQL("returns.symbol = any({})").format(sql.Literal([one.symbol for one in question.series])),
        ]
    if question.start is not None:
        conditions.append(sql.SQL("bars.timestamp >= {}").format(sql.Literal(question.start)))
    if question.end is not None:
        conditions.append(sql.SQL("bars.timestamp < {}").format(sql.Literal(question.end)))
    return sql.SQL(" and ").join(conditions)


def _value(column: Column, adjusted: Adjustment | None, numbers: str, factor: sql.Composable) -> sql.Composable:
    """The column as it is asked for; `factor` is the split factor to adjust to."""
    name = sql.Identifier(column.name)
    value: sql.Composable = sql.SQL("bars.{}").format(name)
    if adjusted == "total_return" and column.is_price:
        value = sql.SQL("returns.{}").format(sql.Identifier(f"total_return_{column.name}"))
    elif adjusted and (column.is_price or column.is_amount):
        # As in market_data_adjusted. Most bars are in the shares of today: exact arithmetic costs a microsecond a value.
        changed = sql.SQL(
            "round(bars.{} * (bars.split_factor / {}), 10)"
            if column.is_price
            else "round(bars.{} / (bars.split_factor / {}), 8)"
        ).format(name, factor)
        value = sql.SQL("case when bars.split_factor = {} then bars.{} else {} end").format(factor, name, changed)
    if column.is_number and numbers == "float64":
        value = sql.SQL("cast({} as double precision)").format(value)
    return sql.SQL("{} as {}").format(value, name)
