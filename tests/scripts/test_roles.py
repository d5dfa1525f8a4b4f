"""The roles of `market roles` may do their part, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.errors import InsufficientPrivilege

from tests.scripts.conftest import PASSWORD, READER
from tests.scripts.test_reports import market
from tests.warehouse import Warehouse

ALLOWED = {
    "market_extract": [
        "insert into raw_binance.responses (run_id, _dlt_load_id) values ('x', 'x')",
        "create table raw_binance.made (a int)",
        "create table ops.made (a int)",
        "insert into ops.pipeline_runs (run_id, started_by, started_at) values ('x', 'api', now())",
        "select * from marts.bar_gaps",
        "select * from seeds.alert_rules",
        "insert into ops.pipeline_steps (run_id, step, started_at) values ('x', 'build', now())",
        "insert into ops.alert_silences (rule, silenced_until) values ('x', now())",
        "update ops.alerts set notified_at = now()",
        "select pg_advisory_xact_lock(1)",
        "create temporary table made (a int)",
        "select * from marts.source_conditions",
    ],
    "market_transform": [
        "select payload from raw_binance.responses",
        "select * from ops.pipeline_runs",
        "update ops.watermarks set batch = batch",
        "create schema made",
        "create table intermediate.made (a int)",
        "delete from marts.market_data_v2",
        "drop view marts.source_health cascade",
        "select pg_try_advisory_lock(1, 2)",
        "insert into snapshots.market_data_history select * from snapshots.market_data_history limit 0",
    ],
    "market_read": [
        "select * from marts.market_data_v2",
        "select * from marts.enrichment_status",
        "select * from marts.source_health",
        "select * from marts.alerts",
        "select * from marts.pipeline_runs",
        "select * from marts.pipeline_steps",
        "select * from marts.backfill_state",
        "select * from marts.market_data_adjusted",
        "select * from snapshots.market_data_history",
        "select * from marts.market_data_as_of(now()) where symbol = 'BTC'",
    ],
}
FORBIDDEN = {
    "market_extract": [
        "delete from marts.market_data_v2",
        "create table marts.made (a int)",
        "select * from intermediate.int_series",
        "update ops.watermarks set batch = 0",
        "create schema made",
        "create role made",
    ],
    "market_transform": [
        "insert into raw_binance.responses (run_id, _dlt_load_id) values ('x', 'x')",
        "delete from raw_binance.responses",
        "create table raw_binance.made (a int)",
        "drop table raw_binance.responses",
        "update ops.pipeline_runs set status = 'succeeded'",
        "drop schema ops cascade",
        "set role market_extract",
    ],
    "market_read": [
        "delete from marts.market_data_v2",
        "truncate marts.market_data_v2",
        "create table marts.made (a int)",
        "select * from raw_binance.responses",
        "select * from ops.source_budget",
        "select * from intermediate.int_series",
        "select * from seeds.assets",
        "set role market_transform",
        "copy marts.market_data_v2 to program 'id'",
        "select pg_read_file('/etc/passwd')",
        "create schema made",
        # The lock of the rate limiter, for one; and enough of them fill the server's table of locks.
        "select pg_advisory_lock(number) from generate_series(1, 100000) as number",
        "select pg_try_advisory_xact_lock_shared(1, 2)",
        "create temporary table made (a int)",
        "select lo_create(0)",
    ],
}


@contextmanager
def undone(built: Warehouse, role: str) -> Iterator[psycopg.Connection]:
    """A connection with the role's rights, all of whose work is rolled back."""
    with psycopg.connect(built.database.dsn) as connection:
        connection.execute(sql.SQL("set session authorization {}").format(sql.Identifier(role)))
        yield connection
        connection.rollback()


@pytest.mark.parametrize(("role", "statement"), [(role, one) for role, every in ALLOWED.items() for one in every])
def test_a_role_may_do_its_part(built: Warehouse, role: str, statement: str) -> None:
    with undone(built, role) as connection:
        connection.execute(statement.encode())


@pytest.mark.parametrize(("role", "statement"), [(role, one) for role, every in FORBIDDEN.items() for one in every])
def test_a_role_may_do_nothing_else(built: Warehouse, role: str, statement: str) -> None:
    with undone(built, role) as connection, pytest.raises(InsufficientPrivilege):
        connection.execute(statement.encode())


@pytest.mark.parametrize(
    ("maker", "made", "reader"),
    [
        ("market_transform", "marts.made", "market_read"),
        ("market_transform", "snapshots.made", "market_read"),
        # `market roles` may come before the first build, which makes the rules of the alerts.
        ("market_transform", "seeds.made", "market_extract"),
        ("market_extract", "raw_binance.made", "market_transform"),
        ("market_extract", "ops.made", "market_transform"),
        # An administrator builds by hand: views of market_transform read what he makes.
        ("postgres", "staging.made", "market_transform"),
        ("postgres", "intermediate.made", "market_transform"),
        ("postgres", "marts.made", "market_transform"),
    ],
)
def test_what_is_made_later_may_be_read_too(built: Warehouse, maker: str, made: str, reader: str) -> None:
    with undone(built, maker) as connection:
        connection.execute(f"create table {made} (a int)".encode())
        connection.execute(sql.SQL("set session authorization {}").format(sql.Identifier(reader)))
        connection.execute(f"select * from {made}".encode())


def test_a_reader_may_look_at_metrics_and_leakage_and_make_the_site(built: Warehouse, tmp_path: Path) -> None:
    told_by = {"metrics": "market_newest_bar", "site": "site/index.html", "leakage-check": "no feature looked ahead"}
    for command, told in told_by.items():
        assert told in market(built.database, tmp_path, command, PGUSER=READER, PGPASSWORD=PASSWORD)


def test_the_command_may_be_repeated_and_shows_no_secret(built: Warehouse, tmp_path: Path) -> None:
    said = market(built.database, tmp_path, "roles")
    assert "market_read" in said
    assert built.database.server.password not in said


def test_only_an_administrator_may_make_roles(built: Warehouse, tmp_path: Path) -> None:
    said = market(built.database, tmp_path, "roles", expect=78, PGUSER=READER, PGPASSWORD=PASSWORD)
    assert "as an administrator of the database" in said
    assert PASSWORD not in said
