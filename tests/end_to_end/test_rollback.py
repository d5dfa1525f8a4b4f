"""The ways back of docs/operate/rollback.md: a load that was bad is taken out, a database is made anew from its dump."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from extract.core.settings import ConfigurationError
from scripts.corrections import quarantine
from scripts.postgres import backup
from tests.dbt.test_bars import run_of
from tests.dbt.test_incremental_equals_full import rows_of
from tests.dbt.test_quarantine import command
from tests.warehouse import MakeWarehouse, Warehouse, crypto

START = datetime(2025, 3, 3, tzinfo=UTC)
BARS = run_of(START, 72, "1h")
BUILT = "+data_corrections"


def test_a_bad_load_is_taken_out_and_a_dump_is_enough(make_warehouse: MakeWarehouse, tmp_path: Path) -> None:
    warehouse = make_warehouse("warehouse")
    warehouse.now = datetime(2025, 3, 7, tzinfo=UTC)
    # Without a calendar of its own: that of its class counts, in the bars as in what extract expects.
    warehouse.assets([crypto("BTC", "1h", calendar="")])
    warehouse.load_bars("binance", "BTC", "1h", BARS[:60])
    warehouse.build(BUILT)
    good = market(warehouse)

    bad = warehouse.load_bars("binance", "BTC", "1h", [replace(bar, high=bar.high * 2) for bar in BARS[40:]])
    warehouse.build(BUILT)
    spoilt = market(warehouse)
    assert spoilt != good

    with command(warehouse, warehouse.now):
        quarantine.quarantine(bad, "highs doubled")
    warehouse.build(BUILT)
    assert market(warehouse) == good

    with command(warehouse, warehouse.now):
        quarantine.lift(bad)
    warehouse.build(BUILT)
    assert market(warehouse) == spoilt
    with command(warehouse, warehouse.now):
        quarantine.quarantine(bad)
    warehouse.build(BUILT)
    dump = tmp_path / "market.dump"
    first_past = (
        "select * from marts.market_data_as_of((select min(dbt_valid_from) from snapshots.market_data_history))"
    )
    known_first = sorted(map(str, warehouse.query(first_past)))
    with command(warehouse, warehouse.now):
        assert backup.backup(dump) == dump
        with pytest.raises(ConfigurationError, match="is there already"):
            backup.backup(dump)
        with pytest.raises(ConfigurationError, match="has schemas of a warehouse: name another"):
            backup.restore(dump)
        (tmp_path / "no.dump").write_text("not a dump")
        with pytest.raises(ConfigurationError, match=r"is no dump of `market backup`"):
            backup.restore(tmp_path / "no.dump", "market new")
        told = backup.restore(dump, "market new")
        assert "2 answers are in database market new" in told and 'PGDATABASE="market new" make build' in told
    restored = Warehouse(replace(warehouse.database, name="market new"), warehouse.project, warehouse.now)
    restored.build(BUILT)
    assert market(restored) == good, "what the providers have said is all there, and what is out of force"
    assert sorted(map(str, restored.query(first_past))) == known_first, "the past is there as well"
    assert len(known_first) > 60
    assert corrections(restored) == corrections(warehouse) != [], "corrections are read off the history again"
    # Loads are numbered anew there: one that comes back has its place in the order of commits all the same.
    with command(restored, warehouse.now):
        quarantine.lift(bad)
    restored.build(BUILT)
    assert market(restored) == spoilt
    restored.database.drop()


def corrections(warehouse: Warehouse) -> list[str]:
    return sorted(map(str, warehouse.query(
        "select original_record_id, field_corrected, old_value, new_value, reason, corrected_by, correction_timestamp"
        " from marts.data_corrections"
    )))  # fmt: skip


def market(warehouse: Warehouse) -> dict[frozenset[tuple[str, str]], None]:
    """market_data_v2, without when it was computed and which revision this build counts it as."""
    return dict.fromkeys(
        frozenset(pair for pair in row if pair[0] not in ("revision", "amended_from"))
        for row in rows_of(warehouse, "marts.market_data_v2")
    )
