"""The warehouse connection of the extract side: URL, pool, the run lock, and the tables of schema `ops`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from urllib.parse import quote

import psycopg
from psycopg_pool import ConnectionPool

from extract import migrations, settings

# The one advisory lock of the pipeline: extract, run and backfill exclude each other by it.
RUN_LOCK = 7421_0001


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


def migrate() -> list[migrations.Migration]:
    """Bring schemas `ops` and `raw_*` to the version of this product; returns the migrations that were applied.

    Raises ConfigurationError where the user may not.
    """
    with pool().connection() as connection:
        return migrations.migrate(connection)


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
