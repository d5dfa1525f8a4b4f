"""Corrections of bars by hand, and their withdrawal: `market correct`.

Data flow: a bar of market_data_v2 and the wanted values -> checks -> one more row in ops.manual_corrections -> dbt, as
the observation of a source that comes before all others -> versions, resampled bars, features, data_corrections.

A correction is the whole bar: the fields that are not named keep the values they had, whatever the sources say later,
until it is withdrawn. Rows are added, never changed.
"""

from __future__ import annotations

import getpass
from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

import psycopg
from psycopg.rows import dict_row

from extract.calendar.timeframes import DAY, WEEK
from extract.core import database, provenance
from extract.core.settings import ConfigurationError

SCALES = {"open": 10, "high": 10, "low": 10, "close": 10, "volume": 8, "taker_buy_volume": 8}
"""The fields that can be corrected, with the decimals that are stored of each."""
LIMITS = {"open": 9, "high": 9, "low": 9, "close": 9, "volume": 18, "taker_buy_volume": 18}
"""Values of 10 to this power or more are no prices or volumes; the pipeline rejects them too."""

Bar = dict[str, Any]


def correct(
    symbol: str,
    timeframe: str,
    timestamp: str,
    assignments: Sequence[str],
    reason: str,
    corrected_by: str | None = None,
    asset_class: str | None = None,
) -> str:
    """Record that the bar has these values (`field=value`, as traded); returns what it changes, in a line.

    Takes effect with the next dbt build. Raises ConfigurationError when there is no such bar, a field cannot be
    corrected, or the bar would fail a hard check.
    """
    _require_reason(reason)
    values = _parse(assignments)
    with _connect() as connection:
        bar = _find(connection, symbol, timeframe, timestamp, asset_class)
        if "taker_buy_volume" in values and bar["asset_class"] != "crypto":
            raise ConfigurationError(f"taker_buy_volume: {symbol} is no crypto, only that has one")
        before = _in_force(connection, bar) or bar
        after = {name: values.get(name, before[name]) for name in SCALES}
        if failed := failed_checks(after, bar["asset_class"]):
            raise ConfigurationError(f"the bar would not pass the checks: {'; '.join(failed)}")
        changed = [name for name in values if values[name] != before[name]]
        if not changed:
            raise ConfigurationError("the bar has these values already")
        _record(connection, bar, after, " ".join(changed), reason, corrected_by)
    changes = ", ".join(f"{name} {_plain(before[name])} -> {_plain(after[name])}" for name in changed)
    return f"{_name(bar)}: {changes}"


def withdraw(
    symbol: str,
    timeframe: str,
    timestamp: str,
    reason: str,
    corrected_by: str | None = None,
    asset_class: str | None = None,
) -> str:
    """Record that the bar's correction holds no longer: its sources supply it again from the next dbt build on.

    Raises ConfigurationError when there is no such bar, or no correction of it in force.
    """
    _require_reason(reason)
    with _connect() as connection:
        bar = _find(connection, symbol, timeframe, timestamp, asset_class)
        if _in_force(connection, bar) is None:
            raise ConfigurationError(f"{_name(bar)}: there is no correction to withdraw")
        _record(connection, bar, None, None, reason, corrected_by)
    return f"{_name(bar)}: its correction is withdrawn, its sources supply it again"


def failed_checks(bar: Bar, asset_class: str) -> list[str]:
    """The hard checks of the pipeline (macros/bars/bar_checks.sql) that the bar fails, by the names they have there.

    A coin's bar of a source that reports no volume in coins has none (None), and an index has none at all.
    """
    prices = [bar[name] for name in ("open", "high", "low", "close")]
    if None in prices:
        return ["price missing"]
    volume = bar["volume"]
    if volume is None and asset_class not in ("crypto", "index"):
        return ["volume missing"]
    first, high, low, last = prices
    taker = bar["taker_buy_volume"]
    checks = {
        "high below low": high < low,
        "high below open or close": high < first or high < last,
        "low above open or close": low > first or low > last,
        "price not positive": min(prices) <= 0,
        "volume negative": volume is not None and volume < 0,
        "taker volume outside volume": taker is not None and (taker < 0 or (volume is not None and taker > volume)),
    }
    return [name for name, failed in checks.items() if failed]


def _parse(assignments: Sequence[str]) -> dict[str, Decimal]:
    """`field=value` arguments; ConfigurationError names all that are wrong."""
    values: dict[str, Decimal] = {}
    problems = []
    for assignment in assignments:
        name, _, text = assignment.partition("=")
        if name not in SCALES:
            problems.append(f"{assignment}: {name or 'it'} is none of {' '.join(SCALES)}")
            continue
        try:
            value = Decimal(text)
        except InvalidOperation:
            problems.append(f"{assignment}: {text!r} is no number")
            continue
        if not value.is_finite() or abs(value) >= 10 ** LIMITS[name]:
            problems.append(f"{assignment}: not a number below 1e{LIMITS[name]}")
            continue
        values[name] = value.quantize(Decimal(1).scaleb(-SCALES[name]))
    if not assignments:
        problems.append(f"say what to correct, e.g. close=101.5 (fields: {' '.join(SCALES)})")
    if problems:
        raise ConfigurationError("; ".join(problems))
    return values


def _require_reason(reason: str) -> None:
    if not reason.strip():
        raise ConfigurationError("--reason: say why; it is stored with the correction")


def _connect() -> psycopg.Connection[Bar]:
    return psycopg.connect(database.url(), row_factory=dict_row, options=database.session_options(timezone="UTC"))


def _find(
    connection: psycopg.Connection[Bar], symbol: str, timeframe: str, timestamp: str, asset_class: str | None
) -> Bar:
    """The bar of market_data_v2; a date names the bar of that session (1d) or of the week that starts on it (1w)."""
    try:
        day = date.fromisoformat(timestamp) if timeframe in (DAY, WEEK) and len(timestamp) == 10 else None
        instant = datetime.fromisoformat(timestamp)
    except ValueError:
        raise ConfigurationError(
            f"{timestamp!r} is neither a date like 2024-01-31 nor an ISO-8601 instant (UTC where it names no zone)"
        ) from None
    instant = instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant
    try:
        bars = connection.execute(
            f"select symbol, asset_class, timeframe, timestamp, {', '.join(SCALES)} from marts.market_data_v2"
            " where symbol = %(symbol)s and timeframe = %(timeframe)s"
            " and (%(asset_class)s::text is null or asset_class = %(asset_class)s)"
            " and (timestamp = %(instant)s or session_date = %(day)s::date)",
            {"symbol": symbol, "timeframe": timeframe, "asset_class": asset_class, "instant": instant, "day": day},
        ).fetchall()
        series = connection.execute(
            "select distinct asset_class from marts.market_data_v2 where symbol = %s and timeframe = %s",
            (symbol, timeframe),
        ).fetchall()
    except psycopg.errors.UndefinedTable:
        raise ConfigurationError("there is no marts.market_data_v2 yet: make extract build") from None
    if not series:
        raise ConfigurationError(f"there is no series {symbol} {timeframe}")
    if len(bars) > 1:
        classes = ", ".join(sorted(bar["asset_class"] for bar in bars))
        raise ConfigurationError(f"{symbol} is several assets ({classes}): say --asset-class")
    if not bars:
        raise ConfigurationError(f"there is no bar of {symbol} {timeframe} at {timestamp}")
    return bars[0]


def _in_force(connection: psycopg.Connection[Bar], bar: Bar) -> Bar | None:
    """The bar's latest correction, built or not; None if there is none, or it was withdrawn."""
    try:
        row = connection.execute(
            f"select is_withdrawal, {', '.join(SCALES)} from ops.manual_corrections where symbol = %(symbol)s"
            " and asset_class = %(asset_class)s and timeframe = %(timeframe)s and opened_at = %(timestamp)s"
            " order by correction_id desc limit 1",
            bar,
        ).fetchone()
    except psycopg.errors.UndefinedTable:
        raise ConfigurationError("this warehouse was last built before corrections were known: make build") from None
    return None if row is None or row["is_withdrawal"] else row


def _record(
    connection: psycopg.Connection[Bar],
    bar: Bar,
    values: Bar | None,
    fields: str | None,
    reason: str,
    corrected_by: str | None,
) -> None:
    connection.execute(
        f"insert into ops.manual_corrections (symbol, asset_class, timeframe, opened_at, is_withdrawal,"
        f" {', '.join(SCALES)}, fields_corrected, reason, corrected_by, corrected_at)"
        f" values ({', '.join(['%s'] * (9 + len(SCALES)))})",
        (
            *(bar[name] for name in ("symbol", "asset_class", "timeframe", "timestamp")),
            values is None,
            *((values or {}).get(name) for name in SCALES),
            fields,
            reason.strip(),
            corrected_by or getpass.getuser(),
            provenance.now(connection),
        ),
    )


def _name(bar: Bar) -> str:
    return f"{bar['symbol']} {bar['timeframe']} {bar['timestamp']:%Y-%m-%d %H:%M} UTC"


def _plain(value: Decimal | None) -> str:
    return "NULL" if value is None else f"{value.normalize():f}"
