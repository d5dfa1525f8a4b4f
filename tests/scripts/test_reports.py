"""The reading commands, as a user calls them."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from scripts.reading import reports
from tests.scripts.conftest import HOSTILE, ROOT
from tests.warehouse import Database, Warehouse


def market(database: Database, directory: Path, *arguments: str, expect: int = 0, **settings: str) -> str:
    """What the command printed, on both channels. expect=-1: whatever its exit code is."""
    environment = {**os.environ, **database.environment, "PYTHONPATH": str(ROOT), **settings}
    command = [sys.executable, "-m", "scripts.cli", *arguments]
    result = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True)
    assert expect in (-1, result.returncode), result.stdout + result.stderr
    return result.stdout + result.stderr


def test_status_in_three_forms(built: Warehouse, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = json.loads(market(built.database, tmp_path, "status", "BTC", "--json"))
    hourly = next(row for row in rows if row["timeframe"] == "1h")
    # Two hours that one look did not bring: open until others have looked in vain, too.
    assert (hourly["bars"], hourly["sla_level"], hourly["open_gaps"]) == (262, "on time", 1)

    lines = list(csv.DictReader(io.StringIO(market(built.database, tmp_path, "status", "BTC")), dialect="excel-tab"))
    assert [line["timeframe"] for line in lines] == [row["timeframe"] for row in rows]
    assert lines[0]["is_stale"] == "false"

    # On a terminal: a table without a single control character of foreign text, or colour where none is wanted.
    program = "import pty, sys; sys.exit(pty.spawn([sys.executable, '-m', 'scripts.cli', *sys.argv[1:]]) >> 8)"
    environment = {**os.environ, **built.database.environment, "PYTHONPATH": str(ROOT), "TERM": "xterm"}
    command = [sys.executable, "-c", program, "status"]
    coloured = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert coloured.returncode == 0
    assert "on time" in coloured.stdout
    assert HOSTILE in coloured.stdout


def test_gaps_sources_and_revisions(built: Warehouse, tmp_path: Path) -> None:
    gaps = json.loads(market(built.database, tmp_path, "gaps", "BTC", "--all", "--json"))
    assert [(gap["gap_from"], gap["missing_bars"]) for gap in gaps if gap["place"] == "between"] == [
        ("2025-03-07T04:00:00+00:00", 2)
    ]
    # Without --all those that status counts.
    counted = json.loads(market(built.database, tmp_path, "status", "--json"))
    listed = json.loads(market(built.database, tmp_path, "gaps", "--json"))
    assert Counter((gap["symbol"], gap["timeframe"]) for gap in listed) == Counter(
        {(row["symbol"], row["timeframe"]): row["open_gaps"] for row in counted if row["open_gaps"]}
    )
    sources = json.loads(market(built.database, tmp_path, "sources", "--json"))
    assert {row["source"]: row["failed_requests"] for row in sources}["binance"] == 1
    revisions = json.loads(market(built.database, tmp_path, "revisions", "BTC", "1h", "--json"), parse_float=str)
    assert {row["field_corrected"] for row in revisions} == {"close", "high"}
    assert all(row["reason"] == "source_updated" for row in revisions)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["status", "BTX"], 78, "unknown symbol 'BTX'; did you mean BTC?"),
        (["revisions", "x' or 'a'='a"], 78, "; there are "),
        (["gaps", "btc"], 0, "BTC"),
        (["revisions", "BTC", "2h"], 78, "timeframe '2h' is none of 5m"),
        (["revisions", "AAPL"], 0, "nothing was ever corrected"),
    ],
)
def test_what_is_not_there(built: Warehouse, tmp_path: Path, arguments: list[str], code: int, words: str) -> None:
    said = market(built.database, tmp_path, *arguments, expect=code)
    assert words in said
    assert "Traceback" not in said


@pytest.mark.parametrize("command", ["status", "gaps", "sources", "metrics"])
def test_without_a_build_it_says_what_to_do(database: Database, tmp_path: Path, command: str) -> None:
    assert "the warehouse is not built yet" in market(database, tmp_path, command, expect=1)


def test_without_a_server_it_says_so(database: Database, tmp_path: Path) -> None:
    said = market(database, tmp_path, "status", expect=1, PGPORT="1")
    assert "the warehouse does not answer" in said
    assert "market doctor" in said


def test_reading_imports_neither_dlt_nor_dbt(built: Warehouse, tmp_path: Path) -> None:
    program = (
        "import sys; from scripts.cli import app; app(['status', '--json'], standalone_mode=False);"
        "sys.exit(str(sorted({'dlt', 'dbt', 'fastapi', 'pandas', 'pyarrow'} & set(sys.modules)) or ''))"
    )
    environment = {**os.environ, **built.database.environment, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert result.stderr.strip() == "", result.stderr


def test_a_reader_that_has_seen_enough_is_no_error(built: Warehouse, tmp_path: Path) -> None:
    environment = {**os.environ, **built.database.environment, "PYTHONPATH": str(ROOT)}
    ours, theirs = os.pipe()
    os.close(ours)
    command = [sys.executable, "-m", "scripts.cli", "status"]
    result = subprocess.run(command, cwd=tmp_path, env=environment, stdout=theirs, stderr=subprocess.PIPE, text=True)
    os.close(theirs)
    assert result.stderr == ""


def test_cells_are_for_people() -> None:
    assert reports._cell("data_age_seconds", 7300) == "2 h"
    assert reports._cell("last_error", "broken\x1b[31m\npipe") == "broken [31m pipe"
    assert reports._cell("newest_bar", "2025-03-07T04:00:00+00:00") == "2025-03-07 04:00"
    assert reports._cell("last_error", "2 of 3 failed") == "2 of 3 failed"
