"""What single answers say of themselves: when something was last asked for, which archive files are due, which digest a good
answer had. Read from the committed rows of raw_<source>.responses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from psycopg import sql

from extract.calendar.windows import Window
from extract.core import database

if TYPE_CHECKING:
    from extract.load.responses import Task

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
# The attempts at some ranges, good or not: only those whose window begins near a range, which the index finds.
_ATTEMPTS = """
select wanted.place, max(answers.requested_at)
from unnest(
    %(places)s::integer[], %(symbols)s::text[], %(timeframes)s::text[], %(starts)s::timestamptz[], %(ends)s::timestamptz[]
) as wanted (place, symbol, timeframe, starts_at, ends_at)
inner join {schema}.responses as answers
    on
        answers.endpoint = 'bars' and answers.symbol = wanted.symbol and answers.timeframe = wanted.timeframe
        and answers.window_start >= wanted.starts_at and answers.window_start < wanted.ends_at
where
    answers._dlt_load_id in (select load_id from {schema}._dlt_loads where status = 0) and {condition}
group by wanted.place
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


def attempts(source: str, wanted: Sequence[tuple[str, str, Window]]) -> list[datetime | None]:
    """When a source was last asked for each (symbol, timeframe, range), whatever came of it."""
    columns = list(zip(*((symbol, timeframe, *window) for symbol, timeframe, window in wanted), strict=True))
    if not columns:
        return []
    names = ("symbols", "timeframes", "starts", "ends")
    values = {"places": list(range(len(wanted))), **{name: list(one) for name, one in zip(names, columns, strict=True)}}
    found: dict[int, datetime] = {}
    with database.pool().connection() as connection:
        # Each of the two has an index of its own.
        for condition in ("answers.status in ('ok', 'unchanged')", "answers.status in ('failed', 'quarantined')"):
            statement = sql.SQL(_ATTEMPTS).format(schema=sql.Identifier(f"raw_{source}"), condition=sql.SQL(condition))
            for place, at in connection.execute(statement, values):
                found[place] = max(found.get(place, at), at)
    return [found.get(place) for place in range(len(wanted))]


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
