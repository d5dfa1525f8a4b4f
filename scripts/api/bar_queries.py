"""The selects of bars: one page as JSON, or a COPY of all. Symbols and times are parameters; the names of columns come from
the catalogue of the warehouse alone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Literal, LiteralString

from psycopg import sql

from market_warehouse.questions import AMOUNT, OHLCV, PRICE

Direction = Literal["after", "before"]


@dataclass(frozen=True)
class Column:
    """A column of market_data_v2; data_type as Postgres spells it."""

    name: str
    data_type: str

    @property
    def is_number(self) -> bool:
        """Whether it holds exact decimals."""
        return self.data_type.startswith("numeric")

    @property
    def is_price(self) -> bool:
        """Whether a split lowers it: the type says so."""
        return self.data_type == "numeric({},{})".format(*PRICE)

    @property
    def is_amount(self) -> bool:
        """Whether it counts shares or coins, of which a split makes more."""
        return self.data_type == "numeric({},{})".format(*AMOUNT)

    @property
    def is_return_known(self) -> bool:
        """Whether it has a total return, or needs none."""
        return not self.is_price or self.name in OHLCV


SYMBOL = Column("symbol", "character varying(20)")

# In the table's order; what every bar of an answer has in common is next to the columns.
COLUMNS: LiteralString = """
select
    array_agg(attname::text order by attnum),
    array_agg(format_type(atttypid, atttypmod) order by attnum)
from pg_attribute
where
    attrelid = 'marts.market_data_v2'::regclass
    and attnum > 0
    and not attisdropped
    and attname not in ('symbol', 'asset_class', 'timeframe')
"""


@dataclass(frozen=True)
class Shape:
    """The form of a select of bars: everything but its values. `is_many`: series are a list, and have a column symbol.

    Values: symbol, asset_class, shares (or, of many, lists: symbols, asset_classes, shares), timeframe, start, end, cursor,
    cursor_symbol (of many), as_of, limit.
    """

    columns: tuple[Column, ...]
    direction: Direction
    has_start: bool = False
    has_end: bool = False
    has_cursor: bool = False
    is_as_of: bool = False
    adjusted: Literal["splits", "total_return"] | None = None
    is_many: bool = False

    @property
    def shown(self) -> tuple[Column, ...]:
        """The columns of the answer."""
        return (SYMBOL, *self.columns) if self.is_many else self.columns


def _value(column: Column, shape: Shape) -> sql.Composable:
    """A column as it is shown. Adjusted as in market_data_adjusted; most bars are in the shares of today."""
    name = sql.Identifier(column.name)
    if shape.adjusted is None or not (column.is_price or column.is_amount):
        return sql.SQL("bars.{}").format(name)
    if shape.adjusted == "total_return" and column.is_price:
        return sql.SQL("returns.{} as {}").format(sql.Identifier(f"total_return_{column.name}"), name)
    text: LiteralString = (
        "bars.{0} * (bars.split_factor / {1}), 10" if column.is_price else "bars.{0} / (bars.split_factor / {1}), 8"
    )
    return sql.SQL(f"case when bars.split_factor = {{1}} then bars.{{0}} else round({text}) end as {{0}}").format(
        name, sql.SQL("series.shares" if shape.is_many else "cast(%(shares)s as numeric)")
    )


def _of_one(shape: Shape, has_limit: bool) -> sql.Composable:
    """The bars of one series in order of time: the first ones after the start, or the last ones before the end."""
    key: LiteralString = "bars.symbol = %(symbol)s and bars.asset_class = %(asset_class)s"
    if shape.is_many:
        key = "bars.symbol = series.symbol and bars.asset_class = series.asset_class"
    conditions = [sql.SQL(key), sql.SQL("bars.timeframe = %(timeframe)s")]
    if shape.has_start:
        conditions.append(sql.SQL("bars.timestamp >= %(start)s"))
    if shape.has_end:
        conditions.append(sql.SQL("bars.timestamp < %(end)s"))
    if shape.has_cursor:
        after, or_same = (">", ">=") if shape.direction == "after" else ("<", "<=")
        if shape.is_many:
            conditions.append(sql.SQL(f"bars.timestamp {or_same} %(cursor)s"))
            conditions.append(sql.SQL(f"(bars.timestamp, bars.symbol) {after} (%(cursor)s, %(cursor_symbol)s)"))
        else:
            conditions.append(sql.SQL(f"bars.timestamp {after} %(cursor)s"))
    return sql.SQL(
        "select {columns} from {relation} as bars {returns} where {conditions} order by bars.timestamp {order} {limit}"
    ).format(
        columns=sql.SQL(", ").join([_value(column, shape) for column in shape.columns]),
        relation=sql.SQL("marts.market_data_as_of(%(as_of)s)" if shape.is_as_of else "marts.market_data_v2"),
        returns=sql.SQL(
            "inner join marts.market_data_adjusted as returns on returns.id = bars.id"
            if shape.adjusted == "total_return"
            else ""
        ),
        conditions=sql.SQL(" and ").join(conditions),
        order=sql.SQL("asc" if shape.direction == "after" else "desc"),
        limit=sql.SQL("limit %(limit)s + 1" if has_limit else ""),
    )


def _found(shape: Shape, has_limit: bool) -> sql.Composable:
    """One bar more than the limit, of one series or of many."""
    if not shape.is_many:
        return _of_one(shape, has_limit)
    order = sql.SQL("asc" if shape.direction == "after" else "desc")
    return sql.SQL(
        "select series.symbol, found.* from unnest(cast(%(symbols)s as text[]), cast(%(asset_classes)s as text[]),"
        " cast(%(shares)s as numeric[])) as series (symbol, asset_class, shares) cross join lateral ({found}) as found"
        " order by found.timestamp {order}, series.symbol {order} {limit}"
    ).format(found=_of_one(shape, has_limit), order=order, limit=sql.SQL("limit %(limit)s + 1" if has_limit else ""))


@lru_cache(maxsize=256)
def page(shape: Shape) -> sql.Composed:
    """One page, column-wise: count, whether there are more, first and last timestamp and their symbols, then each column
    as JSON.

    Aggregates take the rows in the subquery's order. Trailing zeros are not sent: numbers stay exact all the same. They
    are put together as text: json_agg takes half as long again.
    """
    shown = shape.shown
    arrays = [
        sql.SQL(
            "'[' || coalesce(string_agg(coalesce(cast(trim_scale({}) as text), 'null'), ','), '') || ']'"
            if column.is_number
            else "cast(coalesce(json_agg({}), '[]') as text)"
        ).format(sql.Identifier(column.name))
        for column in shown
    ]
    order = sql.SQL("asc" if shape.direction == "after" else "desc")
    symbol = sql.SQL("symbol" if shape.is_many else "null::text")
    tie = sql.SQL(", symbol {}").format(order) if shape.is_many else sql.SQL("")
    return sql.SQL(
        # One more than asked for shows whether there is a next page.
        "with found as ({found}),"
        " numbered as (select *, row_number() over (order by timestamp {order}{tie}) as place from found),"
        " kept as (select * from numbered where place <= %(limit)s order by timestamp{in_time})"
        " select count(*), (select count(*) from found) > %(limit)s, min(timestamp), max(timestamp),"
        " (array_agg({symbol}))[1], (array_agg({symbol}))[cast(count(*) as integer)], {arrays} from kept"
    ).format(
        found=_found(shape, True), order=order, tie=tie, symbol=symbol, arrays=sql.SQL(", ").join(arrays),
        in_time=sql.SQL(", symbol" if shape.is_many else ""),
    )  # fmt: skip


@lru_cache(maxsize=256)
def copy(shape: Shape, has_limit: bool, header: bool) -> sql.Composed:
    """The same bars as a COPY of CSV, in order of time; of many, in order of symbol and time."""
    found = _found(shape, has_limit)
    if has_limit:
        order: LiteralString = "asc" if shape.direction == "after" else "desc"
        found = sql.SQL(f"select * from ({{}}) as newest order by timestamp {order} limit %(limit)s").format(found)
    if shape.is_many:
        found = sql.SQL("select * from ({}) as ordered order by symbol, timestamp").format(found)
    elif shape.direction == "before":
        found = sql.SQL("select * from ({}) as ordered order by timestamp").format(found)
    return sql.SQL("copy ({}) to stdout (format csv, header {})").format(found, sql.SQL("true" if header else "false"))


def cursor_of(direction: Direction, first: datetime, last: datetime, symbols: tuple[str | None, str | None]) -> str:
    """Where the next page begins: after the last bar of this one, or before its first; of many series, of which symbol."""
    moment, symbol = (last, symbols[1]) if direction == "after" else (first, symbols[0])
    return f"{direction}-{int(moment.timestamp())}" + (f"-{symbol}" if symbol is not None else "")
