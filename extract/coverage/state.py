"""What is loaded, and what was looked at in vain: read from the committed rows, so it cannot disagree with them.

Data flow: raw_<source>.responses -> ops.coverage (how far the answers reach: `ops.covered_to`) and ops.looks (the rest of
what was asked for) -> `Known`. The rules are those of docs/reference/coverage.md.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from extract.calendar import calendars
from extract.calendar.calendars import Calendar
from extract.calendar.timeframes import DAY, STEPS
from extract.calendar.windows import Window, merged
from extract.core import clock, database
from extract.coverage.looks import Look, resting
from extract.symbols import registry

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
    from extract.load.responses import Task

log = logging.getLogger(__name__)

Key = tuple[str, str | None, str | None]

# What came is compared with what was asked for, load by load; `covered_to` is the rule, written down once for dbt too.
_FOLD = """
with

answers as (
    select
        endpoint, responses.symbol, responses.timeframe, status, run_id, window_start, requested_at,
        least(window_end, requested_at) as asked_to,
        ops.covered_to(
            endpoint, status, lengths.step, coalesce(own_zones.time_zone, zones.time_zone), window_start, window_end,
            requested_at, row_count, first_row_at, last_row_at
        ) as covered_to
    from {schema}.responses
    left join unnest(%(timeframes)s::text[], %(steps)s::interval[]) as lengths (timeframe, step)
        on lengths.timeframe = responses.timeframe
    left join unnest(%(classes)s::text[], %(class_zones)s::text[]) as zones (asset_class, time_zone)
        -- An answer of the whole market is of stocks.
        on zones.asset_class = coalesce(responses.asset_class, 'stock')
    left join unnest(%(symbols)s::text[], %(symbol_zones)s::text[]) as own_zones (symbol, time_zone)
        on own_zones.symbol = responses.symbol
    where
        (
            status in ('ok', 'unchanged')
            or status = 'failed' and endpoint = 'metrics' and http_status = 404
            and requested_at > window_end + interval '8 days'
        )
        and _dlt_load_id = any(%(loads)s) and _dlt_load_id >= %(first)s
),

covered as (
    insert into ops.coverage (source, endpoint, symbol, timeframe, windows, asked_until, asked_at)
    select
        %(source)s, endpoint, symbol, timeframe,
        coalesce(range_agg(tstzrange(window_start, covered_to)) filter (where window_start < covered_to), '{{}}'),
        max(asked_to) filter (where status != 'failed'),
        max(requested_at) filter (where status != 'failed')
    from answers
    group by endpoint, symbol, timeframe
    on conflict (source, endpoint, symbol, timeframe) do update set
        windows = coverage.windows + excluded.windows,
        asked_until = greatest(coverage.asked_until, excluded.asked_until),
        asked_at = greatest(coverage.asked_at, excluded.asked_at)
)

insert into ops.looks (source, endpoint, symbol, timeframe, looked_at, windows, times, first_at, last_at)
select
    %(source)s, endpoint, symbol, timeframe, date_trunc('hour', requested_at),
    range_agg(tstzrange(greatest(window_start, covered_to), asked_to)),
    count(distinct run_id), min(requested_at), max(requested_at)
from answers
where greatest(window_start, covered_to) < asked_to and status != 'failed'
group by endpoint, symbol, timeframe, date_trunc('hour', requested_at)
on conflict (source, endpoint, symbol, timeframe, looked_at) do update set
    windows = looks.windows + excluded.windows,
    times = looks.times + excluded.times,
    first_at = least(looks.first_at, excluded.first_at),
    last_at = greatest(looks.last_at, excluded.last_at)
"""
# What came meanwhile is looked for no longer.
_FORGET_FOUND = """
with

left_over as (
    select looks.ctid as place, looks.windows - coverage.windows as windows
    from ops.looks
    inner join ops.coverage
        on
            coverage.source = looks.source and coverage.endpoint = looks.endpoint
            and coverage.symbol is not distinct from looks.symbol
            and coverage.timeframe is not distinct from looks.timeframe
    where looks.source = %(source)s and looks.windows && coverage.windows
),

found as (
    delete from ops.looks
    using left_over
    where looks.ctid = left_over.place and isempty(left_over.windows)
)

update ops.looks
set windows = left_over.windows
from left_over
where looks.ctid = left_over.place and not isempty(left_over.windows)
"""
# A source that was silent and gives newer bars again is asked for what it owes in the next run: that it had nothing while
# it was silent says nothing.
_FORGET_SILENCE = """
with

woken as (
    select endpoint, symbol, timeframe, tstzrange(came_until, upper(windows)) as came
    from ops.coverage
    where source = %(source)s and came_until < upper(windows)
),

owing as (
    select looks.ctid as place, looks.windows - tstzmultirange(woken.came) as windows
    from ops.looks
    inner join woken
        on
            woken.endpoint = looks.endpoint
            and woken.symbol is not distinct from looks.symbol
            and woken.timeframe is not distinct from looks.timeframe
    where looks.source = %(source)s and looks.windows && woken.came
),

deleted as (
    delete from ops.looks
    using owing
    where looks.ctid = owing.place and isempty(owing.windows)
),

updated as (
    update ops.looks
    set windows = owing.windows
    from owing
    where looks.ctid = owing.place and not isempty(owing.windows)
)

update ops.coverage set came_until = upper(windows)
where source = %(source)s and came_until is distinct from upper(windows)
"""
# A series that is dead is looked at in each run: for years that makes a row a day, then one row for all.
_COMPACT = """
with

old as (
    delete from ops.looks
    where
        source = %(source)s
        and looked_at > 'epoch'
        and (
            last_at < %(now)s - interval '45 days'
            or last_at < %(now)s - interval '3 days' and looked_at != date_trunc('day', looked_at)
        )
    returning *
)

insert into ops.looks (source, endpoint, symbol, timeframe, looked_at, windows, times, first_at, last_at)
select
    source, endpoint, symbol, timeframe, place, range_agg(windows), sum(times), min(first_at), max(last_at)
from (
    select
        *,
        case
            when last_at < %(now)s - interval '45 days' then timestamptz 'epoch' else date_trunc('day', looked_at)
        end as place
    from old
) as grouped
group by source, endpoint, symbol, timeframe, place
on conflict (source, endpoint, symbol, timeframe, looked_at) do update set
    windows = looks.windows + excluded.windows,
    times = looks.times + excluded.times,
    first_at = least(looks.first_at, excluded.first_at),
    last_at = greatest(looks.last_at, excluded.last_at)
"""
_NEW_LOADS = """
insert into ops.coverage_loads (source, load_id)
select %(source)s, load_id from {schema}._dlt_loads
where status = 0 and load_id not in (select load_id from ops.coverage_loads where source = %(source)s)
on conflict do nothing
returning load_id
"""
_UNCOUNTED = """
select count(*) from {schema}._dlt_loads
where status = 0 and load_id not in (select load_id from ops.coverage_loads where source = %(source)s)
"""
_IS_STALE = """
select exists (
    select from ops.coverage_loads
    where source = %(source)s and load_id not in (select load_id from {schema}._dlt_loads where status = 0)
)
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


@dataclass(frozen=True)
class Known:
    """What a source has answered on one question: the covered windows, and the looks at what else was asked for."""

    covered: list[Window] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)
    # The end of the newest window that was answered, None before the first answer.
    asked_until: datetime | None = None

    def settled(self, now: datetime) -> list[Window]:
        """What need not be asked for now: it came, or was looked at in vain and is not due."""
        return merged([*self.covered, *resting(self.covered, self.looks, now)]) if self.looks else self.covered

    def answered(self) -> list[Window]:
        """All that was answered, with rows or without."""
        return merged([*self.covered, *(window for look in self.looks for window in look.windows)])


@dataclass(frozen=True)
class Loaded:
    """What a source has answered, and when it was last asked, per (endpoint, symbol, timeframe)."""

    known: dict[Key, Known] = field(default_factory=dict)
    asked: dict[Key, datetime] = field(default_factory=dict)

    def covered(self, endpoint: str, symbol: str | None = None, timeframe: str | None = None) -> list[Window]:
        """What need not be asked for now; disjoint and in order."""
        return self.known.get((endpoint, symbol, timeframe), Known()).settled(clock.now())

    def bars(self, symbol: str, market: Calendar, timeframe: str) -> Known:
        """What is known of the bars of a series; a day of the whole market (grouped_daily) holds every stock's of its zone."""
        own = self.known.get(("bars", symbol, timeframe), Known())
        if timeframe != DAY or market.zone != calendars.of(None, "stock").zone:
            return own
        whole = self.known.get(("grouped_daily", None, DAY), Known())
        asked_until = max((one.asked_until for one in (own, whole) if one.asked_until), default=None)
        return Known(merged([*own.covered, *whole.covered]), [*own.looks, *whole.looks], asked_until)

    def without_windows(self) -> Loaded:
        """When each question was last asked, and nothing of what was answered: for those who want it all again."""
        return Loaded({}, self.asked)


def loaded(source: str) -> Loaded:
    """The state of a source.

    It is a function of the committed loads, each of which never changes: their sum is stored in `ops`, new loads are
    added to it here, and where one of those in it is no longer committed it is computed again.
    """
    covered: dict[Key, list[Window]] = {}
    asked_until: dict[Key, datetime | None] = {}
    looks: dict[Key, list[Look]] = {}
    asked: dict[Key, datetime] = {}
    with database.pool().connection() as connection:
        fold(connection, source)
        for endpoint, symbol, timeframe, windows, until, at in connection.execute(
            "select endpoint, symbol, timeframe, windows, asked_until, asked_at from ops.coverage where source = %s",
            (source,),
        ):
            key = (endpoint, symbol, timeframe)
            covered[key] = [(window.lower, window.upper) for window in windows]
            asked_until[key] = until
            if at:
                asked[key] = at
        for endpoint, symbol, timeframe, windows, times, first_at, last_at in connection.execute(
            "select endpoint, symbol, timeframe, windows, times, first_at, last_at from ops.looks where source = %s"
            " order by looked_at",
            (source,),
        ):
            found = tuple((window.lower, window.upper) for window in windows)
            looks.setdefault((endpoint, symbol, timeframe), []).append(Look(found, times, first_at, last_at))
    known = {key: Known(windows, looks.get(key, []), asked_until[key]) for key, windows in covered.items()}
    return Loaded(known, asked)


def fold(connection: psycopg.Connection, source: str) -> None:
    """Add what the new loads of a source answered, in one transaction, so that the loads counted are those in the sum.

    Where nobody may write (a standby), the sum stays what it is, and a line says how many loads are not in it.
    """
    schema, values = sql.Identifier(f"raw_{source}"), {"source": source, "now": clock.now()}
    if connection.execute("show transaction_read_only").fetchone() == ("on",):
        (uncounted,) = connection.execute(sql.SQL(_UNCOUNTED).format(schema=schema), values).fetchone() or (0,)
        if uncounted:
            line = "%s: the server lets nobody write, so %d loads since the last command on the primary are not counted"
            log.warning(line, source, uncounted)
        return
    if connection.execute(sql.SQL(_IS_STALE).format(schema=schema), values).fetchone() == (True,):
        for table in ("coverage", "looks", "coverage_loads"):
            connection.execute(f"delete from ops.{table} where source = %(source)s", values)
    loads = [load for (load,) in connection.execute(sql.SQL(_NEW_LOADS).format(schema=schema), values)]
    if loads:
        bounds = {**values, **_lengths_and_zones(), "loads": loads, "first": min(loads)}
        connection.execute(sql.SQL(_FOLD).format(schema=schema), bounds)
        connection.execute(_FORGET_FOUND, values)
        connection.execute(_FORGET_SILENCE, values)
        connection.execute(_COMPACT, values)


def _lengths_and_zones() -> dict[str, list[Any]]:
    """What the fold asks of the seeds: how long each timeframe is, and the zones of the classes and of the symbols whose
    calendar is not the usual one of their class."""
    classes = {name: calendars.of(None, name).zone.key for name in registry.ASSET_CLASSES}
    symbols = {
        asset.symbol: asset.market.zone.key
        for asset in registry.load()
        if asset.calendar and asset.market.zone.key != classes[asset.asset_class]
    }
    return {
        "timeframes": list(STEPS), "steps": list(STEPS.values()), "classes": list(classes),
        "class_zones": list(classes.values()), "symbols": list(symbols), "symbol_zones": list(symbols.values()),
    }  # fmt: skip


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
