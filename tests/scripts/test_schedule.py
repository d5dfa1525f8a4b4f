"""The resident scheduler: what runs when, whose turn it is, what it survives, and how it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from extract import migrations
from extract.core import database as warehouse
from extract.core import locks, settings
from extract.core.locks import Lock
from extract.core.settings import ConfigurationError
from extract.symbols.registry import Asset
from scripts.pipeline import run, schedule
from tests.conftest import ROOT
from tests.extract.conftest import forget
from tests.warehouse import Database

FIVE_MINUTES = timedelta(minutes=5)


@pytest.fixture
def configured(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Settings that lead to an empty database."""
    for name, value in database.environment.items():
        monkeypatch.setenv(name, value)
    forget()
    yield monkeypatch
    forget()


def asset(symbol: str, timeframes: str, first: str = "polygon", **names: str) -> Asset:
    return Asset(
        symbol, "stock", tuple(timeframes.split()), {first: symbol} | names, calendar=None, active_from=None,
        active_to=None, source_priority=(), enabled=True,
    )  # fmt: skip


@pytest.mark.parametrize(("text", "minutes"), [("5m", 5), ("1h", 60), ("15 m", 15)])
def test_intervals_are_parts_of_a_day(text: str, minutes: int) -> None:
    assert schedule.interval(text) == timedelta(minutes=minutes)


@pytest.mark.parametrize("text", ["7m", "0m", "5", "5s", "-5m", ""])
def test_other_intervals_are_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="part of a day"):
        schedule.interval(text)


def test_the_daily_run_is_at_the_chosen_minute_utc(configured: pytest.MonkeyPatch) -> None:
    configured.setenv("ENRICHMENT_SCHEDULE_HOUR", "4")
    configured.setenv("ENRICHMENT_SCHEDULE_MINUTE", "5")
    settings.load.cache_clear()
    made = schedule.make(FIVE_MINUTES, threading.Event())
    jobs = {job.id: job for job in made.get_jobs()}
    assert jobs.keys() == {"daily", "missed", "intraday", "alerts"}, "missed: makes up for a run that found no server"
    now = datetime.now(UTC)
    due = jobs["daily"].trigger.get_next_fire_time(None, now)
    assert (due.hour, due.minute, due.utcoffset()) == (4, 5, timedelta()) and now < due <= now + timedelta(days=1)
    first = jobs["intraday"].trigger.get_next_fire_time(None, now)
    assert (first.minute % 5, first.second) == (0, 10), "a moment after the close of a bar"
    assert made.get_jobs()[0].next_run_time is not None, "no run was ever made, so one is owed now"


@pytest.mark.parametrize(
    ("last", "now", "is_owed"),
    [
        (None, "2025-03-03T12:00:00Z", True),
        ("2025-03-03T01:30:01Z", "2025-03-03T12:00:00Z", False),
        ("2025-03-02T01:30:01Z", "2025-03-03T12:00:00Z", True),
        ("2025-03-02T01:30:01Z", "2025-03-03T01:29:00Z", False),
        ("2025-03-01T01:30:01Z", "2025-03-03T01:29:00Z", True),
    ],
)
def test_a_daily_run_that_was_missed_is_made_at_the_start(
    configured: pytest.MonkeyPatch, last: str | None, now: str, is_owed: bool
) -> None:
    configured.setenv("WAREHOUSE_NOW", now)
    settings.load.cache_clear()
    assert schedule.is_owed(datetime.fromisoformat(last) if last else None) is is_owed


def test_where_the_budget_is_small_symbols_take_turns_and_all_get_theirs(configured: pytest.MonkeyPatch) -> None:
    configured.setenv("POLYGON_REQUESTS_PER_MINUTE", "1")
    settings.load.cache_clear()
    stocks = [asset(f"S{number}", "5m 1h 1d") for number in range(5)]
    others = [asset("BTC", "5m 1d", first="binance"), asset("DAY", "1d")]
    turns = [schedule.symbols_of_turn([*stocks, *others], number, FIVE_MINUTES) for number in range(3)]
    assert all("BTC" in symbols and "DAY" not in symbols for symbols in turns)
    asked = [[symbol for symbol in symbols if symbol.startswith("S")] for symbols in turns]
    assert max(map(len, asked)) * 2 <= 5, "two requests a symbol, five a turn"
    assert sorted(symbol for symbols in asked for symbol in symbols) == ["S0", "S1", "S2", "S3", "S4"]


def test_without_a_limit_all_are_asked_each_time(configured: pytest.MonkeyPatch) -> None:
    configured.setenv("POLYGON_REQUESTS_PER_MINUTE", "0")
    settings.load.cache_clear()
    assert schedule.symbols_of_turn([asset(f"S{number}", "5m") for number in range(50)], 0, FIVE_MINUTES) == [
        f"S{number}" for number in range(50)
    ]


def test_a_turn_survives_a_held_lock_a_crash_and_a_stop(
    configured: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    raised: list[BaseException] = [warehouse.LockHeld("a backfill has it"), ValueError("broken"), KeyboardInterrupt()]
    asked: list[dict[str, Any]] = []

    def fail(**options: Any) -> int:
        asked.append(options)
        raise raised[len(asked) - 1]

    configured.setattr(run, "run", fail)
    caplog.set_level("INFO")
    work = schedule.turn(threading.Event())
    for _ in raised:
        work()
    assert all(options["started_by"] == "schedule" for options in asked)
    assert "left out: a backfill has it" in caplog.text
    assert "broken" in caplog.text and "stopped after a step" in caplog.text


def test_switched_off_it_does_nothing_and_says_so(
    configured: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    configured.setenv("DATA_ENRICHMENT_ENABLED", "false")
    settings.load.cache_clear()
    caplog.set_level("INFO")
    assert schedule.serve() == 0 and run.run() == 0
    assert caplog.text.count("DATA_ENRICHMENT_ENABLED=false") == 2


def test_sigterm_ends_the_process_after_what_is_under_way(database: Database) -> None:
    environment = {**os.environ, **database.environment, "PYTHONUNBUFFERED": "1"}
    with psycopg.connect(database.dsn, autocommit=True) as holder:
        migrations.migrate(holder)
        # Somebody else has the lock: the owed run is left out, so that nothing is asked of anybody.
        locks.take(holder, Lock.RUN, "market extract (process 1)")
        process = subprocess.Popen(
            [sys.executable, "-m", "scripts.cli", "schedule", "--every", "5m"],
            cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        assert process.stdout is not None
        output = ""
        for line in process.stdout:
            output += line
            if "left out" in line:
                break
        process.send_signal(signal.SIGTERM)
        output += process.communicate(timeout=60)[0]
    assert process.returncode == 0, output
    assert "daily run: next at" in output and "another run holds the lock" in output and "stopping" in output
