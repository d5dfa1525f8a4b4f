"""`market roles`: three roles that may do no more than their part, in one command that may be run again at any time.

- market_extract owns raw_* and ops: extract, backfill, alerts. It reads marts (gaps are asked for again, alerts evaluated)
  and seeds (the alerts' rules).
- market_transform owns what dbt builds: staging to marts. It reads raw_* and ops, and keeps its notes in ops.
- market_read reads marts and their history: analysts, the API, the site. Views read what is behind them with their
  owner's rights.

They cannot log in: give them to users. A user's password stays between that user and the server.
"""

from __future__ import annotations

import psycopg
from psycopg import sql
from psycopg.errors import InsufficientPrivilege

from extract import migrations
from extract.core import database, locks, sources
from extract.core.locks import Lock
from extract.core.settings import ConfigurationError
from scripts import reading

ROLES = EXTRACT, TRANSFORM, READ = "market_extract", "market_transform", reading.READ_ROLE
BUILT = ("seeds", "staging", "intermediate", "snapshots", "marts", "dbt_test__audit")
# Tables in ops that dbt writes.
TRANSFORM_TABLES = ("watermarks", "computations", "deleted_bars", "rebuilds", "processed_quarantines", "project_state")

NEXT_STEPS = """\
roles market_extract, market_transform and market_read are in place. Give each user of this database one of them:

  create role loader login in role market_extract;     alter role loader set role = market_extract;
  create role builder login in role market_transform;  alter role builder set role = market_transform;
  create role analyst login in role market_read;

then in psql: \\password loader, and so on. PGUSER=loader for `market extract`, PGUSER=builder for `dbt build`,
PGUSER=analyst for `market serve`. The user of `market run` does both: put it in market_extract and market_transform, and
run `market roles` once more; do so, too, after an upgrade. A server that is to trigger runs needs that user, as the run
has the server's settings; its own connections take market_read all the same."""

_RELATIONS = """
select relations.relkind, namespaces.nspname, relations.relname
from pg_class as relations
inner join pg_namespace as namespaces on namespaces.oid = relations.relnamespace
where
    namespaces.nspname = any(%(schemas)s) and relations.relkind in ('r', 'p', 'v', 'm', 'S')
    and relations.relowner <> to_regrole(%(owner)s)
    and not (namespaces.nspname = 'ops' and relations.relname = any(%(others)s))
    -- A sequence that belongs to a column goes with its table.
    and not exists (
        select from pg_depend as dependencies
        where dependencies.objid = relations.oid and dependencies.deptype in ('a', 'i') and relations.relkind = 'S'
    )
"""
_FUNCTIONS = """
select namespaces.nspname, functions.proname, pg_get_function_identity_arguments(functions.oid)
from pg_proc as functions
inner join pg_namespace as namespaces on namespaces.oid = functions.pronamespace
where namespaces.nspname = any(%(schemas)s) and functions.proowner <> to_regrole(%(owner)s)
"""
_MEMBERS = """
select users.rolname
from pg_roles as users
where
    users.rolname = current_user
    or users.rolcanlogin and pg_has_role(current_user, users.oid, 'usage') and users.oid in (
        select memberships.member from pg_auth_members as memberships where memberships.roleid = to_regrole(%s)
    )
"""
# All that take an advisory lock (giving one back is everybody's), or make a large object.
_HOLDING_FUNCTIONS = """
select functions.proname, pg_get_function_identity_arguments(functions.oid)
from pg_proc as functions
where
    functions.pronamespace = cast('pg_catalog' as regnamespace)
    and functions.proname ~ '^(pg_(try_)?advisory_(xact_)?lock|lo_(creat|create|from_bytea)$)'
    -- The cluster's first superuser owns them.
    and pg_has_role(current_user, functions.proowner, 'usage')
"""
_OWNS_DATABASE = """
select 1 from pg_database where datname = current_database() and pg_has_role(current_user, datdba, 'usage')
"""
_KINDS = {"r": "table", "p": "table", "v": "view", "m": "materialized view", "S": "sequence"}


def create() -> None:
    """Make the roles, hand over what they own, grant what they read; all of it or nothing.

    Raises ConfigurationError if the user may not create roles, reading.Unreadable if the database does not answer.
    """
    with reading.plain_errors():
        try:
            with psycopg.connect(database.url(), application_name="market roles") as connection:
                _create(connection)
        except InsufficientPrivilege as error:
            message = str(error).splitlines()[0]
            raise ConfigurationError(f"{message}: run `market roles` as an administrator of the database") from None


def _create(connection: psycopg.Connection) -> None:
    migrations.migrate(connection)
    # Two at once would both try to create.
    locks.take_within(connection, Lock.ROLES)
    for role in ROLES:
        if not connection.execute("select 1 from pg_roles where rolname = %s", (role,)).fetchone():
            _run(connection, "create role {} nologin", role)
        # An administrator who is no superuser may hand over only to a role he is in.
        if not connection.execute("select pg_has_role(current_user, %s, 'usage')", (role,)).fetchone()[0]:  # type: ignore[index]
            _run(connection, "grant {} to current_user", role)
    raw = (*sources.schemas(), "ops")
    for schema in (*raw, *BUILT):
        owner = EXTRACT if schema in raw else TRANSFORM
        _run(connection, "create schema if not exists {}", schema)
        _run(connection, "alter schema {} owner to {}", schema, owner)
    _hand_over(connection, raw, EXTRACT, TRANSFORM_TABLES)
    _hand_over(connection, BUILT, TRANSFORM)
    for table in TRANSFORM_TABLES:
        if connection.execute("select to_regclass(%s)", (f"ops.{table}",)).fetchone() != (None,):
            _run(connection, "alter table ops.{} owner to {}", table, TRANSFORM)

    # The alerts' rules, also where dbt creates them later or again: default privileges exist for whole schemas only.
    _may_read(connection, "seeds", TRANSFORM, EXTRACT)
    for schema in raw:
        _may_read(connection, schema, EXTRACT, TRANSFORM)
    # Where an administrator builds by hand, views of market_transform read what he makes: without this a build after an
    # upgrade left alerts and readers with "permission denied", until `market roles` ran once more.
    for schema in BUILT:
        _may_read(connection, schema, TRANSFORM, TRANSFORM)
    _run(connection, "grant create on schema ops to {}", TRANSFORM)
    # Builds note when they processed a quarantine.
    _run(connection, "grant update on ops.quarantined_loads to {}", TRANSFORM)
    # dbt makes a schema when a model says that it is in one.
    _run(connection, "grant create on database {} to {}", connection.info.dbname, TRANSFORM)
    # snapshots: marts.market_data_as_of reads the history in the reader's own name, or it could not use an index.
    for schema in ("marts", "snapshots"):
        _may_read(connection, schema, TRANSFORM, READ)
    _run(connection, "grant execute on all functions in schema marts to {}", READ)
    # Who holds the run lock, for the API's triggering; not the right to take it.
    _run(connection, "grant usage on schema ops to {}", READ)
    # Its functions have their owner's rights: a reader in an open transaction would hold the alerts' lock by one.
    _run(connection, "revoke execute on all functions in schema ops from public")
    _run(connection, "grant execute on all functions in schema ops to {}", TRANSFORM)
    _run(connection, "grant select on ops.locks to {}", READ)
    _run(connection, "grant {} to {}", READ, EXTRACT)
    _keep_from_readers(connection)


def _keep_from_readers(connection: psycopg.Connection) -> None:
    """Leave to those who write what a reader could stop everybody by, where this user may. By an advisory lock whose number
    is known a reader stops the rate limiter; some ten thousand of them, of temporary tables or of large objects in one
    transaction fill the server's table of locks, and nobody gets one until that ends. None of it is reading."""
    writers = sql.SQL(", ").join(map(sql.Identifier, (EXTRACT, TRANSFORM)))
    for name, arguments in connection.execute(_HOLDING_FUNCTIONS).fetchall():
        function = sql.SQL("pg_catalog.{}({})").format(sql.Identifier(name), sql.SQL(arguments))
        connection.execute(sql.SQL("revoke execute on function {} from public").format(function))
        connection.execute(sql.SQL("grant execute on function {} to {}").format(function, writers))
    if connection.execute(_OWNS_DATABASE).fetchone():
        name = sql.Identifier(connection.info.dbname)
        connection.execute(sql.SQL("revoke temporary on database {} from public").format(name))
        connection.execute(sql.SQL("grant temporary on database {} to {}").format(name, writers))


def _hand_over(
    connection: psycopg.Connection, schemas: tuple[str, ...], owner: str, others: tuple[str, ...] = ()
) -> None:
    """Make `owner` the owner of all relations and functions of the schemas, except the tables `others` in ops."""
    values = {"schemas": list(schemas), "owner": owner, "others": list(others)}
    for kind, schema, name in connection.execute(_RELATIONS, values).fetchall():
        command = f"alter {_KINDS[kind]} {{}}.{{}} owner to {{}}"
        _run(connection, command, schema, name, owner)
    for schema, name, arguments in connection.execute(_FUNCTIONS, values).fetchall():
        # The catalogue's own text of the argument types, which is SQL already.
        signature = sql.SQL("alter function {}.{}({}) owner to {}").format(
            sql.Identifier(schema), sql.Identifier(name), sql.SQL(arguments), sql.Identifier(owner)
        )
        connection.execute(signature)


def _may_read(connection: psycopg.Connection, schema: str, owner: str, reader: str) -> None:
    """What is in the schema now, and what the owner will make there."""
    _run(connection, "grant usage on schema {} to {}", schema, reader)
    _run(connection, "grant select on all tables in schema {} to {}", schema, reader)
    # A user in several roles (`market run` needs two) makes tables in his own name, as does the administrator.
    members = [row[0] for row in connection.execute(_MEMBERS, (owner,)).fetchall()]
    for maker in (owner, *members):
        grant = "alter default privileges for role {} in schema {} grant select on tables to {}"
        _run(connection, grant, maker, schema, reader)


def _run(connection: psycopg.Connection, command: str, *names: str) -> None:
    connection.execute(sql.SQL(command).format(*map(sql.Identifier, names)))
