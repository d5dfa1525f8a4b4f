"""A warehouse that a released version built, one day of news, this version: a build that fails, one that does not, and
nothing is lost.

The warehouses are recorded (record.py): their raw answers, marts, history and corrections as that version left them.
"""

from __future__ import annotations

import json
import lzma
import os
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest

from extract import migrations
from extract.core import database
from scripts.postgres import Server, binaries
from scripts.reading import leakage
from tests.oracle.bars import Bar
from tests.warehouse import BuildFailed, Database, MakeProject, Warehouse

WAREHOUSES = Path(__file__).parent / "warehouses"
# Each costs as much as all other tests of upgrades: one of two that are near to each other runs every time.
LONG = {"3955160"}
RELEASES = [
    pytest.param(name, marks=pytest.mark.long) if name in LONG else name
    for name in sorted(file.stem for file in WAREHOUSES.glob("*.json"))
]
# When a row was computed; all else of a row is derived from the answers.
PROCESSING_TIMES = {"computed_at", "updated_at"}


@dataclass
class Upgraded:
    """The warehouse of a release after this version built it once, and what was in it before."""

    warehouse: Warehouse
    released_at: datetime
    before: dict[str, set[tuple[Any, ...]]]
    # Rows of each relation that readers see: before, and after a first build that failed.
    shown_before: dict[str, int]
    shown_after_failure: dict[str, int]


def restore(server: Server, project: Any, release: str) -> Warehouse:
    """The recorded warehouse in a database of its own, migrated, with its registry and its clock."""
    facts = json.loads((WAREHOUSES / f"{release}.json").read_text())
    warehouse = Warehouse(Database(server, "warehouse"), project)
    warehouse.database.create()
    subprocess.run(
        [binaries() / "psql", "--quiet", "--set", "ON_ERROR_STOP=1", "--dbname", warehouse.database.dsn],
        input=lzma.decompress((WAREHOUSES / f"{release}.sql.xz").read_bytes()),
        check=True,
        capture_output=True,
        env={**os.environ, "PGOPTIONS": "--client-min-messages=warning"},
    )
    warehouse.assets(facts["registry"])
    warehouse.now = datetime.fromisoformat(facts["now"])
    # A load with a number that the recorded warehouse has given is one that its builds have read.
    warehouse._loads = 1000
    return warehouse


def rows(warehouse: Warehouse, statement: str) -> set[tuple[Any, ...]]:
    return {tuple(row.values()) for row in warehouse.query(statement)}


def day_of_changes(warehouse: Warehouse) -> None:
    """The coin's next 24 hours and the stock's next session."""
    first = warehouse.now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    warehouse.now += timedelta(days=1)
    hours = [first + timedelta(hours=n) for n in range(24)]
    price = Decimal(100)
    coin = [Bar(at, price, price + 2, price - 2, price + 1, Decimal(10), Decimal(4)) for at in hours]
    warehouse.load_bars("binance", "BTC", "1h", coin)
    session = datetime(first.year, first.month, first.day, 4, tzinfo=UTC) + timedelta(days=1)
    stock = Bar(session, price, price + 2, price - 2, price + 1, Decimal(1000), Decimal(0))
    warehouse.load_bars("polygon", "AAPL", "1d", [stock])


def shown(warehouse: Warehouse, relations: Iterable[str]) -> dict[str, int]:
    return {relation: warehouse.query(f"select count(*) as n from {relation}")[0]["n"] for relation in relations}


def build_that_fails(warehouse: Warehouse) -> None:
    """A build that ends in the middle, behind what it changes of the tables."""
    model = warehouse.project.directory / "dbt_project/models/intermediate/bars/int_bars_selected.sql"
    text = model.read_text()
    model.write_text(text.removesuffix("\n") + " where 1 / (select count(*) - count(*) from pg_class) = 0\n")
    try:
        with pytest.raises(BuildFailed):
            warehouse.build()
    finally:
        # The project is that of other tests, too.
        model.write_text(text)


@pytest.fixture(scope="module", params=RELEASES)
def upgraded(request: pytest.FixtureRequest, postgres: Server, projects: MakeProject) -> Iterator[Upgraded]:
    warehouse = restore(postgres, projects("warehouse"), request.param)
    released_at = warehouse.query("select written_at from ops.watermarks where model = 'market_data_v2'")[0][
        "written_at"
    ]
    before = {
        "mart": rows(warehouse, "select * from marts.market_data_v2"),
        "history": rows(warehouse, "select dbt_scd_id from snapshots.market_data_history"),
        "corrections": rows(warehouse, "select id, field_corrected, old_value, new_value from marts.data_corrections"),
    }
    relations = [
        f"{row['schemaname']}.{row['relation']}"
        for row in warehouse.query(
            "select schemaname, tablename as relation from pg_tables where schemaname in ('marts', 'snapshots')"
            " union all select schemaname, viewname from pg_views where schemaname = 'marts'"
        )
    ]
    shown_before = shown(warehouse, relations)
    with psycopg.connect(warehouse.database.dsn) as connection:
        migrations.migrate(connection)
    build_that_fails(warehouse)
    shown_after_failure = shown(warehouse, relations)
    day_of_changes(warehouse)
    warehouse.build(tests=True, unit_tests=False)
    yield Upgraded(warehouse, released_at, before, shown_before, shown_after_failure)
    warehouse.database.drop()


def test_the_past_is_kept(upgraded: Upgraded) -> None:
    warehouse = upgraded.warehouse
    as_of = "select * from marts.market_data_as_of('{}')"
    now = rows(warehouse, "select max(written_at) from ops.watermarks").pop()[0]
    assert rows(warehouse, as_of.format(now)) == rows(warehouse, "select * from marts.market_data_v2")
    assert rows(warehouse, as_of.format(upgraded.released_at)) == upgraded.before["mart"]
    assert upgraded.before["history"] <= rows(warehouse, "select dbt_scd_id from snapshots.market_data_history")
    corrections = rows(warehouse, "select id, field_corrected, old_value, new_value from marts.data_corrections")
    assert upgraded.before["corrections"] <= corrections


def test_no_feature_looks_ahead(upgraded: Upgraded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "url", lambda: upgraded.warehouse.database.dsn)
    certificate = leakage.check()
    assert certificate.is_clean, certificate.as_text()


def test_nothing_of_the_former_version_is_left(upgraded: Upgraded) -> None:
    left = upgraded.warehouse.query("select 1 from pg_namespace where nspname like 'former%'")
    assert left == []


def test_readers_see_the_former_rows_while_the_upgrade_does_not_build(upgraded: Upgraded) -> None:
    before, after = upgraded.shown_before, upgraded.shown_after_failure
    assert {name: after[name] for name in before if after[name] < before[name]} == {}
    assert after["marts.market_data_v2"] == before["marts.market_data_v2"] > 0


# Last of those that look at one warehouse: it writes the mart again, which the history has not read yet.
def test_the_mart_is_what_this_version_makes_of_the_answers(upgraded: Upgraded) -> None:
    warehouse = upgraded.warehouse
    columns = ", ".join(
        row["column_name"]
        for row in warehouse.query(
            "select column_name from information_schema.columns"
            " where table_schema = 'marts' and table_name = 'market_data_v2' order by column_name"
        )
        if row["column_name"] not in PROCESSING_TIMES
    )
    found = rows(warehouse, f"select {columns} from marts.market_data_v2")
    warehouse.build("+market_data_v2", full_refresh=True)
    assert rows(warehouse, f"select {columns} from marts.market_data_v2") == found
    assert len(found) > len(upgraded.before["mart"])
