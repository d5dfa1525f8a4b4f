"""Splits and dividends set or struck by hand, and given back to the sources: `market correct SYMBOL split DATE …`.

Data flow: arguments of the command -> checks -> one more row in ops.manual_actions -> dbt, as what a source reports that comes
before all others -> split factors and adjustments -> bars, features, corporate_actions.

Rows are added, never changed: the newest one on an event holds.
"""

from __future__ import annotations

import getpass
from collections.abc import Sequence
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any, Literal

import psycopg
from psycopg.rows import dict_row

from extract.core import database, provenance
from extract.core.settings import ConfigurationError
from extract.symbols import registry

KINDS = ("split", "dividend")
Change = Literal["set", "strike", "withdraw"]
"""set: it has these values; strike: there is no such event; withdraw: what the sources report counts again."""


def correct(
    symbol: str,
    kind: str,
    ex_date: str,
    values: Sequence[str],
    change: Change,
    reason: str,
    corrected_by: str | None = None,
    asset_class: str | None = None,
) -> str:
    """Record a split (`4:1`, new shares for old ones) or dividend (`0.25`, US dollars a share as traded) of an ex-date.

    Returns what was recorded, in a line; takes effect with the next dbt build. Raises ConfigurationError where the asset
    is unknown or no share, a value or date cannot be read, or there is nothing to withdraw.
    """
    if not reason.strip():
        raise ConfigurationError("--reason: say why; it is stored with the correction")
    try:
        day = date.fromisoformat(ex_date)
    except ValueError:
        raise ConfigurationError(f"{ex_date!r} is no date like 2024-01-31 (the ex-date of the {kind})") from None
    found = _asset_class(symbol, asset_class)
    new, old, amount = _values(kind, values, change)
    name = f"{symbol} {kind} of {day}"
    with psycopg.connect(database.url(), row_factory=dict_row, options="-c timezone=UTC") as connection:
        before = _latest(connection, symbol, found, kind, day)
        if change == "withdraw" and (before is None or before["change"] == "withdraw"):
            raise ConfigurationError(f"{name}: nothing was set or struck by hand")
        connection.execute(
            "insert into ops.manual_actions (symbol, asset_class, kind, ex_date, change, split_to, split_from, amount,"
            " reason, corrected_by, corrected_at) values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
            (
                symbol, found, kind, day, change, new, old, amount, reason.strip(), corrected_by or getpass.getuser(),
                provenance.now(connection),
            ),
        )  # fmt: skip
    if change == "strike":
        return f"{name}: struck, whatever the sources say"
    if change == "withdraw":
        return f"{name}: its correction is withdrawn, what its sources report counts again"
    return f"{name}: {' '.join(values)}, whatever the sources say"


def _values(kind: str, values: Sequence[str], change: Change) -> tuple[Decimal | None, Decimal | None, Decimal | None]:
    """New shares, old shares, amount; what does not belong to the kind is None."""
    if change != "set":
        if values:
            raise ConfigurationError(f"--{change} takes no values")
        return None, None, None
    example = "4:1 (new shares for old ones)" if kind == "split" else "0.25 (US dollars a share)"
    if len(values) != 1:
        raise ConfigurationError(f"say the {kind}, e.g. {example}, or --strike it")
    try:
        numbers = [Decimal(part) for part in values[0].split(":")]
    except InvalidOperation:
        numbers = []
    if len(numbers) != (2 if kind == "split" else 1) or not all(n.is_finite() and 0 < n < 10**9 for n in numbers):
        raise ConfigurationError(f"{values[0]!r} is no {kind}; e.g. {example}")
    if kind == "dividend":
        return None, None, numbers[0]
    if numbers[0] == numbers[1]:
        raise ConfigurationError("a split of equal shares is none: --strike it")
    return numbers[0], numbers[1], None


def _asset_class(symbol: str, wanted: str | None) -> str:
    classes = {asset.asset_class for asset in registry.load() if asset.symbol == symbol} - {"crypto"}
    if wanted:
        classes &= {wanted}
    if len(classes) > 1:
        raise ConfigurationError(f"{symbol} is several assets ({', '.join(sorted(classes))}): say --asset-class")
    if not classes:
        raise ConfigurationError(f"there is no share {symbol} in assets.csv")
    return classes.pop()


def _latest(
    connection: psycopg.Connection[dict[str, Any]], symbol: str, asset_class: str, kind: str, day: date
) -> dict[str, Any] | None:
    try:
        return connection.execute(
            "select change from ops.manual_actions where symbol = %s and asset_class = %s and kind = %s and ex_date = %s"
            " order by action_id desc limit 1",
            (symbol, asset_class, kind, day),
        ).fetchone()
    except psycopg.errors.UndefinedTable:
        raise ConfigurationError("this warehouse is of an earlier version: market migrate") from None
