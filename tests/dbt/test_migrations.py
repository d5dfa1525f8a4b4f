"""The numbered migrations: applied once, in order, checked by dbt, and not by users who may not."""

from __future__ import annotations

import re

import psycopg
import pytest

from extract import migrations
from extract.core.settings import ConfigurationError
from scripts.postgres import Server
from tests.conftest import ROOT
from tests.warehouse import BuildFailed, Database, MakeWarehouse, Warehouse


def test_each_migration_is_applied_once_and_on_record(database: Database) -> None:
    with psycopg.connect(database.dsn) as connection:
        applied = migrations.migrate(connection)
        assert [migration.version for migration in applied] == [one.version for one in migrations.migrations()]
        assert migrations.migrate(connection) == []
        recorded = connection.execute("select version, name from ops.schema_migrations order by version").fetchall()
    assert recorded == [(migration.version, migration.name) for migration in applied]


def test_a_warehouse_of_the_first_version_keeps_its_rows_and_gets_the_new_columns(database: Database) -> None:
    baseline, *later = migrations.migrations()
    with psycopg.connect(database.dsn) as connection:
        # Before there was a record of migrations.
        connection.execute(baseline.statements.encode())
        connection.execute("insert into raw_yahoo.responses (symbol, _dlt_load_id) values ('AAPL', '1.1')")
        migrations.migrate(connection)
        found = connection.execute("select symbol, last_row_at from raw_yahoo.responses").fetchall()
    assert later and found == [("AAPL", None)]


def test_a_user_without_the_right_is_told_which_migrations_are_missing(database: Database) -> None:
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        connection.execute("drop role if exists migrations_reader")
        connection.execute("create role migrations_reader")
        connection.execute("set role migrations_reader")
        with pytest.raises(ConfigurationError, match=r"0001_baseline.*run `market roles`"):
            migrations.migrate(connection)
        connection.execute("reset role")
        assert migrations.pending(connection) == list(migrations.migrations())


def test_a_new_database_that_cannot_hold_every_text_is_refused(postgres: Server) -> None:
    with psycopg.connect(postgres.dsn("postgres"), autocommit=True) as connection:
        connection.execute('drop database if exists "no texts"')
        connection.execute("create database \"no texts\" template template0 encoding 'LATIN1' locale 'C'")
        with (
            psycopg.connect(postgres.dsn("no texts")) as other,
            pytest.raises(ConfigurationError, match=r"encoding LATIN1.*createdb --template template0 .* 'no texts'"),
        ):
            migrations.migrate(other)
        connection.execute('drop database "no texts"')


def test_dbt_expects_the_newest_migration() -> None:
    expected = re.search(r"^  schema_version: (\d+)$", (ROOT / "dbt_project.yml").read_text(), re.MULTILINE)
    assert expected is not None and int(expected[1]) == migrations.schema_version()


def test_dbt_refuses_a_watermark_that_no_model_owns(make_warehouse: MakeWarehouse) -> None:
    warehouse = make_warehouse("warehouse")
    warehouse.execute("insert into ops.watermarks (model, batch, advanced_at) values ('int_bars_chosen', 7, now())")
    with pytest.raises(BuildFailed, match=r"int_bars_chosen has worked.*update ops\.watermarks set model"):
        warehouse.build("calendars", full_refresh=True)
    warehouse.execute("update ops.watermarks set model = 'int_bars_selected'")
    assert "calendars" in warehouse.build("calendars", full_refresh=True)


def test_dbt_refuses_a_database_that_is_behind_or_ahead(warehouse: Warehouse) -> None:
    warehouse.execute("insert into ops.schema_migrations (version, name, product_version) values (9999, 'x', '9')")
    with pytest.raises(BuildFailed, match="newer than this project"):
        warehouse.build("calendars", full_refresh=True)
    warehouse.execute("drop table ops.schema_migrations")
    with pytest.raises(BuildFailed, match="run `market migrate`"):
        warehouse.build("calendars", full_refresh=True)
