"""A week of unattended runs, with everything that goes wrong in one: nobody touches it, and in the end nothing is missing.

Monday is a holiday. On Tuesday Binance is down; on Thursday Polygon amends a day and changes its format for one symbol;
on Friday a run is killed; over the weekend the scheduler is dead. The clock is WAREHOUSE_NOW, the providers are the
simulator, notifications go to a web server. `pytest -s` prints the timeline.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest
from typer.testing import CliRunner

from extract import settings
from extract.patience import PATIENCE
from extract.timeframes import FIRST_REACH
from scripts import build
from scripts.cli import app
from tests.extract.conftest import environment, forget
from tests.receiver import Receiver, receiving
from tests.simulator import Simulator, running
from tests.warehouse import MakeWarehouse, Warehouse, crypto, stock

MONDAY = datetime.fromisoformat("2013-02-18T02:00:00Z")
BINANCE = ("binance-spot", "binance-data-api", "binance-futures", "binance-archive")
STOCKS = {"AAPL": "AAPL", "MSFT": "MSFT", "IBM": "IBM", "GOOG": "GOOG", "META": "FB"}
SECRET = "canary-of-the-week"


def at(day: int, hour: int) -> datetime:
    """Days from Monday, 0 to 7."""
    return MONDAY.replace(hour=hour) + timedelta(days=day)


@dataclass
class Week:
    """The pipeline, its providers, and what happened when."""

    warehouse: Warehouse
    simulator: Simulator
    receiver: Receiver
    patch: pytest.MonkeyPatch
    timeline: list[tuple[datetime, str]] = field(default_factory=list)
    now: datetime = MONDAY

    def note(self, what: str) -> None:
        self.timeline.append((self.now, what))

    def move(self, now: datetime) -> None:
        if now > MONDAY:
            # The circuit breaker waits by the real clock: what passes here must pass for it, too.
            self.warehouse.execute("update ops.circuit_breaker set opened_at = opened_at - interval '12 hours'")
        self.now = self.warehouse.now = now
        clock = now.isoformat().replace("+00:00", "Z")
        self.simulator.set_clock(clock)
        self.patch.setenv("WAREHOUSE_NOW", clock)
        settings.load.cache_clear()

    def market(self, *arguments: str, expect: int = 0) -> str:
        result = CliRunner().invoke(app, list(arguments))
        assert result.exit_code == expect, result.output
        self.note(f"`market {' '.join(arguments)}` -> {result.exit_code}")
        for message in self.receiver.take():
            for line in message["message"].splitlines():
                self.note(line.split(" (for ")[0])
        return result.output

    def fail(self, **fault: Any) -> int:
        self.note(f"fault: {' '.join(map(str, fault.values()))}")
        return self.simulator.add_fault(**fault)

    def repair(self, *faults: int) -> None:
        self.note("fault over")
        for fault in faults:
            self.simulator.clear_faults(fault)

    def told(self, word: str) -> dict[tuple[str, str], datetime]:
        """When which (rule, subject) was told: FIRED or RESOLVED."""
        found = {}
        for moment, text in self.timeline:
            if text.startswith(f"{word} ["):
                rule, subject = text.partition("] ")[2].split(": ")[:2]
                found[rule, subject] = moment
        return found

    def kill_a_run(self) -> None:
        """Start a run in a process of its own and kill it while it waits for an answer that does not come."""
        hanging = self.fail(kind="timeout", provider="binance-spot", seconds=600)
        self.simulator.clear_requests()
        process = subprocess.Popen(
            [sys.executable, "-m", "scripts.cli", "run"],
            env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        deadline = time.monotonic() + 120
        while not any(request["provider"] == "binance-spot" for request in self.simulator.requests):
            assert process.poll() is None and time.monotonic() < deadline, "the run did not get to its first request"
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.wait()
        self.note("a run is killed (SIGKILL) in its extract")
        self.repair(hanging)


@pytest.fixture(scope="module")
def week(make_warehouse: MakeWarehouse) -> Iterator[Week]:
    """Live through the week; the tests look at what it left."""
    warehouse = make_warehouse("warehouse")
    only_binance = {"polygon": "", "yahoo": ""}
    warehouse.assets(
        [stock(symbol, "1d", polygon=name, yahoo=name) for symbol, name in STOCKS.items()]
        + [crypto("BTC", "30m 1h 1d"), crypto("ETH", "1h 1d"), crypto("SOL", "1h 1d", **only_binance)]
    )
    with (
        pytest.MonkeyPatch.context() as patch,
        receiving() as receiver,
        running("demo", "2013-02-18T02:00:00Z") as simulator,
    ):
        patch.chdir(warehouse.project.directory)
        for name, value in {**warehouse.database.environment, **simulator.environment()}.items():
            patch.setenv(name, value)
        patch.setenv("ALERT_URLS", receiver.url("json", f"/{SECRET}").replace("//", f"//user:{SECRET}@"))
        patch.setenv("HEALTHCHECK_URL", receiver.url(path=f"/{SECRET}"))
        patch.setattr(PATIENCE, "backoff", (0.0, 0.0, 0.0))
        for timeframe, days in {"30m": 12, "1h": 12, "1d": 120}.items():
            patch.setitem(FIRST_REACH, timeframe, timedelta(days=days))
        patch.setattr("extract.binance.FIRST_STATISTICS_REACH", timedelta(days=5))
        patch.setattr("extract.binance.FIRST_FUNDING_REACH", timedelta(days=20))
        # The data tests of dbt are another test's business, and two thirds of a build's time.
        complete = build.build
        patch.setattr(build, "build", lambda without_tests: complete(without_tests=True))
        forget()
        lived = Week(warehouse, simulator, receiver, patch)
        live(lived)
        print("\n" + "\n".join(f"{moment:%a %d %H:%M}  {what}" for moment, what in lived.timeline))
        yield lived
        forget()


def live(week: Week) -> None:
    week.move(at(0, 2))
    week.market("run")

    week.move(at(1, 2))
    outage = [week.fail(kind="status", status=503, provider=host) for host in BINANCE]
    week.market("run", expect=3)
    week.move(at(1, 14))
    week.market("run", expect=3)

    week.move(at(2, 2))
    week.repair(*outage)
    week.market("run")

    week.move(at(3, 2))
    week.fail(
        kind="amended", provider="polygon", symbol="IBM", timeframe="1d", field="close", factor="1.02",
        start="2013-02-19T05:00:00Z", end="2013-02-20T04:59:59Z",
    )  # fmt: skip
    drift = week.fail(kind="schema", provider="polygon", endpoint="bars", symbol="AAPL", rename={"c": "closing"})
    week.market("run")

    week.move(at(4, 2))
    week.repair(drift)
    week.market("run")
    week.move(at(4, 14))
    week.kill_a_run()
    week.market("alerts", "--send")

    week.move(at(5, 2))
    week.market("run")

    week.move(at(7, 5))
    week.market("alerts", "--send")
    week.market("run")
    week.market("alerts", "--send")


def test_week(week: Week) -> None:
    pass
