"""One built warehouse for all tests of readers (commands, API, metrics), and the API served on it over real HTTP."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest
import requests
from psycopg import sql

from extract.core import settings
from scripts.postgres import Server, roles
from tests import payloads
from tests.dbt.test_bars import run_of, stock_bars
from tests.extract.conftest import forget
from tests.warehouse import Answer, Database, MakeProject, Warehouse, bar_answer, crypto, stock

ROOT = Path(__file__).resolve().parents[2]
MARCH = datetime(2025, 3, 3, tzinfo=UTC)
# A Thursday evening in New York.
NOW = datetime(2025, 3, 14, 0, 30, tzinfo=UTC)
BEFORE_THE_AMENDMENT = NOW - timedelta(minutes=20)
HOURS = run_of(MARCH, 264, "1h")
# One share became two on that day.
EX_DATE = date(2025, 2, 3)
SESSIONS = [
    replace(bar, open=2 * bar.open, high=2 * bar.high, low=2 * bar.low, close=2 * bar.close)
    if bar.timestamp.date() < EX_DATE
    else bar
    for bar in stock_bars("1d", date(2025, 1, 2), date(2025, 3, 13))
]
# What dbt would take, though the registry's own check does not: quotes, an end of statement, markup, a placeholder.
HOSTILE = "x'\";drop--<b>&..%s"
TOKEN = "canary-token-5f1c"
BUILDER, READER = "test_builder", "test_reader"
PASSWORD = "canary-password-9a2e"


@dataclass
class Served:
    """A running `market serve`."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def get(self, path: str, **parameters: str | int) -> requests.Response:
        return requests.get(self.url + path, params=parameters, timeout=30)


@pytest.fixture(scope="session")
def built(postgres: Server, projects: MakeProject) -> Iterator[Warehouse]:
    """Two symbols and a hostile one, a failed answer, a gap, an amended bar, a split. Read it only."""
    warehouse = Warehouse(Database(postgres, "readers"), projects("readers"))
    warehouse.reset()
    warehouse.now = BEFORE_THE_AMENDMENT
    warehouse.assets(
        [crypto("BTC", "1h", binance_futures=""), stock("AAPL", "1d"), crypto(HOSTILE, "1h", binance_futures="")]
    )
    week = (MARCH, MARCH + timedelta(hours=264))
    hours = [bar for number, bar in enumerate(HOURS) if number not in (100, 101)]
    warehouse.load(
        "binance",
        bar_answer("binance", "BTC", "1h", hours, window=week, fetched_at=BEFORE_THE_AMENDMENT),
        bar_answer("binance", HOSTILE, "1h", HOURS[-5:], window=week),
        Answer(
            "bars", "BTC", None, "1h", week, status="failed",
            values={"error": "binance: 503 from the server; wait", "http_status": 503, "response_ms": 700},
        ),
    )  # fmt: skip
    warehouse.load(
        "polygon",
        bar_answer("polygon", "AAPL", "1d", SESSIONS),
        Answer("splits", "AAPL", payloads.polygon_splits({EX_DATE: (2, 1)})),
    )
    warehouse.build()
    # From here on with the least rights: dbt as a user of market_transform, the API as one of market_read.
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(warehouse.project.directory)
        for name, value in warehouse.database.environment.items():
            patch.setenv(name, value)
        forget()
        roles.create()
        forget()
    warehouse.execute(
        f"create role {BUILDER} login password '{PASSWORD}' in role market_transform;"
        f"alter role {BUILDER} set role = market_transform;"
        f"create role {READER} login password '{PASSWORD}' in role market_read"
    )
    warehouse.environment = {"PGUSER": BUILDER, "PGPASSWORD": PASSWORD}
    warehouse.now = NOW
    amended = replace(HOURS[50], close=HOURS[50].close + Decimal("0.01"), high=HOURS[50].high + 1)
    warehouse.load_bars("binance", "BTC", "1h", [amended])
    warehouse.build(without_staging=True)
    yield warehouse
    warehouse.database.drop()
    with psycopg.connect(postgres.dsn("postgres"), autocommit=True) as connection:
        for role in (BUILDER, READER):
            connection.execute(sql.SQL("drop role {}").format(sql.Identifier(role)))


@pytest.fixture(scope="session")
def served(built: Warehouse, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The API on that warehouse, with a token, in a process of its own."""
    directory = tmp_path_factory.mktemp("served")
    reader = {"PGUSER": READER, "PGPASSWORD": PASSWORD}
    with serving(built.database, directory, **reader, API_TOKEN=TOKEN, DATA_ENRICHMENT_ENABLED="false") as api:
        yield api


@contextmanager
def serving(database: Database, directory: Path, **more: str) -> Iterator[Served]:
    """`market serve` on a free port until the end of the block."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # A project of its own: the checkout may hold a site.
    registry = directory / settings.ASSETS
    registry.parent.mkdir(parents=True, exist_ok=True)
    registry.touch()
    log = directory / "serve.log"
    environment = {**os.environ, **database.environment, "PYTHONPATH": str(ROOT), **more}
    command = [sys.executable, "-m", "scripts.cli", "serve", "--port", str(port)]
    with log.open("wb") as file:
        process = subprocess.Popen(command, cwd=directory, env=environment, stdout=file, stderr=file)
    url = f"http://127.0.0.1:{port}"
    try:
        while process.poll() is None:
            try:
                requests.get(f"{url}/openapi.json", timeout=30)
                break
            except requests.ConnectionError:
                continue
        assert process.poll() is None, log.read_text()
        yield Served(url, process, log)
    finally:
        process.terminate()
        process.wait(30)
