"""What is loaded: read from the committed rows themselves, so it cannot disagree with them."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime

from psycopg import sql

from extract import database
from extract.responses import Task

Window = tuple[datetime, datetime]

# A bar may still have moved after the instant it was asked for, so an answer covers its window only up to there.
_COVERED = """
select symbol, timeframe, range_agg(tstzrange(window_start, least(window_end, requested_at)))
from {schema}.responses
where
    endpoint = 'bars' and status in ('ok', 'unchanged') and window_start < least(window_end, requested_at)
    and _dlt_load_id in (select load_id from {schema}._dlt_loads where status = 0)
group by symbol, timeframe
"""
_KNOWN_SHA = """
select payload_sha
from {schema}.responses
where
    endpoint = %(endpoint)s and window_start = %(start)s and window_end = %(end)s
    and ({symbol}) and ({timeframe}) and provider_symbol is not distinct from %(provider_symbol)s
    and origin = %(origin)s and status in ('ok', 'unchanged')
    and _dlt_load_id in (select load_id from {schema}._dlt_loads where status = 0)
order by _dlt_load_id desc
limit 1
"""
_LAST_ASKED = """
select endpoint, symbol, max(requested_at)
from {schema}.responses
where
    endpoint = any(%s) and status in ('ok', 'unchanged')
    and _dlt_load_id in (select load_id from {schema}._dlt_loads where status = 0)
group by endpoint, symbol
"""


def covered(source: str) -> dict[tuple[str, str], list[Window]]:
    """The windows of bars loaded from a source, per (symbol, timeframe), disjoint and in order."""
    windows: dict[tuple[str, str], list[Window]] = defaultdict(list)
    with database.pool().connection() as connection:
        for symbol, timeframe, ranges in connection.execute(_in_schema(_COVERED, source)):
            windows[symbol, timeframe] = [(window.lower, window.upper) for window in ranges]
    return windows


def known_sha(task: Task) -> str | None:
    """The digest of the newest good answer for exactly this window."""
    statement = sql.SQL(_KNOWN_SHA).format(
        schema=sql.Identifier(f"raw_{task.source}"),
        symbol=sql.SQL("symbol = %(symbol)s" if task.symbol else "symbol is null"),
        timeframe=sql.SQL("timeframe = %(timeframe)s" if task.timeframe else "timeframe is null"),
    )
    with database.pool().connection() as connection:
        row = connection.execute(statement, task.__dict__).fetchone()
    return row[0] if row else None


def last_asked(source: str, endpoints: list[str]) -> dict[tuple[str, str | None], datetime]:
    """When each (endpoint, symbol) last got a good answer."""
    with database.pool().connection() as connection:
        rows = connection.execute(_in_schema(_LAST_ASKED, source), (endpoints,)).fetchall()
    return {(endpoint, symbol): asked_at for endpoint, symbol, asked_at in rows}


def _in_schema(statement: str, source: str) -> sql.Composed:
    return sql.SQL(statement).format(schema=sql.Identifier(f"raw_{source}"))  # type: ignore[arg-type]
