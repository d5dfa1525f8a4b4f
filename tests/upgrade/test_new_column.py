"""A column is added to market_data_v2 of a warehouse in use: one ordinary build brings it to the mart, its history, as-of, the
corrections and the leakage check, and loses nothing of the past."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from extract import database
from scripts import leakage
from tests.oracle.bars import Bar
from tests.warehouse import MakeWarehouse, Warehouse, crypto

BUILT = "+data_corrections feature_rewrites"
FIRST = datetime(2026, 1, 1, tzinfo=UTC)
HIGHS = (Decimal(103), Decimal(104), Decimal(105))


def hours(count: int, high: Decimal) -> list[Bar]:
    return [
        Bar(FIRST + timedelta(hours=n), Decimal(100), high, Decimal(99), Decimal(101), Decimal(10), Decimal(4))
        for n in range(count)
    ]


def add_column(directory: Path) -> None:
    """The feature `bar_range`, high - low, as a developer adds it: SQL, contract, and the lists that name features."""
    edits = {
        "models/marts/market_data/market_data_v2.sql": [
            (
                "        session_date\n    from judged",
                "        session_date,\n        cast(high - low as numeric(19, 10)) as bar_range\n    from judged",
            ),
            ("'split_factor', 'session_date'\n]", "'split_factor', 'session_date', 'bar_range'\n]"),
        ],
        "models/marts/market_data/_market_data__models.yml": [
            (
                "          - name: vwap_20\n",
                "          - name: bar_range\n            data_type: numeric(19, 10)\n            description: High - low.\n"
                "          - name: vwap_20\n",
            )
        ],
        "macros/rebuild.sql": [("'sma_50', 'vwap_20'\n", "'sma_50', 'vwap_20', 'bar_range'\n")],
        "snapshots/_snapshots.yml": [("split_factor, session_date,\n", "split_factor, session_date, bar_range,\n")],
    }
    for name, replacements in edits.items():
        file = directory / "dbt_project" / name
        text = file.read_text()
        for old, new in replacements:
            assert old in text, f"{name}: {old!r}"
            text = text.replace(old, new, 1)
        file.write_text(text)


@pytest.fixture(scope="module")
def grown(make_warehouse: MakeWarehouse) -> tuple[Warehouse, list[dict[str, Any]]]:
    """A warehouse with an amended bar, before and after the column came; and the mart as it was before."""
    warehouse = make_warehouse("new_column")
    warehouse.assets([crypto("BTC", "1h")])
    warehouse.now = FIRST + timedelta(days=4)
    warehouse.load_bars("binance", "BTC", "1h", hours(60, HIGHS[0]))
    warehouse.build(BUILT)
    warehouse.now += timedelta(hours=1)
    warehouse.load_bars("binance", "BTC", "1h", hours(60, HIGHS[0])[:30] + hours(31, HIGHS[1])[30:])
    warehouse.build(BUILT)
    before = warehouse.query("select * from marts.market_data_v2 order by id")
    add_column(warehouse.project.directory)
    warehouse.now += timedelta(hours=1)
    warehouse.build(BUILT)
    return warehouse, before


def test_every_bar_has_the_new_column_and_the_old_values(grown: tuple[Warehouse, list[dict[str, Any]]]) -> None:
    warehouse, before = grown
    times = {"computed_at", "updated_at"}
    after = warehouse.query("select * from marts.market_data_v2 order by id")
    assert [row["bar_range"] for row in after] == [row["high"] - row["low"] for row in after]
    assert [{k: v for k, v in row.items() if k in before[0] and k not in times} for row in after] == [
        {k: v for k, v in row.items() if k not in times} for row in before
    ]


def test_the_past_does_not_know_the_column(grown: tuple[Warehouse, list[dict[str, Any]]]) -> None:
    warehouse, before = grown
    as_of = warehouse.query(
        "select * from marts.market_data_as_of(%s) order by id", warehouse.now - timedelta(minutes=1)
    )
    assert [row["bar_range"] for row in as_of] == [None] * len(before)
    assert [{k: v for k, v in row.items() if k in before[0]} for row in as_of] == before
    assert warehouse.query("select count(bar_range) as n from marts.market_data_as_of(%s)", warehouse.now)[0][
        "n"
    ] == len(before)


def test_corrections_and_the_leakage_check_know_it(
    grown: tuple[Warehouse, list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    warehouse, before = grown
    noted = warehouse.query(
        "select count(*) as n, min(new_value) as least, max(reason) as reason from marts.data_corrections"
        " where field_corrected = 'bar_range'"
    )[0]
    assert noted == {"n": len(before), "least": Decimal(4), "reason": "bug_fix"}
    monkeypatch.setattr(database, "url", lambda: warehouse.database.dsn)
    certificate = leakage.check()
    assert certificate.is_clean, certificate.as_text()


# Last: it adds bars.
def test_later_bars_and_corrections_carry_it(grown: tuple[Warehouse, list[dict[str, Any]]]) -> None:
    warehouse, before = grown
    warehouse.now += timedelta(hours=1)
    warehouse.load_bars("binance", "BTC", "1h", hours(62, HIGHS[2])[58:])
    warehouse.build(BUILT)
    hourly = "timeframe = '1h'"
    found = warehouse.query(
        f"select bar_range from marts.market_data_v2 where {hourly} order by timestamp desc limit 5"
    )
    assert [row["bar_range"] for row in found] == [6, 6, 6, 6, 4]
    # The two amended bars' former versions.
    ended = warehouse.query(
        f"select bar_range from snapshots.market_data_history where {hourly} and dbt_valid_to is not null"
        " and bar_range is not null order by timestamp"
    )
    assert [row["bar_range"] for row in ended] == [4, 4]
    count = warehouse.query(f"select count(*) as n from marts.market_data_v2 where {hourly}")[0]["n"]
    assert count == sum(row["timeframe"] == "1h" for row in before) + 2
