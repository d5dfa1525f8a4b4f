"""`market backfill`: resumable, pausable, and its state read from the rows themselves."""

from __future__ import annotations

import orjson
import pytest

from extract.commands.running import Run
from extract.plan import backfill_jobs
from tests.extract.conftest import AAPL, BTC, Market, forget

YEAR = ("--start", "2012-01-01", "--end", "2012-06-30")


def status(market: Market) -> list[dict[str, object]]:
    (job,) = orjson.loads(market.run("backfill-status", "--json"))
    return [{"state": job["state"], **series} for series in job["series"]]


def test_a_backfill_loads_its_window_once(market: Market) -> None:
    market.run("backfill", *YEAR)
    (series,) = status(market)
    assert (series["state"], series["status"], series["share_done"]) == ("finished", "completed", 1.0)
    assert str(series["last_successful_date"]).startswith("2012-06-30T23:59")
    market.asked()
    assert "nothing to ask binance" in market.run("backfill", *YEAR)
    assert not market.asked("bars")
    rows = market.rows("binance", "endpoint = 'bars'")
    assert sum(row["row_count"] for row in rows) == 182 * 24
    assert len(orjson.loads(market.run("backfill-status", "--json"))) == 1, "the same wish is the same job"


def test_a_standby_says_how_far_a_backfill_is(market: Market) -> None:
    market.run("backfill", "--start", "2012-01-01", "--end", "2012-01-31")
    name = market.database.name
    market.execute(f'alter database "{name}" set default_transaction_read_only = on')
    forget()
    said = market.run("backfill-status")
    assert "100.0%" in said and "not counted" not in said
    # As after an extract on the primary, whose loads no command has added up yet.
    market.execute("set transaction read write; delete from ops.coverage_loads where source = 'binance'")
    said = market.run("backfill-status")
    assert "100.0%" in said and "binance: the server lets nobody write" in said and "are not counted" in said


def test_an_interrupted_backfill_asks_only_for_the_rest(market: Market, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("extract.commands.running.BATCH", 2)
    # Three months are in no file, and REST, which is asked instead, refuses them too.
    market.simulator.add_fault(kind="status", status=403, provider="binance-archive", count=3)
    refused = market.simulator.add_fault(kind="status", status=400, provider="binance-spot")
    market.assets({**BTC, "source_priority": "binance"})
    market.run("backfill", *YEAR, expect=3)
    market.simulator.clear_faults(refused)
    (series,) = status(market)
    assert (
        series["state"] == "running" and series["status"] == "in_progress" and 0 < float(str(series["share_done"])) < 1
    )
    loaded = {row["window_start"] for row in market.rows("binance", "status = 'ok' and endpoint = 'bars'")}
    market.run("backfill-resume")
    rows = market.rows("binance", "status = 'ok' and endpoint = 'bars'")
    assert len(rows) == len({row["window_start"] for row in rows}) > len(loaded)
    assert status(market)[0]["status"] == "completed"


def test_pause_stops_between_two_packages_and_resume_goes_on(market: Market, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("extract.commands.running.BATCH", 1)
    load, packages = Run.load, []

    def load_then_pause(self, source, tasks):  # type: ignore[no-untyped-def]
        for row in load(self, source, tasks):
            packages.append(row)
            if len(packages) == 2:
                assert backfill_jobs.pause() == 1
            yield row

    monkeypatch.setattr(Run, "load", load_then_pause)
    market.run("backfill", *YEAR)
    (series,) = status(market)
    assert series["state"] == "paused" and series["status"] == "in_progress"
    market.run("backfill-resume")
    (series,) = status(market)
    assert (series["state"], series["status"]) == ("finished", "completed")


def test_a_series_is_given_up_after_three_failed_runs(market: Market) -> None:
    market.assets({**BTC, "source_priority": "binance"})
    market.simulator.add_fault(kind="status", status=400, provider="binance-spot")
    market.simulator.add_fault(kind="status", status=404, provider="binance-archive")
    market.run("backfill", *YEAR, expect=3)
    for _ in range(2):
        market.run("backfill-resume", expect=3)
    (series,) = status(market)
    assert (series["status"], series["retry_count"]) == ("failed", 3)
    market.asked()
    assert "given up after 3 retries" in market.run("backfill-resume", expect=3)
    assert not market.asked("bars")
    market.simulator.clear_faults()
    market.run("backfill", *YEAR)
    assert status(market)[0]["status"] == "completed", "asking again grants new retries"


def test_a_backfill_of_several_series_shows_each(market: Market) -> None:
    market.assets(BTC, AAPL)
    market.run("backfill", "--start", "2012-01-01", "--end", "2012-01-31", "--timeframes", "1d")
    assert {(one["symbol"], one["status"]) for one in status(market)} == {("BTC", "completed"), ("AAPL", "completed")}
    # What goes into a pipe is lines for cut and awk, and no box.
    head, *lines = market.run("backfill-status").splitlines()
    shown = [dict(zip(head.split("\t"), line.split("\t"), strict=True)) for line in lines]
    assert {(one["symbol"], one["timeframe"], one["done"]) for one in shown} == {
        ("BTC", "1d", "100.0%"),
        ("AAPL", "1d", "100.0%"),
    }


def test_dry_run_of_a_backfill_counts_the_requests_that_are_left(market: Market) -> None:
    assert "binance: 12 requests" in market.run("backfill", *YEAR, "--dry-run")
    market.run("backfill", *YEAR)
    assert "binance: nothing to ask" in market.run("backfill", *YEAR, "--dry-run")


def test_an_end_before_the_start_is_refused(market: Market) -> None:
    market.run("backfill", "--start", "2012-02-01", "--end", "2012-01-01", expect=78)
