"""The numbered changes of schemas `ops` and `raw_*`: the one place where their tables are written down.

Each `NNNN_name.sql` next to this module is applied once per database, in order, and recorded in
`ops.schema_migrations`. `market extract` and every other command that writes applies what is pending; dbt checks the
number (macros/operations/schema_version.sql) and names the command where it is behind.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.errors import DuplicateSchema, DuplicateTable, InsufficientPrivilege, UniqueViolation

from extract.core import sources
from extract.core.settings import ConfigurationError

FOLDER = Path(__file__).parent
_TABLE = """
create table ops.schema_migrations (
    version integer primary key,
    name text not null,
    product_version text not null,
    applied_at timestamptz not null default clock_timestamp()
)
"""


@dataclass(frozen=True)
class Migration:
    """One file: its number, its name, and its statements."""

    version: int
    name: str
    statements: str


@cache
def migrations() -> tuple[Migration, ...]:
    """All migrations of this version of the product, in the order in which they are applied."""
    files = sorted(FOLDER.glob("[0-9][0-9][0-9][0-9]_*.sql"))
    return tuple(Migration(int(file.stem[:4]), file.stem[5:], file.read_text()) for file in files)


def schema_version() -> int:
    """The number of the newest migration: what dbt expects to find (variable `schema_version`)."""
    return migrations()[-1].version


def pending(connection: psycopg.Connection) -> list[Migration]:
    """The migrations that this database lacks."""
    if connection.execute("select to_regclass('ops.schema_migrations')").fetchone() == (None,):
        return list(migrations())
    applied = {number for (number,) in connection.execute("select version from ops.schema_migrations")}
    return [migration for migration in migrations() if migration.version not in applied]


def migrate(connection: psycopg.Connection) -> list[Migration]:
    """Apply what is pending, all of it or nothing; returns it. Costs one look-up where nothing is.

    Raises ConfigurationError where the user may not create or alter the tables.
    """
    try:
        return _migrate(connection)
    except (UniqueViolation, DuplicateSchema, DuplicateTable):
        # Two first runs at once: the other one has made them.
        return _migrate(connection)


def _migrate(connection: psycopg.Connection) -> list[Migration]:
    with connection.transaction():
        missing = pending(connection)
        if not missing:
            _add_sources(connection)
            return []
        try:
            if len(missing) == len(migrations()):
                _require_unicode(connection)
            else:
                # Two at once: the second one waits, and finds nothing to do. Not an advisory lock, which any reader could
                # hold for ever.
                connection.execute("lock table ops.schema_migrations in share row exclusive mode")
                missing = pending(connection)
            for migration in missing:
                connection.execute(migration.statements.encode())
                if connection.execute("select to_regclass('ops.schema_migrations')").fetchone() == (None,):
                    connection.execute(_TABLE)
                connection.execute(
                    "insert into ops.schema_migrations (version, name, product_version) values (%s, %s, %s)",
                    (migration.version, migration.name, version("market-warehouse")),
                )
            _add_sources(connection)
        except InsufficientPrivilege as error:
            names = ", ".join(f"{migration.version:04d}_{migration.name}" for migration in missing)
            raise ConfigurationError(
                f"the warehouse needs the migrations {names}, and this user may not apply them"
                f" ({str(error).splitlines()[0]}): run `market roles` or `market migrate` as an administrator"
            ) from None
        return missing


def _add_sources(connection: psycopg.Connection) -> None:
    """Make the tables of answers of every source of the list that has none, like those of a source that has: the shape of
    these tables is written down in the migrations, and new sources come without one."""
    schemas = sources.schemas()
    there = [
        schema for (schema,) in connection.execute(
            "select nspname from pg_namespace where nspname = any(%s) and to_regclass(nspname || '.responses') is not null",
            (list(schemas),),
        )
    ]  # fmt: skip
    for schema in schemas:
        if schema not in there:
            connection.execute(sql.SQL("create schema if not exists {}").format(sql.Identifier(schema)))
            for table in ("responses", "_dlt_loads"):
                new, shape = sql.Identifier(schema, table), sql.Identifier(there[0], table)
                connection.execute(sql.SQL("create table {} (like {} including defaults)").format(new, shape))


def _require_unicode(connection: psycopg.Connection) -> None:
    """Providers say names in every script; what a new database cannot hold would be refused answer by answer."""
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        name = connection.info.dbname
        raise ConfigurationError(
            f"database {name} has the encoding {encoding}, the warehouse needs UTF8: drop it and create it again,"
            f" createdb --template template0 --encoding UTF8 {shlex.quote(name)}"
        )
