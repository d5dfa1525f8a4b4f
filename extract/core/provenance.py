"""The mark on a database that `make demo` filled: part of its data are synthetic and must never mix with real ones."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from ipaddress import ip_address
from typing import Any

import psycopg
from psycopg.rows import tuple_row
from pydantic import AnyUrl

from extract.core import clock as pipeline_clock
from extract.core import database, settings, sources
from extract.core.settings import ConfigurationError

CREATE = """
create schema if not exists ops;
create table if not exists ops.demo (symbol text primary key, is_synthetic boolean not null, origin text not null);
comment on table ops.demo is 'Present only in the database of `make demo`: which of its data are synthetic';
create table if not exists ops.demo_clock (stands_at timestamptz not null);
comment on table ops.demo_clock is 'The present of the database of `make demo`: without it all would look stale';
"""


def set_clock(connection: psycopg.Connection, at: str) -> None:
    """Let the demo's present be that instant (ISO-8601)."""
    connection.execute("delete from ops.demo_clock")
    connection.execute("insert into ops.demo_clock values (%s)", (at,))


def clock(connection: psycopg.Connection[Any]) -> str | None:
    """The present of the demo that filled this database (ISO-8601, UTC); None where none did."""
    cursor = connection.cursor(row_factory=tuple_row)
    if cursor.execute("select to_regclass('ops.demo_clock') is null").fetchone() == (True,):
        return None
    row = cursor.execute("select stands_at at time zone 'UTC' from ops.demo_clock").fetchone()
    return f"{row[0].isoformat()}Z" if row else None


def now(connection: psycopg.Connection[Any]) -> datetime:
    """The present of this database's builds: that of the demo where it filled it, unless WAREHOUSE_NOW is set. What is
    recorded by hand is stamped with it, or a correction in the demo would be thirteen years younger than its build."""
    at = None if settings.load().warehouse_now else clock(connection)
    return datetime.fromisoformat(at) if at else pipeline_clock.now()


def is_marked(connection: psycopg.Connection) -> bool:
    """Whether the demo filled this database."""
    return connection.execute("select to_regclass('ops.demo') is not null").fetchone() == (True,)


def holds_answers(connection: psycopg.Connection) -> bool:
    """Whether any provider's answer was ever loaded here."""
    for schema in sources.schemas():
        table = f"{schema}.responses"
        if connection.execute("select to_regclass(%s) is not null", (table,)).fetchone() != (True,):
            continue
        if connection.execute(f"select exists (select from {table})").fetchone() == (True,):
            return True
    return False


def refuse_mixing(urls: Iterable[AnyUrl | None]) -> None:
    """Raise ConfigurationError if the demo filled this database and one of the hosts that are asked (None: the real one) is
    no local simulator."""
    with database.pool().connection() as connection:
        if not is_marked(connection):
            return
    if not all(url is not None and _is_local(url) for url in urls):
        raise ConfigurationError(
            "this database holds the data of `make demo`, part of them synthetic (see ops.demo), with which real ones"
            " must not mix: remove the embedded database with `make clean`, or set PGDATABASE to another one"
        )


def _is_local(url: AnyUrl) -> bool:
    try:
        return ip_address((url.host or "").strip("[]")).is_loopback
    except ValueError:
        return url.host == "localhost"
