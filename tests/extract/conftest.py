"""A project directory, a database and a simulator of its own for each test of the extract side."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row
from typer.testing import CliRunner

from extract.calendar.timeframes import FIRST_REACH
from extract.commands.running import prepare_warehouse
from extract.core import database as warehouse
from extract.core import settings
from extract.symbols.registry import columns
from extract.transport.retry_policy import RETRY_POLICY
from scripts.cli import app
from scripts.postgres import Server
from scripts.simulator import Simulator, running
from tests.warehouse import Database

CLOCK = "2013-03-02T02:00:00Z"
BTC = {
    "symbol": "BTC", "asset_class": "crypto", "timeframes": "1h", "polygon": "X:BTCUSD", "binance": "BTCUSDT",
    "yahoo": "BTC-USD", "source_priority": "binance polygon yahoo",
}  # fmt: skip
AAPL = {"symbol": "AAPL", "asset_class": "stock", "timeframes": "1d", "polygon": "AAPL", "yahoo": "AAPL"}


@pytest.fixture(scope="session")
def shared_simulator() -> Iterator[Simulator]:
    with running("demo", CLOCK) as simulator:
        yield simulator


@pytest.fixture
def simulator(shared_simulator: Simulator) -> Simulator:
    """The demo data at their own clock, without faults."""
    shared_simulator.clear_faults()
    shared_simulator.clear_requests()
    # They count by the real clock: what the test before has spent made this one's first answers refusals.
    shared_simulator.clear_budgets()
    shared_simulator.set_clock(CLOCK)
    return shared_simulator


@dataclass
class Market:
    """The `market` command in a project directory of its own, and what it left in the warehouse."""

    directory: Path
    database: Database
    simulator: Simulator
    patch: pytest.MonkeyPatch

    def assets(self, *rows: dict[str, str]) -> None:
        """Write the registry; cells that are not named are empty."""
        path = self.directory / settings.ASSETS
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, columns())
            writer.writeheader()
            for row in rows:
                writer.writerow({"enabled": "true", **row})

    def set(self, **values: str | None) -> None:
        """Change settings."""
        for name, value in values.items():
            if value is None:
                self.patch.delenv(name, raising=False)
            else:
                self.patch.setenv(name, value)
        settings.load.cache_clear()

    def at(self, clock: str) -> None:
        """Move the time of the pipeline and of the providers."""
        self.simulator.set_clock(clock)
        self.set(WAREHOUSE_NOW=clock)

    def run(self, *arguments: str, expect: int = 0) -> str:
        """Run a command and return what it printed, without the run's id in each line of the log."""
        result = CliRunner().invoke(app, list(arguments))
        assert result.exit_code == expect, result.output
        return re.sub(r"^(\S+ \S+ [A-Z]+) \[[0-9a-f]{8}\] ", r"\1 ", result.output, flags=re.MULTILINE)

    def query(self, statement: str) -> list[dict[str, Any]]:
        with psycopg.connect(self.database.dsn, row_factory=dict_row) as connection:
            return connection.execute(statement).fetchall()

    def execute(self, statements: str) -> None:
        with psycopg.connect(self.database.dsn) as connection:
            connection.execute(statements)

    def rows(self, source: str, where: str = "true") -> list[dict[str, Any]]:
        """The committed raw rows of a source, in the order of loading."""
        return self.query(
            f"select * from raw_{source}.responses where {where} and _dlt_load_id in"
            f" (select load_id from raw_{source}._dlt_loads where status = 0) order by _dlt_load_id, window_start"
        )

    def asked(self, endpoint: str | None = None) -> list[dict[str, Any]]:
        """The requests the simulator saw since the last call."""
        found = [request for request in self.simulator.requests if endpoint in (None, request["endpoint"])]
        self.simulator.clear_requests()
        return found


@pytest.fixture(scope="session")
def template(postgres: Server, tmp_path_factory: pytest.TempPathFactory) -> Database:
    """A database with the empty tables, to copy: making them takes 1.5 s."""
    made = Database(postgres, "extract_template")
    made.create()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("template"))
        for name, value in made.environment.items():
            patch.setenv(name, value)
        forget()
        prepare_warehouse()
        forget()
    return made


@pytest.fixture
def database(postgres: Server, template: Database) -> Iterator[Database]:
    """A database of this test's own, prepared as a first run leaves it."""
    made = Database(postgres, "extract_test")
    made.create(template.name)
    yield made
    made.drop()


@pytest.fixture
def market(
    database: Database, simulator: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Market]:
    """The pipeline on an empty database, asking the simulator, with waits too short to notice."""
    monkeypatch.chdir(tmp_path)
    for name, value in {**database.environment, **simulator.environment()}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(RETRY_POLICY, "backoff", (0.0, 0.0, 0.0))
    # Shorter first reaches: a year of files and requests proves no more than weeks do.
    monkeypatch.setitem(FIRST_REACH, "5m", timedelta(days=10))
    monkeypatch.setitem(FIRST_REACH, "1h", timedelta(days=20))
    monkeypatch.setattr("extract.providers.binance.derivatives.FIRST_STATISTICS_REACH", timedelta(days=10))
    monkeypatch.setattr("extract.providers.binance.derivatives.FIRST_FUNDING_REACH", timedelta(days=40))
    forget()
    made = Market(tmp_path, database, simulator, monkeypatch)
    made.assets(BTC)
    yield made
    forget()


def forget() -> None:
    """Drop what the process remembers of settings and warehouse."""
    if warehouse.pool.cache_info().currsize:
        warehouse.pool().close()
    for cached in (settings.load, warehouse.url, warehouse.pool):
        cached.cache_clear()


def environment() -> dict[str, str]:
    """For a process of its own: this one's settings, and where the code is."""
    return {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
