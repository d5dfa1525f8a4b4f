"""`market correct SYMBOL split|dividend DATE`: what is recorded, and what is refused. What it does: test_yahoo_basis.py."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row
from typer.testing import CliRunner

from extract.commands.running import prepare_warehouse
from extract.core import database as warehouse
from extract.core import provenance, settings
from extract.symbols.registry import columns
from scripts.cli import app
from tests.warehouse import Database

BECAUSE = ("--reason", "8-K", "--by", "ann")


@pytest.fixture
def here(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """A prepared warehouse, and a registry with a share and a coin."""
    monkeypatch.chdir(tmp_path)
    for name, value in {**database.environment, "WAREHOUSE_NOW": "2026-06-16T12:00:00Z"}.items():
        monkeypatch.setenv(name, value)
    for cached in (settings.load, warehouse.url, warehouse.pool):
        cached.cache_clear()
    assets = tmp_path / settings.ASSETS
    assets.parent.mkdir(parents=True)
    rows = [{"symbol": "AAPL", "asset_class": "stock", "yahoo": "AAPL"}, {"symbol": "BTC", "asset_class": "crypto"}]
    cells = [{"timeframes": "1d", "enabled": "true", **row} for row in rows]
    assets.write_text(
        "\n".join(",".join(row) for row in [columns(), *([c.get(n, "") for n in columns()] for c in cells)])
    )
    prepare_warehouse()
    yield database
    warehouse.pool().close()
    for cached in (settings.load, warehouse.url, warehouse.pool):
        cached.cache_clear()


def run(*arguments: str, expect: int = 0) -> str:
    result = CliRunner().invoke(app, ["correct", *arguments])
    assert result.exit_code == expect, result.output
    return result.output


def recorded(database: Database) -> list[dict[str, Any]]:
    with psycopg.connect(database.dsn, row_factory=dict_row) as connection:
        return connection.execute(
            "select symbol, kind, ex_date::text, change, split_to, split_from, amount, reason, corrected_by,"
            " corrected_at::date::text as day from ops.manual_actions order by action_id"
        ).fetchall()


def test_splits_and_dividends_are_set_struck_and_given_back(here: Database) -> None:
    assert "AAPL split of 2026-06-15: 4:1" in run("AAPL", "split", "2026-06-15", "4:1", *BECAUSE)
    run("AAPL", "dividend", "2026-06-15", "0.25", *BECAUSE)
    run("AAPL", "dividend", "2026-06-15", "--strike", *BECAUSE)
    assert "withdrawn" in run("AAPL", "split", "2026-06-15", "--withdraw", *BECAUSE)
    assert [tuple(map(str, row.values())) for row in recorded(here)] == [
        ("AAPL", kind, "2026-06-15", *values, "8-K", "ann", "2026-06-16")
        for kind, *values in (
            ("split", "set", "4", "1", "None"), ("dividend", "set", "None", "None", "0.25"),
            ("dividend", "strike", "None", "None", "None"), ("split", "withdraw", "None", "None", "None"),
        )
    ]  # fmt: skip


def test_in_the_demo_a_correction_is_of_the_demo_s_day(here: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the real clock it would be thirteen years younger than the build that processes it, and never signed."""
    monkeypatch.delenv("WAREHOUSE_NOW")
    settings.load.cache_clear()
    with psycopg.connect(here.dsn) as connection:
        connection.execute(provenance.CREATE)
        provenance.set_clock(connection, "2013-03-02T02:00:00Z")
    run("AAPL", "split", "2013-02-28", "4:1", *BECAUSE)
    assert [row["day"] for row in recorded(here)] == ["2013-03-02"]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("AAPL", "split", "2026-06-15", "4:1"), "--reason"),
        (("AAPL", "split", "15.6.2026", "4:1", *BECAUSE), "no date"),
        (("AAPL", "split", "2026-06-15", "4", *BECAUSE), "no split"),
        (("AAPL", "split", "2026-06-15", "4:0", *BECAUSE), "no split"),
        (("AAPL", "split", "2026-06-15", "1:1", *BECAUSE), "--strike"),
        (("AAPL", "dividend", "2026-06-15", "1:2", *BECAUSE), "no dividend"),
        (("AAPL", "split", "2026-06-15", *BECAUSE), "say the split"),
        (("AAPL", "split", "2026-06-15", "4:1", "--strike", *BECAUSE), "no values"),
        (("AAPL", "split", "2026-06-15", "--withdraw", *BECAUSE), "nothing was set"),
        (("BTC", "split", "2026-06-15", "4:1", *BECAUSE), "no share BTC"),
        (("AAPL", "1d", "2026-06-15", "--strike", *BECAUSE), "--withdraw"),
    ],
)
def test_what_makes_no_sense_is_refused(here: Database, arguments: tuple[str, ...], problem: str) -> None:
    assert problem in run(*arguments, expect=78)
    assert recorded(here) == []
