"""The ways back of dbt_project/docs/rollback.md: a load that was bad is taken out, a database is made anew from its dump."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from scripts.postgres import binaries
from tests.dbt.test_bars import run_of
from tests.dbt.test_incremental_equals_full import rows_of
from tests.warehouse import Database, MakeWarehouse, Warehouse, crypto

START = datetime(2025, 3, 3, tzinfo=UTC)
BARS = run_of(START, 72, "1h")
BUILT = "+market_data_history"


def test_a_bad_load_is_taken_out_and_a_dump_is_enough(make_warehouse: MakeWarehouse, tmp_path: Path) -> None:
    warehouse = make_warehouse("warehouse")
    warehouse.now = datetime(2025, 3, 7, tzinfo=UTC)
    warehouse.assets([crypto("BTC", "1h")])
    warehouse.load_bars("binance", "BTC", "1h", BARS[:60])
    warehouse.build(BUILT)
    good = market(warehouse)

    bad = warehouse.load_bars("binance", "BTC", "1h", [replace(bar, high=bar.high * 2) for bar in BARS[40:]])
    warehouse.build(BUILT)
    spoilt = market(warehouse)
    assert spoilt != good

    set_status(warehouse, bad, 9)
    warehouse.execute(f"delete from intermediate.int_loads where provider = 'binance' and load_id = '{bad}'")
    warehouse.build(BUILT, full_refresh=True)
    assert market(warehouse) == good

    set_status(warehouse, bad, 0)
    warehouse.build(BUILT)
    assert market(warehouse) == spoilt, "taken back, it is news like any other"
    dump = tmp_path / "market.dump"
    first_past = (
        "select * from marts.market_data_as_of((select min(dbt_valid_from) from snapshots.market_data_history))"
    )
    known_first = sorted(map(str, warehouse.query(first_past)))
    schemas = ("--schema", "raw_*", "--schema", "ops", "--schema", "snapshots")
    client("pg_dump", warehouse.database, "--format", "custom", *schemas, "--file", str(dump))
    # The disk is lost: a new, empty database of the same name.
    restored = Warehouse(warehouse.database, warehouse.project, warehouse.now)
    restored.database.create()
    client("pg_restore", restored.database, "--no-owner", "--dbname", restored.database.name, str(dump))
    restored.build(BUILT)
    assert market(restored) == spoilt, "what the providers have said is all there"
    assert sorted(map(str, restored.query(first_past))) == known_first, "the past is there as well"
    assert len(known_first) > 60


def market(warehouse: Warehouse) -> dict[frozenset[tuple[str, str]], None]:
    """market_data_v2, without when it was computed and which revision this build counts it as."""
    return dict.fromkeys(
        frozenset(pair for pair in row if pair[0] not in ("revision", "amended_from"))
        for row in rows_of(warehouse, "marts.market_data_v2")
    )


def set_status(warehouse: Warehouse, load: str, status: int) -> None:
    warehouse.execute(f"update raw_binance._dlt_loads set status = {status} where load_id = '{load}'")


def client(program: str, database: Database, *arguments: str) -> None:
    environment = {**os.environ, **database.environment}
    subprocess.run([str(binaries() / program), *arguments], env=environment, check=True)
