"""What is loaded: read from the committed rows themselves, so it cannot disagree with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from extract import database
from extract.windows import Window, merged

# Most looked at soon, seldom later: due once a third of a file's age has passed since the last look.
_FILES_DUE = """
select endpoint, symbol, timeframe, provider_symbol, window_start, window_end
from {schema}.responses
where
    origin = 'archive'
    and (
        status in ('ok', 'unchanged')
        -- A spoilt file, for which REST has stood in.
        or status in ('failed', 'quarantined') and http_status is distinct from 404
    )
    and window_end > %(now)s - %(reach)s and symbol = any(%(symbols)s)
    and _dlt_load_id in (select load_id from {schema}._dlt_loads where status = 0)
group by endpoint, symbol, timeframe, provider_symbol, window_start, window_end
having max(requested_at) < %(now)s - (%(now)s - window_end) / 3
order by max(requested_at), window_end desc
limit %(limit)s
"""

if TYPE_CHECKING:
    from extract.responses import Task

Key = tuple[str, str | None, str | None]

# A value may still have moved after the instant it was asked for, so an answer covers its window only up to there.
# A metrics file that is still absent a week after its day never comes (other files have REST to stand in for them).
_FOLD = """
insert into ops.coverage (source, endpoint, symbol, timeframe, windows, asked_at)
select
    %(source)s, endpoint, symbol, timeframe,
    coalesce(
        range_agg(tstzrange(window_start, least(window_end, requested_at)))
            filter (where window_start < least(window_end, requested_at)),
        '{{}}'
    ),
    max(requested_at) filter (where status != 'failed')
from {schema}.responses
where
    (
        status in ('ok', 'unchanged')
        or status = 'failed' and endpoint = 'metrics' and http_status = 404
        and requested_at > window_end + interval '8 days'
    )
    and _dlt_load_id = any(%(loads)s) and _dlt_load_id >= %(first)s
group by endpoint, symbol, timeframe
on conflict (source, endpoint, symbol, timeframe) do update set
    windows = coverage.windows + excluded.windows, asked_at = greatest(coverage.asked_at, excluded.asked_at)
"""
_NEW_LOADS = """
insert into ops.coverage_loads (source, load_id)
select %(source)s, load_id from {schema}._dlt_loads
where status = 0 and load_id not in (select load_id from ops.coverage_loads where source = %(source)s)
on conflict do nothing
returning load_id
"""
_IS_STALE = """
select exists (
    select from ops.coverage_loads
    where source = %(source)s and load_id not in (select load_id from {schema}._dlt_loads where status = 0)
)
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


@dataclass(frozen=True)
class Loaded:
    """The windows a source has answered, and when it was last asked, per (endpoint, symbol, timeframe)."""

    windows: dict[Key, list[Window]] = field(default_factory=dict)
    asked: dict[Key, datetime] = field(default_factory=dict)

    def covered(self, endpoint: str, symbol: str | None = None, timeframe: str | None = None) -> list[Window]:
        """Disjoint and in order."""
        return self.windows.get((endpoint, symbol, timeframe), [])

    def bars(self, symbol: str, asset_class: str, timeframe: str) -> list[Window]:
        """Where the bars of a series are known; a day of the whole market (grouped_daily) holds every stock's."""
        own = self.covered("bars", symbol, timeframe)
        if timeframe != "1d" or asset_class == "crypto":
            return own
        return merged([*own, *self.covered("grouped_daily", None, "1d")])


def loaded(source: str) -> Loaded:
    """The state of a source.

    It is a function of the committed loads, each of which never changes: their sum is kept in `ops`, new loads are
    added to it here, and where one of those in it is no longer committed it is computed anew.
    """
    state = Loaded()
    with database.pool().connection() as connection:
        _add_new_loads(connection, source)
        rows = connection.execute(
            "select endpoint, symbol, timeframe, windows, asked_at from ops.coverage where source = %s", (source,)
        )
        for endpoint, symbol, timeframe, windows, asked_at in rows:
            key = (endpoint, symbol, timeframe)
            state.windows[key] = [(window.lower, window.upper) for window in windows]
            if asked_at:
                state.asked[key] = asked_at
    return state


def _add_new_loads(connection: psycopg.Connection, source: str) -> None:
    """In one transaction, so that the loads counted are those in the sum."""
    schema, values = sql.Identifier(f"raw_{source}"), {"source": source}
    if connection.execute(sql.SQL(_IS_STALE).format(schema=schema), values).fetchone() == (True,):
        for table in ("coverage", "coverage_loads"):
            connection.execute(f"delete from ops.{table} where source = %(source)s", values)
    loads = [load for (load,) in connection.execute(sql.SQL(_NEW_LOADS).format(schema=schema), values)]
    if loads:
        found = {**values, "loads": loads, "first": min(loads)}
        connection.execute(sql.SQL(_FOLD).format(schema=schema), found)


@dataclass(frozen=True)
class LoadedFile:
    """An archive file that is loaded."""

    endpoint: str
    symbol: str
    timeframe: str | None
    provider_symbol: str
    window: Window


def files_due(source: str, symbols: Sequence[str], now: datetime, reach: timedelta, limit: int) -> list[LoadedFile]:
    """The files of the last `reach` that should be looked at again, loaded or spoilt, the longest unseen first."""
    statement = sql.SQL(_FILES_DUE).format(schema=sql.Identifier(f"raw_{source}"))
    values = {"now": now, "reach": reach, "symbols": list(symbols), "limit": limit}
    with database.pool().connection() as connection:
        return [
            LoadedFile(endpoint, symbol, timeframe, provider_symbol, (start, end))
            for endpoint, symbol, timeframe, provider_symbol, start, end in connection.execute(statement, values)
        ]


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
