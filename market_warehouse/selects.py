"""The select that answers a question: over marts.market_data_v2 (or market_data_as_of), in the order of symbol and time."""

from __future__ import annotations

from typing import Any, Literal, LiteralString

from psycopg import Connection, sql

from market_warehouse.questions import Adjustment, Column, Question, Series

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
