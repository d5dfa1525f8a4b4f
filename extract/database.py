"""The warehouse connection of the extract side: URL, pool, the run lock, and the tables of schema `ops`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from urllib.parse import quote

import psycopg
from psycopg_pool import ConnectionPool

from extract import settings

# The one advisory lock of the pipeline: extract, run and backfill exclude each other by it.
RUN_LOCK = 7421_0001

# `create schema if not exists` would ask for the right to create schemas even where there is nothing to create.
OPS_TABLES = """
do $$ begin if to_regnamespace('ops') is null then create schema ops; end if; end $$;
create table if not exists ops.circuit_breaker (
    source text primary key,
    state text not null default 'closed',
    failures integer not null default 0,
    successes integer not null default 0,
    opened_at timestamptz,
    changed_at timestamptz not null default now()
);
create table if not exists ops.source_budget (
    budget text primary key,
    used bigint,
    allowed bigint,
    window_started_at timestamptz,
    blocked_until timestamptz,
    changed_at timestamptz not null default now()
);
create table if not exists ops.backfill_jobs (
    job_id bigint generated always as identity primary key,
    source text,
    window_start timestamptz not null,
    window_end timestamptz not null,
    state text not null default 'running' check (state in ('running', 'paused', 'finished')),
    created_at timestamptz not null default now(),
    -- Failures before this do not count: asking again grants new retries.
    asked_at timestamptz not null default now(),
    changed_at timestamptz not null default now()
);
create table if not exists ops.backfill_series (
    job_id bigint not null references ops.backfill_jobs on delete cascade,
    symbol text not null,
    asset_class text not null,
    timeframe text not null,
    primary key (job_id, symbol, timeframe)
);
-- What each source has answered, as the sum of the loads that are in it (extract/state.py).
create table if not exists ops.coverage (
    source text not null,
    endpoint text not null,
    symbol text,
    timeframe text,
    windows tstzmultirange not null,
    asked_at timestamptz,
    unique nulls not distinct (source, endpoint, symbol, timeframe)
);
create table if not exists ops.coverage_loads (
    source text not null,
    load_id text not null,
    primary key (source, load_id)
);
-- The runs of `market run`, and each of their steps (scripts/run.py).
create table if not exists ops.pipeline_runs (
    run_id text primary key,
    started_by text not null check (started_by in ('command', 'schedule', 'api')),
    started_at timestamptz not null,
    ended_at timestamptz,
    status text not null default 'running' check (status in ('running', 'succeeded', 'partly', 'failed')),
    exit_code integer,
    failed_step text,
    error text
);
create table if not exists ops.pipeline_steps (
    run_id text not null,
    step text not null,
    started_at timestamptz not null,
    ended_at timestamptz,
    status text not null default 'running' check (status in ('running', 'succeeded', 'partly', 'failed')),
    exit_code integer,
    detail text,
    primary key (run_id, step)
);
-- What the alert rules found, and who was told when (scripts/alerts.py).
create table if not exists ops.alerts (
    alert_id bigint generated always as identity primary key,
    rule text not null,
    severity text not null,
    subject text not null,
    value numeric(20, 4),
    threshold numeric(20, 4),
    message text not null,
    owner text,
    runbook text,
    first_seen_at timestamptz not null,
    fired_at timestamptz,
    resolved_at timestamptz,
    suppressed_until timestamptz,
    notified_at timestamptz,
    resolution_notified_at timestamptz
);
create unique index if not exists alerts_open on ops.alerts (rule, subject) where resolved_at is null;
create table if not exists ops.alert_silences (
    rule text not null,
    subject text,
    silenced_until timestamptz not null,
    reason text,
    created_at timestamptz not null default now()
);
"""


class LockHeld(Exception):
    """Another run is writing to this warehouse (exit code 75); the message says which."""


@lru_cache(maxsize=1)
def url() -> str:
    """The warehouse as a URL: the server PGHOST names, or else the embedded one, started if needed."""
    chosen = settings.load()
    if chosen.pghost is None:
        from scripts import postgres

        return postgres.ensure_running().dsn()
    password = chosen.pgpassword.get_secret_value() if chosen.pgpassword else _password_of_libpq(chosen)
    user, password, host = (quote(part, safe="") for part in (chosen.pguser, password, chosen.pghost))
    return f"postgresql://{user}:{password}@{host}:{chosen.pgport}/{quote(chosen.pgdatabase, safe='')}"


def _password_of_libpq(chosen: settings.Settings) -> str:
    """The password from a password file; a placeholder where the server asks for none, because dlt insists on one."""
    with psycopg.connect(
        host=chosen.pghost, port=chosen.pgport, user=chosen.pguser, dbname=chosen.pgdatabase
    ) as connection:
        return connection.info.password or "none"


@lru_cache(maxsize=1)
def pool() -> ConnectionPool:
    """Connections for state and budgets. Unqualified names mean schema `ops` (the rate limiter's tables)."""
    return ConnectionPool(
        url(), min_size=1, max_size=8, open=True, kwargs={"options": "-c search_path=ops,public -c timezone=UTC"}
    )


def create_ops_tables() -> None:
    with pool().connection() as connection:
        # Two first runs at once would both try to create; the loser would fail on the catalogue's unique index.
        connection.execute("select pg_advisory_xact_lock(%s)", (RUN_LOCK + 1,))
        connection.execute(OPS_TABLES)


@contextmanager
def run_lock(purpose: str) -> Iterator[None]:
    """Hold the pipeline's lock; it goes with the connection, so a killed run leaves none behind.

    Raises LockHeld with the holder's purpose, process and start.
    """
    name = f"market {purpose} (process {os.getpid()})"
    with psycopg.connect(url(), autocommit=True, application_name=name) as holder:
        if not holder.execute("select pg_try_advisory_lock(%s)", (RUN_LOCK,)).fetchone()[0]:  # type: ignore[index]
            raise LockHeld(f"another run holds the lock: {lock_holder(holder) or 'it has just ended, try again'}")
        yield


def lock_holder(connection: psycopg.Connection) -> str | None:
    """Who holds the run lock, in words; None if nobody does."""
    row = connection.execute(
        """
        select activity.application_name, to_char(activity.backend_start at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS')
        from pg_locks as locks
        inner join pg_stat_activity as activity on locks.pid = activity.pid
        inner join pg_database as databases on locks.database = databases.oid
        where locks.locktype = 'advisory' and locks.granted and locks.objid = %s
            and databases.datname = current_database()
        """,
        (RUN_LOCK,),
    ).fetchone()
    return f"{row[0]}, connected since {row[1]} UTC" if row else None
