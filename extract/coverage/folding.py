"""What the committed loads add up to, per question: stored in ops, new loads added, computed again where one is no longer
committed.

Data flow: raw_<source>.responses -> ops.coverage (how far the answers reach: `ops.covered_to`) and ops.looks (the rest of
what was asked for). The rules are those of docs/reference/coverage.md.
"""

from __future__ import annotations

import logging
from typing import Any

import psycopg
from psycopg import sql

from extract.calendar import calendars
from extract.calendar.timeframes import STEPS
from extract.core import clock
from extract.symbols import registry

log = logging.getLogger(__name__)

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
_DELETE_FOUND = """
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
_DELETE_SILENCE = """
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
        connection.execute(_DELETE_FOUND, values)
        connection.execute(_DELETE_SILENCE, values)
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
