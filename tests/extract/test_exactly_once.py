"""Killed at any moment and run again: no duplicate, no hole, never stuck. The long campaign is kill_campaign.py."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime

from extract.core import database, sources
from extract.coverage import state
from scripts.simulator import running
from tests.extract.conftest import AAPL, BTC, CLOCK, Market, environment


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_kills_at_random_moments_leave_every_bar_once(market: Market) -> None:
    command = [sys.executable, "-m", "tests.extract.kill_campaign", "--kills", "3", "--seed", "7"]
    result = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=300)
    assert result.returncode == 0, result.stderr[-3000:]
    assert "3 kills: no bar twice, none missing, never stuck" in result.stdout


def test_a_lost_work_directory_loses_nothing(market: Market) -> None:
    """All state is in the warehouse: another machine goes on where this one ended."""
    market.run("extract")
    shutil.rmtree(market.directory / ".warehouse")
    market.asked()
    market.at("2013-03-02T04:00:00Z")
    market.run("extract")
    assert len(market.asked("bars")) == 2, "only the re-read and the new bars, not the history"


def test_rows_of_a_load_that_was_not_committed_do_not_count(market: Market) -> None:
    market.run("extract", "--start", "2013-02-28", "--end", "2013-03-01")
    market.execute("update raw_binance._dlt_loads set status = 2")
    assert not market.rows("binance")
    market.run("backfill", "--start", "2013-02-28", "--end", "2013-03-01")
    assert [row["row_count"] for row in market.rows("binance", "endpoint = 'bars'")] == [48]


def test_the_state_that_is_kept_is_the_one_computed_anew(market: Market) -> None:
    market.assets({**BTC, "binance_futures": "BTCUSDT"}, AAPL)
    market.run("extract")
    market.at("2013-03-02T04:00:00Z")
    market.run("extract")
    kept = {source: state.loaded(source) for source in sources.with_bars()}
    assert len(market.query("select from ops.coverage_loads where source = 'binance'")) == 2
    market.execute("delete from ops.coverage; delete from ops.looks; delete from ops.coverage_loads")
    assert {source: state.loaded(source) for source in sources.with_bars()} == kept
    assert kept["binance"].covered("bars", "BTC", "1h") == [(at("2013-02-10"), at("2013-03-02 04:00"))]


def test_a_second_run_says_who_holds_the_lock(market: Market) -> None:
    with database.run_lock("extract"):
        output = market.run("extract", expect=75)
        assert f"another run holds the lock: market extract (process {os.getpid()}), connected since" in output
        assert market.run("backfill", "--start", "2013-01-01", "--end", "2013-01-02", expect=75)
    market.run("extract")


def test_a_killed_run_leaves_no_lock(market: Market) -> None:
    with running("demo", CLOCK) as slow:
        slow.add_fault(kind="timeout", provider="binance-spot", seconds=3600)
        env = environment() | slow.environment()
        child = subprocess.Popen(
            [sys.executable, "-m", "scripts.cli", "extract", "--source", "binance"],
            env=env, cwd=market.directory, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        while not slow.requests:
            assert child.poll() is None
        assert "another run holds the lock" in market.run("extract", expect=75)
        child.kill()
        child.wait()
    market.assets(BTC)
    market.run("extract")
    assert market.rows("binance", "status = 'ok'")
