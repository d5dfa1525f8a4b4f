"""`market prune`: drops raw payloads that reported nothing new, so that no revision and no result depends on them.

Data flow: raw_<provider>.responses + the logs of what each answer contributed -> payload = {"pruned": <day>}.

Only answers with bars are pruned; they are nearly all of the bytes. A payload may go when it is older than asked for, has
been processed by every reader, and none of these came out of it: a revision or retraction of a bar (int_bar_revisions), a
observation of a split or dividend (int_action_observations), a rejected row (rejected_bars, rejected_rows), a bar that is still
in progress (int_bars_in_progress). What it repeated was reported by other answers, whose payloads stay: a full refresh
afterwards gives the same rows, revisions included. The answer itself stays in the log with its window, hash, times and row count.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import psycopg
from psycopg import sql

from extract.core import clock, database, sources
from scripts import reading

READERS = ("int_bar_revisions", "int_bars_in_progress", "rejected_bars", "rejected_rows", "int_action_observations")

# A marker is smaller than any answer; its size is known without reading a payload out of its compressed store.
MARKER_BYTES = 64
SUPERFLUOUS = """
create temporary table superfluous on commit drop as
with

processed as (
    -- One reader without a mark has read nothing yet.
    select case when count(*) = {readers} then min(batch) else 0 end as batch
    from ops.watermarks
    where model = any(%(models)s)
),

answers as (
    select
        responses.ctid as place,
        responses.symbol,
        responses.timeframe,
        responses.fetched_at,
        loads.batch,
        series.series_id,
        pg_column_size(responses.payload) as bytes
    from {schema}.responses
    inner join intermediate.int_loads as loads
        on loads.provider = %(provider)s and loads.load_id = responses._dlt_load_id
    inner join processed on loads.batch <= processed.batch
    left join intermediate.int_series as series
        on
            series.symbol = responses.symbol
            and series.asset_class = responses.asset_class
            and series.timeframe = responses.timeframe
    where
        responses.endpoint in ('bars', 'grouped_daily')
        and responses.status = 'ok'
        and pg_column_size(responses.payload) > {marker_bytes}
        and responses.fetched_at < %(before)s
        -- Without its series nobody can say what an asset's answer contributed.
        and (series.series_id is not null or responses.symbol is null)
),

contributed as (
    select batch, fetched_at, series_id
    from intermediate.int_bar_revisions
    where source = %(provider)s
    union
    select batch, fetched_at, series_id
    from intermediate.int_bars_in_progress
    where source = %(provider)s
    union
    select batch, fetched_at, null
    from marts.rejected_bars
    where source = %(provider)s
    union
    select batch, fetched_at, null
    from marts.rejected_rows
    where source = %(provider)s
    union
    select batch, fetched_at, null
    from intermediate.int_action_observations
    where source = %(provider)s
)

select answers.place, answers.symbol, answers.timeframe, answers.bytes
from answers
where not exists (
    select 1
    from contributed
    where
        contributed.batch = answers.batch
        and contributed.fetched_at = answers.fetched_at
        and (contributed.series_id = answers.series_id or contributed.series_id is null or answers.series_id is null)
)
"""


@dataclass(frozen=True)
class Pruned:
    """What was, or would be, dropped of one series of one provider."""

    provider: str
    symbol: str | None
    timeframe: str | None
    payloads: int
    bytes: int

    def __str__(self) -> str:
        what = " ".join(filter(None, (self.provider, self.symbol or "whole market", self.timeframe)))
        return f"{what:<32} {self.payloads:>8} payloads {self.bytes:>14,} bytes"


def prune(older_than: timedelta, dry_run: bool = False) -> list[Pruned]:
    """Drop, or only count, the superfluous payloads fetched longer ago than that.

    Takes the pipeline's lock. Raises LockHeld, and Unreadable before the first build.
    """
    with database.run_lock("prune"), psycopg.connect(database.url(), autocommit=True) as connection:
        if not connection.execute("select to_regclass('intermediate.int_action_observations') is not null").fetchone()[
            0
        ]:  # type: ignore[index]
            raise reading.Unreadable(reading.NOT_BUILT)
        pruned = [
            one for name in sources.with_bars() for one in _prune(connection, name, clock.now() - older_than, dry_run)
        ]
    if any(one.payloads for one in pruned) and not dry_run:
        # The space is used again by later loads; `vacuum full` would give it back to the disk, and lock readers out.
        with psycopg.connect(database.url(), autocommit=True) as connection:
            for provider in {one.provider for one in pruned}:
                connection.execute(sql.SQL("vacuum {}").format(sql.Identifier(f"raw_{provider}", "responses")))
    return pruned


def _prune(connection: psycopg.Connection, provider: str, before: datetime, dry_run: bool) -> Iterator[Pruned]:
    schema = sql.Identifier(f"raw_{provider}")
    with connection.transaction():
        connection.execute(
            sql.SQL(SUPERFLUOUS).format(
                schema=schema, readers=sql.Literal(len(READERS)), marker_bytes=sql.Literal(MARKER_BYTES)
            ),
            {"models": list(READERS), "provider": provider, "before": before},
        )
        rows = connection.execute(
            "select symbol, timeframe, count(*), sum(bytes)::bigint from superfluous group by 1, 2 order by 4 desc"
        ).fetchall()
        if not dry_run:
            connection.execute(
                sql.SQL(
                    "update {}.responses set payload = jsonb_build_object('pruned', %s::text)"
                    " from superfluous where responses.ctid = superfluous.place"
                ).format(schema),
                (f"{clock.now():%Y-%m-%d}",),
            )
    for symbol, timeframe, payloads, size in rows:
        yield Pruned(provider, symbol, timeframe, payloads, size)
