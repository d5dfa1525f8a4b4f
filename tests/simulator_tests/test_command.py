"""``python -m scripts.simulator`` as a person runs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from scripts.simulator import running
from tests.simulator_tests.conftest import Web

ROOT = Path(__file__).parents[2]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "scripts.simulator", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def test_it_prints_settings_that_work(tmp_path: Path) -> None:
    with running("demo", "2013-02-01T00:00:00Z", process=True) as simulator:
        settings = simulator.environment()
        assert settings["WAREHOUSE_NOW"] == "2013-02-01T00:00:00Z"
        assert set(settings) > {
            "POLYGON_BASE_URL", "POLYGON_API_KEY", "BINANCE_SPOT_BASE_URL", "BINANCE_FUTURES_BASE_URL",
            "BINANCE_ARCHIVE_BASE_URL", "BINANCE_STREAM_URL", "YAHOO_BASE_URL", "COINMETRICS_BASE_URL",
        }  # fmt: skip
        bars = Web(simulator).json("/polygon/v2/aggs/ticker/FB/range/1/day/2013-01-01/2013-01-31")
        assert bars["count"] == 21


def test_help_and_faults_are_explained() -> None:
    shown = run("--help").stdout
    assert "--data" in shown and "/_simulator/faults" in shown
    assert "schema" in run("--list-faults").stdout


def test_mistakes_are_named() -> None:
    wrong = run("--data", "demo", "--faults", '{"kind":"melted"}', "--port", "0")
    assert wrong.returncode == 2 and "melted" in wrong.stderr
    missing = run("--data", "shared", "--shared", "/nowhere", "--port", "0")
    assert missing.returncode == 2 and "INDEX.csv" in missing.stderr
