"""An incremental warehouse holds what a warehouse built from nothing holds, whatever happened and in whatever order.

Each step of a random history (histories.py) is loaded into two warehouses. One is built incrementally, the other is
emptied of all but its raw rows and built anew; every column must be the same but those that say when a row was
computed. Then the incremental one is built again, without news: it must not touch a row. In the long run some builds
are broken off half-way first; at the end the incremental one is built with `--full-refresh` and must still be the same.

More steps: `pytest -m long`, or EQUALITY_STEPS=40 EQUALITY_SEED=7.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from tests import payloads
from tests.dbt.histories import History, crypto_history, stock_history
from tests.warehouse import Answer, MakeWarehouse, Warehouse, crypto, in_shards

SEED = int(os.environ.get("EQUALITY_SEED", "20251122"))
STEPS = int(os.environ.get("EQUALITY_STEPS", "2"))
LONG_STEPS = 40
# So many processes compute the full warehouse's mart, in turn; two share what the incremental one computes.
WORKERS = (4, 1, 2)

BUILT_SCHEMAS = ("intermediate", "marts", "snapshots")
SELECTED = "+market_data_v2 +rejected_bars +unfinished_bars +source_reconciliation quality_components"
# These read the payload rows that int_bar_revisions has not worked in yet, so a break between them would lose some.
READERS_OF_PAYLOADS = "+rejected_bars +unfinished_bars"
HALF_WAY = ("int_bar_revisions", "int_bars_selected", "int_bars_resampled", "int_recompute_ranges")
COMPARED = {
    "marts.market_data_v2": "symbol, asset_class, timeframe, timestamp",
    "marts.rejected_bars": "source, symbol, timeframe, timestamp",
    "intermediate.int_ranges_without_trades": "series_id, opens_from, opens_to",
    "marts.unfinished_bars": "symbol, timeframe, timestamp, source",
    "intermediate.int_bars": "series_id, opened_at",
    "intermediate.int_funding_rates": "symbol, asset_class, settled_at",
    "intermediate.int_futures_samples": "symbol, asset_class, measure, sampled_at",
    "marts.source_reconciliation": "series_id, timestamp, other_source, resampled_from, field",
}
# What happens in each history, however short: first what changes a few bars, then what changes series as a whole, which would
# hide a bar that an increment forgot.
FIXED = {
    0: ["lose", "correct", "refuse", "arrive_late"],
    1: ["change_setting", "whole_market", "change_sessions", "list_new"],
}
Rows = Counter[tuple[tuple[str, str], ...]]
# When a row was computed, and the numbers under which loads were first seen.
EXCLUDED_COLUMNS = {"computed_at", "updated_at", "created_at", "batch", "changed_in_batch", "from_batch", "to_batch"}


def rows_of(warehouse: Warehouse, relation: str) -> Rows:
    """Every row as (column, text) pairs; numbers keep their scale, so 1.0 and 1.00 differ."""
    schema, table = relation.split(".")
    columns = [
        row["column_name"]
        for row in warehouse.query(
            "select column_name from information_schema.columns where table_schema = %s and table_name = %s"
            " order by ordinal_position",
            schema,
            table,
        )
        if row["column_name"] not in EXCLUDED_COLUMNS
    ]
    texts = ", ".join(f'cast("{column}" as text) as "{column}"' for column in columns)
    return Counter(tuple(row.items()) for row in warehouse.query(f"select {texts} from {relation}"))


def build_anew(warehouse: Warehouse, select: str = SELECTED) -> None:
    """Drop all that dbt made of data, empty its notes, and build from the raw rows and the corrections by hand."""
    warehouse.execute(f"drop schema if exists {', '.join(BUILT_SCHEMAS)} cascade")
    notes = warehouse.query("select tablename from pg_tables where schemaname = 'ops'")
    kept = ("manual_corrections", "manual_actions", "schema_migrations")
    emptied = [f"ops.{note['tablename']}" for note in notes if note["tablename"] not in kept]
    if emptied:
        warehouse.execute(f"truncate {', '.join(emptied)}")
    warehouse.build(select)


def assert_equal(incremental: Warehouse, full: Warehouse, history: History) -> None:
    for relation, key in COMPARED.items():
        ours, theirs = rows_of(incremental, relation), rows_of(full, relation)
        if ours != theirs:
            pytest.fail(f"{relation} differs\n{_difference(ours - theirs, theirs - ours, key)}\n{_story(history)}")


def assert_parts_make_scores(warehouse: Warehouse) -> None:
    """quality_components tells of every bar, and its parts make the score that was stored with the bar."""
    (found,) = warehouse.query(
        "select count(*) as bars, count(parts.id) as told, max(abs(bars.quality_score - (0.4 * parts.fields_share"
        " + 0.3 * parts.checks_share + 0.2 * parts.features_share + 0.1 * parts.freshness_share))) as off"
        " from marts.market_data_v2 as bars left join marts.quality_components as parts on parts.id = bars.id"
    )
    assert found["bars"] == found["told"] and found["off"] <= 0.005 + 1e-9, found


def _difference(ours: Rows, theirs: Rows, key: str) -> str:
    """The first few differing rows: only the columns that differ."""
    names = [name.strip() for name in key.split(",")]

    def keyed(rows: Rows) -> dict[tuple[str, ...], dict[str, str]]:
        return {tuple(dict(row)[name] for name in names): dict(row) for row in rows}

    mine, other = keyed(ours), keyed(theirs)
    lines = [f"{len(mine)} rows only incremental, {len(other)} rows only full"]
    for at in sorted(mine.keys() | other.keys(), key=str)[:8]:
        if at in mine and at in other:
            odd = {name: (mine[at][name], other[at][name]) for name in mine[at] if mine[at][name] != other[at][name]}
            lines.append(f"{at}: (incremental, full) {odd}")
        else:
            lines.append(f"{at}: only {'incremental' if at in mine else 'full'}: {mine.get(at) or other.get(at)}")
    return "\n".join(lines)


def _story(history: History) -> str:
    return f"seed {history.seed}, now {history.now}\n" + "\n".join(history.journal[-25:])


def row_versions(warehouse: Warehouse) -> dict[str, list[tuple[str, str, str]]]:
    """Where each row of each table in marts lies and which transaction wrote it."""
    tables = warehouse.query(
        "select schemaname || '.' || tablename as name from pg_tables where schemaname in ('marts', 'snapshots')"
    )
    return {
        table["name"]: sorted(
            (row["oid"], row["ctid"], row["xmin"])
            for row in warehouse.query(
                f"select cast(tableoid as text) as oid, cast(ctid as text) as ctid, cast(xmin as text) as xmin"
                f" from {table['name']}"
            )
        )
        for table in tables
    }


def run(history: History, incremental: Warehouse, full: Warehouse, steps: int, breaks_off: bool = False) -> int:
    """Play the history; returns how many bars were outvoted at some time."""
    history.begin()
    history.disagree()
    incremental.environment |= in_shards(2)
    incremental.build(SELECTED)
    chance = random.Random(history.seed)
    outvoted: set[tuple[int, datetime]] = set()
    for step in range(steps):
        happened = history.step()
        if step in FIXED:
            noted = len(history.journal)
            for action in FIXED[step]:
                getattr(history, action)()
            happened += history.journal[noted:]
        if breaks_off and chance.random() < 0.3:
            # A run that ended half-way; more arrives before the next one.
            broken_off_after = chance.choice(HALF_WAY)
            incremental.build(f"+{broken_off_after} {READERS_OF_PAYLOADS}")
            happened += [f"a build broken off after {broken_off_after}", *history.step()]
        print(f"step {step + 1}: " + "; ".join(happened))
        incremental.build(SELECTED)
        full.environment |= in_shards(WORKERS[step % len(WORKERS)])
        build_anew(full)
        assert_equal(incremental, full, history)
        assert_parts_make_scores(incremental)
        outvoted |= {
            (row["series_id"], row["opened_at"])
            for row in incremental.query(
                "select * from intermediate.int_bars_against_consensus where fields_against_consensus is not null"
            )
        }
        if step % 2 == 0:
            before = row_versions(incremental)
            incremental.build(SELECTED)
            assert row_versions(incremental) == before, "a build without news wrote rows"
    incremental.environment |= in_shards(4)
    made = incremental.build(SELECTED, full_refresh=True)
    assert made["market_data_v2"].startswith("SELECT"), "one process computed the mart"
    assert_equal(incremental, full, history)
    rows = len(rows_of(incremental, "intermediate.int_bars"))
    assert rows > 700, "the history is too small to prove anything"
    return len(outvoted)


@pytest.mark.parametrize("make_history", [crypto_history, stock_history], ids=["crypto", "stocks"])
def test_incremental_equals_full(
    make_warehouse: MakeWarehouse, make_history: Callable[[int, list[Warehouse]], History]
) -> None:
    incremental, full = make_warehouse("warehouse"), make_warehouse("full")
    outvoted = run(make_history(SEED, [incremental, full]), incremental, full, STEPS)
    assert outvoted > 0 or make_history is stock_history


def test_told_funding_interval_outlives_an_answer_that_does_not_tell_it(warehouse: Warehouse) -> None:
    """The archive tells the hours between settlements; a REST answer with the same settlements that comes later does not."""
    warehouse.assets([crypto("BTC", "1h")])
    first = datetime(2025, 4, 1, tzinfo=UTC)
    # Two hours apart, told as four: what is derived where nothing is told differs from it.
    rates = [(first + n * timedelta(hours=2), Decimal(n % 5) / 10000) for n in range(40)]
    told = [(at, rate, 4) for at, rate in rates]
    warehouse.load("binance", Answer("funding", "BTC", payloads.funding_archive(told), origin="archive"))
    warehouse.build("+int_funding_rates")
    warehouse.load("binance", Answer("funding", "BTC", payloads.funding(rates[10:20])))
    warehouse.build("+int_funding_rates")
    incremental = rows_of(warehouse, "intermediate.int_funding_rates")
    build_anew(warehouse, "+int_funding_rates")
    full = rows_of(warehouse, "intermediate.int_funding_rates")
    assert incremental == full, _difference(incremental - full, full - incremental, "symbol, asset_class, settled_at")
    assert {dict(row)["interval_hours"] for row in full} == {"4"}


@pytest.mark.long
@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("make_history", [crypto_history, stock_history], ids=["crypto", "stocks"])
def test_incremental_equals_full_for_long(
    make_warehouse: MakeWarehouse, make_history: Callable[[int, list[Warehouse]], History], seed: int
) -> None:
    incremental, full = make_warehouse("warehouse"), make_warehouse("full")
    run(make_history(seed, [incremental, full]), incremental, full, LONG_STEPS, breaks_off=True)
