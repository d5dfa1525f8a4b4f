"""The admin's settings change no result: time zone west of UTC, German dates, Turkish letters, another interval style.

Data flow: one simulator -> extract and build in a plain database, and in one with these settings -> equal.
"""

from __future__ import annotations

import psycopg
from psycopg import sql

from extract import migrations
from extract.core import session, settings
from scripts.postgres import Server
from scripts.simulator import running
from tests.dbt.test_incremental_equals_full import rows_of
from tests.end_to_end.test_record_and_replay import ASSETS, shell
from tests.warehouse import Database, MakeProject, Warehouse

NAME = "warehouse"
CLOCK = "2013-03-01T02:00:00Z"
ODD = {
    "timezone": "America/Los_Angeles",
    "datestyle": "German, DMY",
    "intervalstyle": "sql_standard",
    "bytea_output": "escape",
    "extra_float_digits": "0",
    "lc_numeric": "C",
}
COMPARED = (
    "marts.market_data_v2", "marts.rejected_bars", "marts.corporate_actions", "intermediate.int_bar_revisions",
    "intermediate.int_funding_rates", "intermediate.int_futures_samples", "marts.bar_gaps",
)  # fmt: skip
BUILT = "+market_data_v2 +rejected_bars +corporate_actions +bar_gaps +alerts +enrichment_status"


def make(postgres: Server, projects: MakeProject, is_odd: bool) -> Warehouse:
    """One after the other under one name, which the parsed project holds."""
    warehouse = Warehouse(Database(postgres, NAME), projects(NAME))
    warehouse.database.drop()
    with psycopg.connect(postgres.dsn("postgres"), autocommit=True) as connection:
        database = sql.Identifier(NAME)
        if not is_odd:
            connection.execute(sql.SQL("create database {}").format(database))
        else:
            # The one alphabet in which lower('I') is another letter than i; the embedded server knows no alphabets.
            turkish = "create database {} template template0 locale_provider icu icu_locale 'tr-TR' locale 'C'"
            try:
                connection.execute(sql.SQL(turkish).format(database))
            except psycopg.errors.FeatureNotSupported:
                connection.execute(sql.SQL("create database {}").format(database))
            for setting, value in ODD.items():
                connection.execute(
                    sql.SQL("alter database {} set {} = {}").format(
                        database, sql.Identifier(setting), sql.Literal(value)
                    )
                )
    return warehouse


def test_no_setting_of_the_server_changes_a_result(postgres: Server, projects: MakeProject) -> None:
    held = []
    for is_odd in (False, True):
        warehouse = make(postgres, projects, is_odd)
        warehouse.assets(ASSETS)
        with running("demo", CLOCK) as simulator, shell(warehouse, simulator) as market:
            market.run("extract", "--start", "2013-01-01", "--end", "2013-02-28")
            market.run("extract")
            warehouse.environment["PGOPTIONS"] = session.options()
            warehouse.now = settings.load().warehouse_now or warehouse.now
            warehouse.build(BUILT)
            # What a driver shows of a value depends on the session: each relation is read as the same text.
            warehouse.execute(f"alter database {NAME} reset all")
            held.append({relation: rows_of(warehouse, relation) for relation in COMPARED})
            status = market.run("status", "--json")
            assert '"BTC"' in status and "2013-03-01T" in status
    for relation in COMPARED:
        assert held[0][relation] == held[1][relation], relation
    assert sum(held[0]["marts.market_data_v2"].values()) > 1000
    Database(postgres, NAME).drop()


def test_unit_tests_hold_under_them(postgres: Server, projects: MakeProject) -> None:
    warehouse = make(postgres, projects, is_odd=True)
    warehouse.environment["PGOPTIONS"] = session.options()
    # Without the tests that read models beyond these, which are not built here.
    warehouse.environment["DBT_INDIRECT_SELECTION"] = "cautious"
    with psycopg.connect(warehouse.database.dsn) as connection:
        migrations.migrate(connection)
    warehouse.assets(ASSETS)
    warehouse.build(
        "+int_expected_bars +int_bars_observed +int_funding_rates +int_futures_samples +int_action_observations",
        tests=True,
    )
    warehouse.database.drop()
