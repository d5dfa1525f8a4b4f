"""`market quarantine`: takes a load whose answers are wrong out of force, and puts it back.

Data flow: raw_<source>._dlt_loads.status, ops.quarantined_loads -> the next build
(dbt_project/macros/incremental/quarantine.sql), and the next extract, which asks again for what only that load had answered.

Every reader takes committed loads only (status 0), so that status is the switch; nothing is deleted. An answer that reported
nothing new (`unchanged`) holds no payload: where it repeats what a load out of force had reported it says nothing at all,
and is marked as failed, so that its window counts as unanswered, too.
"""

from __future__ import annotations

import getpass
from dataclasses import dataclass
from datetime import datetime

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from extract.core import database, provenance, sources
from extract.core.settings import ConfigurationError
from extract.load import pipeline

# dlt knows 0 only: what it reads itself (its own state and schemas) is of loads that are complete.
QUARANTINED = -1

_FOUND = """
select status, inserted_at
from {schema}._dlt_loads
where load_id = %s
"""
_SYMBOLS = """
select
    case when count(*) = count(symbol) then string_agg(distinct symbol, ' ' order by symbol) end,
    count(*),
    string_agg(distinct concat_ws(' ', symbol, case when endpoint = 'bars' then timeframe else endpoint end), ', ')
from {schema}.responses
where _dlt_load_id = %s
"""
# What an answer without a payload repeats: the same digest for the same question, in a load before it.
_REPEATS = """
select
    from {schema}.responses as earlier
    inner join {schema}._dlt_loads as loads on loads.load_id = earlier._dlt_load_id
    where
        earlier.status = 'ok'
        and earlier.endpoint = later.endpoint
        and earlier.symbol is not distinct from later.symbol
        and earlier.timeframe is not distinct from later.timeframe
        and earlier.provider_symbol is not distinct from later.provider_symbol
        and earlier.window_start is not distinct from later.window_start
        and earlier.window_end is not distinct from later.window_end
        and earlier.origin = later.origin
        and earlier.payload_sha = later.payload_sha
        and earlier._dlt_load_id <= later._dlt_load_id
        and loads.status = 0
"""
_NOTE = "repeats what load {load} had reported, which is quarantined"
_EMPTY = """
update {schema}.responses as later
set status = 'failed', error = %(note)s
where
    later.status = 'unchanged'
    and exists (
        select
        from {schema}.responses as earlier
        where
            earlier._dlt_load_id = %(load)s
            and earlier.status = 'ok'
            and earlier.endpoint = later.endpoint
            and earlier.payload_sha = later.payload_sha
            and earlier.window_start is not distinct from later.window_start
    )
    and not exists ({repeats})
"""
_FILL = """
update {schema}.responses as later
set status = 'unchanged', error = null
where later.status = 'failed' and later.error = %(note)s and exists ({repeats})
"""
_RECORD = """
insert into ops.quarantined_loads as known
    (source, load_id, symbols, is_lifted, reason, changed_by, changed_at, committed_at)
values
    (%(source)s, %(load)s, %(symbols)s, %(is_lifted)s, %(reason)s, %(by)s, %(now)s, %(committed_at)s)
on conflict (source, load_id) do update set
    symbols = excluded.symbols, is_lifted = excluded.is_lifted, reason = excluded.reason,
    changed_by = excluded.changed_by, changed_at = excluded.changed_at,
    changed_in_batch = null
"""


@dataclass(frozen=True)
class Quarantined:
    """A load out of force, for the list of them."""

    source: str
    load_id: str
    symbols: str | None
    reason: str
    changed_by: str
    changed_at: datetime

    def __str__(self) -> str:
        what = self.symbols or "the whole market"
        return (
            f"{self.source} {self.load_id} ({what}): out of force since {self.changed_at:%Y-%m-%d %H:%M} UTC,"
            f" by {self.changed_by}: {self.reason}"
        )


def quarantine(load_id: str, reason: str = "", by: str | None = None) -> str:
    """Take a load out of force; returns what that means, in words.

    Takes the pipeline's lock. Raises LockHeld, and ConfigurationError where there is no such load, or it is out of force
    already.
    """
    with database.run_lock("quarantine"):
        database.migrate()
        pipeline.create_raw_tables()
        with database.pool().connection() as connection:
            source, status, committed_at = _find(connection, load_id)
            if status == QUARANTINED:
                raise ConfigurationError(f"load {load_id} of {source} is quarantined already (back: --lift)")
            contents = _switch(connection, source, load_id, QUARANTINED)
            repeats = _change(connection, _EMPTY, source, load_id)
            _record(connection, source, load_id, False, reason, by, committed_at)
    also = f"; {repeats} later answers that only repeated it say nothing any more" if repeats else ""
    return f"load {load_id} of {source} is out of force ({contents}){also}"


def lift(load_id: str, reason: str = "", by: str | None = None) -> str:
    """Put a quarantined load back in force; returns what that means, in words. Raises as quarantine()."""
    with database.run_lock("quarantine"):
        database.migrate()
        pipeline.create_raw_tables()
        with database.pool().connection() as connection:
            source, status, committed_at = _find(connection, load_id)
            if status != QUARANTINED:
                raise ConfigurationError(f"load {load_id} of {source} is not quarantined")
            contents = _switch(connection, source, load_id, 0)
            _change(connection, _FILL, source, load_id)
            _record(connection, source, load_id, True, reason, by, committed_at)
    return f"load {load_id} of {source} is in force again ({contents})"


def listed() -> list[Quarantined]:
    """The loads that are out of force, the latest first."""
    database.migrate()
    with database.pool().connection() as connection:
        cursor = connection.cursor(row_factory=class_row(Quarantined))
        return cursor.execute(
            "select source, load_id, symbols, reason, changed_by, changed_at from ops.quarantined_loads"
            " where not is_lifted order by changed_at desc, load_id"
        ).fetchall()


def _find(connection: psycopg.Connection, load_id: str) -> tuple[str, int, datetime]:
    for source in sources.names():
        statement = sql.SQL(_FOUND).format(schema=sql.Identifier(f"raw_{source}"))
        found = connection.execute(statement, (load_id,)).fetchone()
        if found:
            return source, found[0], found[1]
    raise ConfigurationError(
        f"there is no load {load_id!r}: alerts name it, and so does column _dlt_load_id of raw_*.responses"
    )


def _switch(connection: psycopg.Connection, source: str, load_id: str, status: int) -> str:
    schema = sql.Identifier(f"raw_{source}")
    connection.execute(
        sql.SQL("update {}._dlt_loads set status = %s where load_id = %s").format(schema), (status, load_id)
    )
    row = connection.execute(sql.SQL(_SYMBOLS).format(schema=schema), (load_id,)).fetchone()
    assert row is not None
    return f"{row[1]} answers: {row[2] or 'none'}"


def _change(connection: psycopg.Connection, statement: str, source: str, load_id: str) -> int:
    schema = sql.Identifier(f"raw_{source}")
    repeats = sql.SQL(_REPEATS).format(schema=schema)
    values = {"load": load_id, "note": _NOTE.format(load=load_id)}
    return connection.execute(sql.SQL(statement).format(schema=schema, repeats=repeats), values).rowcount


def _record(
    connection: psycopg.Connection,
    source: str,
    load_id: str,
    is_lifted: bool,
    reason: str,
    by: str | None,
    committed_at: datetime,
) -> None:
    statement = sql.SQL(_SYMBOLS).format(schema=sql.Identifier(f"raw_{source}"))
    row = connection.execute(statement, (load_id,)).fetchone()
    assert row is not None
    connection.execute(
        _RECORD.encode(),
        {
            "source": source, "load": load_id, "symbols": row[0], "is_lifted": is_lifted,
            "reason": reason.strip() or "no reason given",
            "by": by or getpass.getuser(), "now": provenance.now(connection), "committed_at": committed_at,
        },
    )  # fmt: skip
