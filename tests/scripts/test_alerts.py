"""What becomes of an alert: it fires once, is told once, ends once; held back, suppressed and silenced as chosen.

The conditions are plain tables here; what fills them in the warehouse is tested in tests/end_to_end/test_week.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row
from typer.testing import CliRunner

from extract.core import settings
from scripts.cli import app
from scripts.monitoring import alerts
from tests.extract.conftest import forget
from tests.receiver import Receiver, receiving
from tests.warehouse import Database

NOON = datetime.fromisoformat("2025-03-03T12:00:00Z")
SECRET = "canary-alerts"
TABLES = """
create schema marts;
create schema seeds;
create table seeds.alert_rules (
    rule text, conditions text, severity text, hold_minutes integer, suppress_minutes integer, enabled boolean,
    owner text, runbook text
);
insert into seeds.alert_rules values
    ('run_failed', 'pipeline_conditions', 'critical', 0, 0, true, 'us', 'runbook.md#run_failed'),
    ('flapping', 'source_conditions', 'warning', 0, 60, true, 'us', 'runbook.md#flapping'),
    ('patient', 'source_conditions', 'warning', 30, 0, true, 'us', 'runbook.md#patient'),
    ('off', 'source_conditions', 'critical', 0, 0, false, 'us', 'runbook.md#off');
create table marts.pipeline_conditions (rule text, subject text, value numeric, threshold numeric, message text);
create table marts.source_conditions (like marts.pipeline_conditions);
"""


class Bench:
    """A database with conditions to switch on and off, a clock, and somebody to tell."""

    def __init__(self, database: Database, receiver: Receiver, patch: pytest.MonkeyPatch) -> None:
        self.database, self.receiver, self.patch = database, receiver, patch
        self.now = NOON
        self.execute(TABLES)
        self.after(minutes=0)

    def execute(self, statement: str) -> None:
        with psycopg.connect(self.database.dsn, autocommit=True) as connection:
            connection.execute(statement.encode())

    def after(self, **span: float) -> None:
        self.now += timedelta(**span)
        self.patch.setenv("WAREHOUSE_NOW", self.now.isoformat())
        settings.load.cache_clear()

    def condition(self, rule: str, subject: str = "binance", value: int = 1, message: str = "it is down") -> None:
        table = "pipeline" if rule == "run_failed" else "source"
        self.execute(f"insert into marts.{table}_conditions values ('{rule}', '{subject}', {value}, 0, '{message}')")

    def clear(self) -> None:
        self.execute("delete from marts.pipeline_conditions; delete from marts.source_conditions")

    def look(self) -> tuple[int, int]:
        return alerts.evaluate()

    def told(self) -> list[str]:
        """What a send tells: 'FIRED rule subject' lines."""
        alerts.send()
        lines = [line for message in self.receiver.take() for line in message["message"].splitlines()]
        return [f"{line.split()[0]} {' '.join(line.partition('] ')[2].split(': ')[:2])}" for line in lines]

    def rows(self) -> list[dict[str, Any]]:
        with psycopg.connect(self.database.dsn, row_factory=dict_row) as connection:
            return connection.execute("select * from ops.alerts order by alert_id").fetchall()


@pytest.fixture
def bench(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    with receiving() as receiver:
        for name, value in database.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("ALERT_URLS", receiver.url("json", f"/{SECRET}"))
        monkeypatch.setenv("HEALTHCHECK_URL", receiver.url(path=f"/{SECRET}"))
        forget()
        yield Bench(database, receiver, monkeypatch)
        forget()


def test_an_alert_fires_once_is_told_once_and_ends_once(bench: Bench) -> None:
    bench.condition("run_failed", "pipeline")
    assert bench.look() == (1, 0)
    assert bench.told() == ["FIRED run_failed pipeline"]
    bench.after(minutes=10)
    bench.execute("update marts.pipeline_conditions set value = 2, message = 'again'")
    assert bench.look() == (0, 0) and bench.told() == []
    bench.clear()
    bench.after(minutes=10)
    assert bench.look() == (0, 1)
    assert bench.told() == ["RESOLVED run_failed pipeline"] and bench.told() == []
    (row,) = bench.rows()
    assert (row["value"], row["message"], row["severity"], row["owner"]) == (2, "again", "critical", "us")
    assert [row[name] - NOON for name in ("first_seen_at", "fired_at", "resolved_at")] == [
        timedelta(), timedelta(), timedelta(minutes=20),
    ]  # fmt: skip


def test_the_message_says_what_whom_and_where_to_read_on(bench: Bench) -> None:
    bench.condition("run_failed", "pipeline", message="step build failed")
    bench.look()
    alerts.send()
    (message,) = bench.receiver.take()
    assert message["title"] == "Market warehouse: 1 fired" and message["type"] == "failure"
    assert message["message"] == (
        "FIRED [critical] run_failed: pipeline: step build failed (for us, see runbook.md#run_failed)"
    )


def test_a_condition_must_hold_before_it_fires_and_is_forgotten_if_it_does_not(bench: Bench) -> None:
    bench.condition("patient")
    assert bench.look() == (0, 0)
    bench.after(minutes=29)
    assert bench.look() == (0, 0) and bench.told() == []
    bench.clear()
    bench.look()
    assert bench.rows() == []
    bench.condition("patient")
    bench.look()
    bench.after(minutes=30)
    assert bench.look() == (1, 0) and bench.told() == ["FIRED patient binance"]


def test_one_that_comes_and_goes_is_told_once_in_the_chosen_time(bench: Bench) -> None:
    told = []
    for _ in range(4):
        bench.condition("flapping")
        bench.look()
        told += bench.told()
        bench.clear()
        bench.after(minutes=10)
        bench.look()
        told += bench.told()
    assert told == ["FIRED flapping binance", "RESOLVED flapping binance"]
    assert len(bench.rows()) == 4
    bench.condition("flapping")
    bench.look()
    assert bench.told() == []
    bench.after(minutes=21)
    assert bench.told() == ["FIRED flapping binance"], "the hour is over, and it still lasts"


def test_a_rule_that_is_switched_off_never_fires_and_ends_what_it_had_fired(bench: Bench) -> None:
    bench.condition("off")
    assert bench.look() == (0, 0)
    bench.execute("update seeds.alert_rules set enabled = true where rule = 'off'")
    assert bench.look() == (1, 0)
    bench.execute("update seeds.alert_rules set enabled = false where rule = 'off'")
    bench.after(minutes=1)
    assert bench.look() == (0, 1)


def test_alerts_stay_as_they_are_while_their_model_is_missing(bench: Bench) -> None:
    bench.condition("flapping")
    bench.condition("run_failed", "pipeline")
    assert bench.look() == (2, 0)
    bench.execute("alter table marts.source_conditions rename to rebuilding")
    bench.execute("delete from marts.pipeline_conditions")
    bench.after(minutes=1)
    assert bench.look() == (0, 1), "only the rules of models that are there are judged"
    bench.execute("alter table marts.rebuilding rename to source_conditions")
    assert bench.look() == (0, 0)


def test_what_could_not_be_sent_is_sent_later(bench: Bench) -> None:
    bench.condition("run_failed", "pipeline")
    bench.look()
    bench.receiver.status = 500
    with pytest.raises(alerts.NotSent) as problem:
        alerts.send()
    assert SECRET not in str(problem.value)
    assert bench.rows()[0]["notified_at"] is None
    bench.receiver.status = 200
    assert bench.told() == ["FIRED run_failed pipeline"]


def test_of_many_senders_at_once_one_tells(bench: Bench) -> None:
    for number in range(5):
        bench.condition("run_failed", f"pipeline {number}")
    bench.look()
    with ThreadPoolExecutor(6) as pool:
        told = list(pool.map(lambda _: alerts.send(), range(6)))
    assert sum(told) == 5
    assert len([line for message in bench.receiver.take() for line in message["message"].splitlines()]) == 5


def test_a_silenced_rule_is_on_record_but_not_told_until_the_time_is_over(bench: Bench) -> None:
    run = CliRunner().invoke(app, ["alerts", "--silence", "flapping", "--subject", "binance", "--hours", "2"])
    assert run.exit_code == 0 and "silent until 2025-03-03 14:00 UTC" in run.output
    bench.condition("flapping")
    bench.condition("flapping", "yahoo")
    bench.look()
    assert bench.told() == ["FIRED flapping yahoo"]
    bench.after(hours=2)
    assert bench.told() == ["FIRED flapping binance"]
    unknown = CliRunner().invoke(app, ["alerts", "--silence", "nonsense"])
    assert unknown.exit_code == 78 and "run_failed" in unknown.output


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("--silence flapping --hours 0", "more than 0"),
        ("--silence flapping --hours -3", "more than 0"),
        ("--silence flapping --hours nan", "more than 0"),
        ("--silence flapping --hours 1e12", "at most 8,784 hours"),
        ("--silence flapping --subject=", "--subject is empty"),
        ("--silence=", "no rule of alert_rules.csv"),
        ("--subject binance", "--silence RULE"),
        ("--hours 3", "--silence RULE"),
        ("--silence flapping --send", "goes with --subject and --hours only"),
    ],
)
def test_a_silence_that_makes_no_sense_is_refused_and_silences_nothing(bench: Bench, arguments: str, told: str) -> None:
    run = CliRunner().invoke(app, ["alerts", *arguments.split()])
    assert run.exit_code == 78 and told in run.output, run.output
    bench.condition("flapping")
    bench.look()
    assert bench.told() == ["FIRED flapping binance"]


def test_a_wrong_target_is_a_configuration_error_that_keeps_the_secret(bench: Bench) -> None:
    bench.patch.setenv("ALERT_URLS", f"nothing://{SECRET}")
    settings.load.cache_clear()
    bench.condition("run_failed", "pipeline")
    run = CliRunner().invoke(app, ["alerts", "--send"])
    assert run.exit_code == 78, run.output
    assert "ALERT_URLS: entry 1" in run.output and SECRET not in run.output


def test_the_dead_man_s_switch_is_told_and_never_in_the_way(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    for event in ("start", "success", "fail"):
        alerts.ping(event)
    assert bench.receiver.asked == [f"/{SECRET}/start", f"/{SECRET}", f"/{SECRET}/fail"]
    bench.receiver.status = 503
    alerts.ping("success")
    assert "HEALTHCHECK_URL does not answer" in caplog.text and SECRET not in caplog.text


def test_messages_of_conditions_lose_their_secrets_and_long_lists_are_cut(bench: Bench) -> None:
    bench.patch.setenv("POLYGON_API_KEY", "key-canary")
    settings.load.cache_clear()
    for number in range(25):
        bench.condition("run_failed", f"series {number:02}", message="GET /x?apiKey=key-canary refused")
    bench.look()
    alerts.send()
    (message,) = bench.receiver.take()
    assert "key-canary" not in json.dumps(message)
    assert message["message"].endswith("... and 5 more (market alerts)")
