"""`market demo` as a newcomer runs it, and the wall between its synthetic data and real ones."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest

from extract.core import provenance
from extract.core.database import LockHeld
from extract.core.settings import ConfigurationError
from scripts import demo
from scripts.api.examples import EXAMPLES
from scripts.postgres import Server
from scripts.site.reference_formulas import FEATURES
from tests.scripts.conftest import serving
from tests.warehouse import Database

ROOT = Path(__file__).resolve().parents[2]


def run(database: Database, *command: str, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **database.server.environment(database.name), "COLUMNS": "80", **settings}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900)


def market(database: Database, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return run(database, sys.executable, "-m", "scripts.cli", *arguments, **settings)


def connect(database: Database) -> psycopg.Connection:
    return psycopg.connect(database.server.dsn(database.name), autocommit=True)


# What an example shows as of one run on one machine.
OF_THE_RUN = {
    "run_id", "last_run_id", "runs", "sources", "version", "feature_computation_time_ms", "rows_per_second",
}  # fmt: skip
ASKED = {
    "status": "/api/v1/enrichment/status/AAPL",
    "metrics": "/api/v1/enrichment/metrics",
    "quality": "/api/v1/data/quality/AAPL?limit=2",
    "data": "/api/v1/data/AAPL?timeframe=1d&limit=2&columns=close",
    "many": "/api/v1/data?symbols=AAPL,BTC&timeframe=1d&limit=2&columns=close",
    "symbols": "/api/v1/symbols",
    "health": "/healthz",
}


def is_part_of(example: Any, answer: Any) -> bool:
    """Whether an example is the answer, but for what it leaves out of lists of objects and what is of the run."""
    if isinstance(example, dict):
        named = {name: value for name, value in example.items() if name not in OF_THE_RUN}
        return example.keys() == answer.keys() and all(is_part_of(value, answer[name]) for name, value in named.items())
    if isinstance(example, list) and example and isinstance(example[0], dict):
        return all(any(is_part_of(one, other) for other in answer) for one in example)
    return bool(example == answer)


@pytest.mark.builds
def test_from_nothing_to_the_summary(database: Database, tmp_path: Path) -> None:
    result = market(database, "demo")
    assert result.returncode == 0, result.stdout + result.stderr
    assert max(len(line) for line in result.stdout.splitlines() if "│" not in line) <= 100
    for symbol in (*demo.STOCKS, *demo.COINS):
        assert re.search(rf"{symbol} .*(real|synthetic)", result.stdout), symbol
    for name in FEATURES:
        assert name in result.stdout
    assert "MISSING" not in result.stdout
    assert "source_updated" in result.stdout
    # What no source has before the first bar is no gap in the bars.
    assert "\n0 gaps in them" in result.stdout

    with connect(database) as connection:
        corrected = connection.execute(
            """
            select bars.symbol, bars.timeframe, corrections.field_corrected
            from marts.data_corrections as corrections
            inner join marts.market_data_v2 as bars on bars.id = corrections.original_record_id
            """
        ).fetchall()
        unmarked = connection.execute(
            "select count(*) from marts.market_data_v2 where symbol not in (select symbol from ops.demo)"
        ).fetchone()
    # A new close may lie outside the old high and low, which then move too.
    assert {("IBM", "1d", "volume"), ("BTC", "1h", "close")} <= set(corrected)
    assert {(symbol, timeframe) for symbol, timeframe, _ in corrected} == {("IBM", "1d"), ("BTC", "1h")}
    assert unmarked == (0,)

    query = re.search(r'make psql SQL="(.*?)"', result.stdout, re.DOTALL)
    assert query is not None
    answer = run(database, "make", "psql", f"SQL={query[1]}")
    assert "(5 rows)" in answer.stdout, answer.stderr

    # The page of the API shows what a reader of the demo gets.
    with serving(database, tmp_path) as served:
        for name, address in ASKED.items():
            answer = served.get(address).json()
            assert is_part_of(EXAMPLES[name], answer), (name, answer)

    refused = market(database, "extract")
    assert refused.returncode == 78
    assert "make clean" in refused.stderr


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "NEEDED", ("sys", "no_such_package"))
    with pytest.raises(ConfigurationError, match=r"needs no_such_package: .*make demo"):
        demo.main()


def test_two_demos_at_once_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # The second one emptied the database of the first, which ended with a traceback.
    monkeypatch.setattr(demo, "ROOT", tmp_path)
    monkeypatch.setattr(demo, "LOG", tmp_path / ".warehouse" / "demo.log")
    monkeypatch.setattr(demo, "LOCK", tmp_path / ".warehouse" / "demo.lock")
    monkeypatch.setattr(demo, "make_missing", lambda root: None)
    played = []

    def play() -> int:
        played.append(demo.LOG.write_text("of the first"))
        with pytest.raises(LockHeld, match=r"another demo is running here: .*\.warehouse/demo\.log"):
            demo.main()
        assert demo.LOG.read_text() == "of the first"
        return 0

    monkeypatch.setattr(demo, "_play", play)
    assert demo.main() == demo.main() == 0
    assert len(played) == 2


def test_a_step_that_fails_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(demo, "LOG", tmp_path / "demo.log")
    with pytest.raises(demo.StepFailed, match=r"^`market no-such-command` ended with exit code 2:"):
        demo._run("no-such-command", {}, "--symbols", "AAPL")


def test_real_providers_are_not_asked_for_a_demo_database(database: Database) -> None:
    with connect(database) as connection:
        connection.execute(provenance.CREATE)
    for command in (["extract"], ["backfill", "--start", "2024-01-01", "--end", "2024-01-02"]):
        result = market(database, *command)
        assert result.returncode == 78
        assert "make clean" in result.stderr
        assert "PGDATABASE" in result.stderr


@pytest.mark.parametrize("source", ["polygon", "binance", "yahoo"])
def test_a_database_with_real_answers_is_refused_and_left_alone(database: Database, source: str) -> None:
    with connect(database) as connection:
        connection.execute(f"create schema raw_{source}")
        connection.execute(f"create table raw_{source}.responses as select 1 as precious")
        result = market(database, "demo")
        assert result.returncode == 78
        assert "real providers" in result.stderr
        assert connection.execute(f"select precious from raw_{source}.responses").fetchone() == (1,)
        assert not provenance.is_marked(connection)


def test_a_second_demo_begins_anew(database: Database, monkeypatch: pytest.MonkeyPatch, postgres: Server) -> None:
    from extract.core import database as warehouse

    monkeypatch.setattr(warehouse, "url", lambda: postgres.dsn(database.name))
    demo._prepare()
    with connect(database) as connection:
        connection.execute("create schema marts; create table marts.market_data_v2 (left_over integer)")
        connection.execute("create schema theirs; create table theirs.kept (number integer)")
        demo._prepare()
        assert connection.execute("select to_regclass('marts.market_data_v2')").fetchone() == (None,)
        assert connection.execute("select to_regclass('theirs.kept') is not null").fetchone() == (True,)
        assert connection.execute("select count(*) from ops.demo where is_synthetic").fetchone() == (3,)
