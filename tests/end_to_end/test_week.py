"""A week of unattended runs, with everything that goes wrong in one: nobody touches it, and in the end nothing is missing.

Monday is a holiday. On Tuesday Binance is down; on Wednesday Polygon amends a day and changes its format for one symbol;
on Thursday a run is killed; from Friday on the scheduler is dead. The clock is WAREHOUSE_NOW, the providers are the
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

import psycopg
import pytest
from typer.testing import CliRunner

from extract.calendar.timeframes import FIRST_REACH
from extract.core import settings
from extract.transport.retry_policy import RETRY_POLICY
from scripts.cli import app
from scripts.pipeline import build, run
from scripts.simulator import Simulator, running
from tests import dbt_process
from tests.extract.conftest import environment, forget
from tests.receiver import Receiver, receiving
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
        if arguments[0] == "alerts":
            # Under WAREHOUSE_NOW a view knows the time of its build; without it, that of the moment.
            self.warehouse.build("pipeline_conditions source_conditions")
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
        dbt_process.parsed_once(),
    ):
        patch.chdir(warehouse.project.directory)
        for name, value in {**warehouse.database.environment, **simulator.environment()}.items():
            patch.setenv(name, value)
        patch.setenv("ALERT_URLS", receiver.url("json", f"/{SECRET}").replace("//", f"//user:{SECRET}@"))
        patch.setenv("HEALTHCHECK_URL", receiver.url(path=f"/{SECRET}"))
        patch.setattr(RETRY_POLICY, "backoff", (0.0, 0.0, 0.0))
        for timeframe, days in {"30m": 12, "1h": 12, "1d": 120}.items():
            patch.setitem(FIRST_REACH, timeframe, timedelta(days=days))
        patch.setattr("extract.providers.binance.derivatives.FIRST_STATISTICS_REACH", timedelta(days=5))
        patch.setattr("extract.providers.binance.derivatives.FIRST_FUNDING_REACH", timedelta(days=20))
        # The data tests of dbt are another test's business, and two thirds of a build's time.
        patch.setattr(build, "build", build.build_turn)
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
    week.market("alerts", "--send")

    week.move(at(2, 2))
    week.repair(*outage)
    week.fail(
        kind="amended", provider="polygon", symbol="IBM", timeframe="1d", field="close", factor="1.02",
        start="2013-02-15T05:00:00Z", end="2013-02-16T04:59:59Z",
    )  # fmt: skip
    drift = week.fail(kind="schema", provider="polygon", endpoint="bars", symbol="AAPL", rename={"c": "closing"})
    week.market("run")

    week.move(at(3, 2))
    week.repair(drift)
    week.market("run")
    week.move(at(3, 14))
    week.kill_a_run()
    week.market("alerts", "--send")

    week.move(at(4, 2))
    week.market("run")

    week.move(at(7, 5))
    week.market("alerts", "--send")
    week.market("run")
    week.market("alerts", "--send")


def test_each_thing_that_went_wrong_was_told_when_it_did_and_again_when_it_was_over(week: Week) -> None:
    expected = {
        ("run_partly", "pipeline"): (at(1, 2), at(2, 2)),
        ("data_late", "crypto SOL 1h"): (at(1, 2), at(2, 2)),
        ("data_late", "crypto SOL 1d"): (at(1, 2), at(2, 2)),
        ("source_unavailable", "binance"): (at(1, 14), at(2, 2)),
        ("schema_drift", "polygon bars"): (at(2, 2), at(3, 2)),
        ("run_failed", "pipeline"): (at(3, 14), at(4, 2)),
        ("no_run_since", "pipeline"): (at(7, 5), at(7, 5)),
    }
    fired, resolved = week.told("FIRED"), week.told("RESOLVED")
    told = {alert: (fired[alert], resolved.get(alert)) for alert in fired}
    # Bars of the substitute have no taker volumes, so fewer are validated while it stands in.
    substitute = {alert for alert in told if alert[0] == "validation_rate_low"}
    assert substitute <= {("validation_rate_low", f"crypto {coin}") for coin in ("BTC", "ETH")}
    assert {alert: told[alert] for alert in told.keys() - substitute} == expected
    assert all(told[alert] == (at(1, 2), at(2, 2)) for alert in substitute)


def test_nothing_is_missing_in_the_end_and_nobody_touched_it(week: Week) -> None:
    def opens(symbol: str, timeframe: str) -> list[datetime]:
        rows = week.warehouse.query(
            "select timestamp from marts.market_data_v2 where symbol = %s and timeframe = %s and timestamp >= %s"
            " order by timestamp",
            symbol, timeframe, MONDAY,
        )  # fmt: skip
        return [row["timestamp"] for row in rows]

    for symbol, timeframe, hours in [("BTC", "30m", 0.5), *((coin, "1h", 1) for coin in ("BTC", "ETH", "SOL"))]:
        step = timedelta(hours=hours)
        assert opens(symbol, timeframe) == [MONDAY + n * step for n in range(int((at(7, 5) - MONDAY) / step))]
    for coin in ("BTC", "ETH", "SOL"):
        assert len(opens(coin, "1d")) == 6, "Tuesday to Sunday"
    for symbol in STOCKS:
        # Monday was Washington's birthday.
        assert [opened.day for opened in opens(symbol, "1d")] == [19, 20, 21, 22]
    unexplained = week.warehouse.query("select * from marts.bar_gaps where repair_state = 'open' and place = 'between'")
    assert unexplained == []
    status = week.warehouse.query("select * from marts.enrichment_status where is_enabled and is_fetched")
    assert len(status) == 12 and {row["sla_level"] for row in status} == {"on time"}
    assert week.warehouse.query("select * from marts.alerts where resolved_at is null") == []


def test_the_outage_was_bridged_and_the_better_source_came_back(week: Week) -> None:
    sources = week.warehouse.query(
        "select distinct source from marts.market_data_v2 where symbol = 'BTC' and timeframe = '1h'"
    )
    assert sources == [{"source": "binance"}]
    switched = week.warehouse.query("select count(*) as n from marts.data_corrections where reason = 'source_changed'")
    assert switched[0]["n"] > 0


def test_the_amended_day_is_on_record(week: Week) -> None:
    rows = week.warehouse.query(
        """
        select bars.symbol, bars.session_date, corrections.new_value / corrections.old_value as factor
        from marts.data_corrections as corrections
        inner join marts.market_data_v2 as bars on bars.id = corrections.original_record_id
        where bars.symbol = 'IBM' and bars.timeframe = '1d' and corrections.field_corrected = 'close'
        """
    )
    assert [(row["session_date"].day, round(float(row["factor"]), 2)) for row in rows] == [(15, 1.02)]


def test_each_run_is_on_record_with_its_steps(week: Week) -> None:
    runs = week.warehouse.query("select * from marts.pipeline_runs order by started_at, ended_at")
    assert [run["status"] for run in runs] == [
        "succeeded",
        "partly",
        "succeeded",
        "succeeded",
        "failed",
        *["succeeded"] * 2,
    ]
    killed = runs[4]
    assert (killed["failed_step"], killed["exit_code"]) == ("extract", 1) and "without a word" in killed["error"]
    steps = week.warehouse.query(
        "select step from marts.pipeline_steps where run_id = %s order by started_at", runs[-1]["run_id"]
    )
    assert [row["step"] for row in steps][:4] == ["extract", "build", "alerts", "metrics"]
    asked = week.warehouse.query("select distinct run_id from marts.enrichment_fetch_log")
    assert {row["run_id"] for row in asked} <= {run["run_id"] for run in runs}


def test_the_dead_man_s_switch_heard_every_run(week: Week) -> None:
    heard = [path.removeprefix(f"/{SECRET}") for path in week.receiver.asked]
    assert heard == ["/start", ""] * 4 + ["/start"] + ["/start", ""] * 2


def test_no_secret_is_in_the_tables(week: Week) -> None:
    texts = week.warehouse.query(
        "select error as text from ops.pipeline_runs union all select detail from ops.pipeline_steps"
        " union all select message from ops.alerts"
    )
    assert not any(SECRET in (row["text"] or "") for row in texts)


@pytest.mark.parametrize(
    ("conditions", "rule", "subject", "change"),
    [
        ("quality", "validation_rate_low", "stock IBM", "update seeds.alert_rules set threshold = 101"),
        ("quality", "quality_score_low", "crypto BTC", "update seeds.alert_rules set threshold = 1.01"),
        ("quality", "completeness_low", "stock AAPL", "update seeds.alert_rules set threshold = 1.01"),
        (
            "source", "bars_rejected", "yahoo",
            "insert into marts.rejected_bars (source, reason, fetched_at, batch) values"
            " ('yahoo', 'no close', '2013-02-25T04:00:00Z', 1)",
        ),
        (
            "series", "open_gaps", "crypto ETH 1h",
            "insert into marts.bar_gaps (id, symbol, asset_class, timeframe, gap_from, gap_to, missing_bars, verdict,"
            " evidence, place, repair_state) values (1, 'ETH', 'crypto', '1h', '2013-02-20T01:00:00Z',"
            " '2013-02-20T02:00:00Z', 1, 'not fetched', 'never asked for', 'between', 'open')",
        ),
        (
            "series", "feature_computation_failed", "crypto SOL 1d",
            "update marts.enrichment_compute_log set success = false, error_details = '1 bars fail'"
            " where symbol = 'SOL' and timeframe = '1d'",
        ),
        (
            "series", "series_without_data", "crypto SOL 1d",
            "delete from marts.market_data_v2 where symbol = 'SOL' and timeframe = '1d'",
        ),
    ],
)  # fmt: skip
def test_rules_that_had_no_reason_in_this_week_fire_when_they_have_one(
    week: Week, conditions: str, rule: str, subject: str, change: str
) -> None:
    select = f"select subject from marts.{conditions}_conditions where rule = '{rule}'"
    with psycopg.connect(week.warehouse.database.dsn) as connection:
        assert connection.execute(select.encode()).fetchall() == []
        connection.execute(change.encode())
        assert (subject,) in connection.execute(select.encode()).fetchall()
        connection.rollback()


def test_a_turn_brings_its_bars_and_makes_no_view_that_is_as_it_was(
    week: Week, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A view that is made has a new rule in the catalogs. The views here hold the time of their build, which counts not."""
    monkeypatch.setattr(build, "OF_THE_PROCESS", build.OF_THE_PROCESS | {"WAREHOUSE_NOW"})
    views = (
        "select views.relname, cast(rules.xmin as text) as made from pg_rewrite as rules"
        " inner join pg_class as views on views.oid = rules.ev_class and views.relkind = 'v'"
        " where cast(cast(views.relnamespace as regnamespace) as text) in ('staging', 'intermediate', 'marts')"
    )

    def turn(hour: int) -> dict[str, str]:
        week.move(at(7, hour))
        assert run.run(started_by="schedule", shorter_than=timedelta(days=1)) == run.DONE
        newest = "select max(timestamp) from marts.market_data_v2 where symbol = 'BTC' and timeframe = '30m'"
        assert week.warehouse.query(newest) == [{"max": at(7, hour) - timedelta(minutes=30)}]
        return {row["relname"]: row["made"] for row in week.warehouse.query(views)}

    first = turn(6)
    week.warehouse.execute("drop view marts.source_agreement cascade")
    second = turn(7)
    made = {name for name in second if first.get(name) != second[name]}
    # dbt drops a table that it makes again with the views that read it.
    taken_along = {"int_bar_observations", "int_features", "int_price_features"}
    assert second.keys() == first.keys() and "source_agreement" in made
    assert made - taken_along <= {"source_agreement", "source_conditions", "alerts"}
    # A build of a view, by whomever, makes the next turn make all; those that hold the time are other ones then.
    week.warehouse.build("source_agreement")
    third = turn(8)
    hold_the_time = {"source_health", "backfill_state"}
    assert hold_the_time <= {name for name in third if third[name] != second[name]} and not hold_the_time & made
    latencies = week.warehouse.query(
        "select latencies.asset_class, latency_seconds, is_on_time from marts.run_latencies as latencies"
        " inner join marts.pipeline_runs as runs using (run_id) order by runs.started_at desc limit 1"
    )
    # The clock stands on the close of the bar; what the run took since then really passes.
    assert latencies[0]["asset_class"] == "crypto" and 0 < latencies[0]["latency_seconds"] < 1800
