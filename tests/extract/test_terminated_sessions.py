"""A session of ours that the server ends, wherever it is: one line at most, and the next run loads what is missing, once.

Data flow: a trigger that terminates its own session, once, on one table after the other -> extract -> extract again.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner

from extract.commands.running import Run
from extract.load.responses import Task
from scripts.cli import app
from tests.extract.conftest import AAPL, BTC, Market

# A sequence keeps its count though the transaction is undone.
ARM = """
create sequence public.terminations;
create function public.terminate() returns trigger language plpgsql as $$
begin
    if nextval('public.terminations') = 1 then
        perform pg_terminate_backend(pg_backend_pid());
        perform pg_sleep(10);
    end if;
    return null;
end $$;
create trigger terminate after insert or update on {table} for each statement execute function public.terminate()
"""
DISARM = "drop function public.terminate() cascade; drop sequence public.terminations"
# By the table that is written when it happens, the exit code: dlt tries a COPY again by itself.
STAGES = {
    "ops.locks": 1,
    "raw_binance.responses": 0,
    "raw_polygon.responses": 0,
    "raw_binance._dlt_loads": 1,
    "ops.coverage": 1,
    "ops.looks": 1,
}
COMMITTED = "_dlt_load_id in (select load_id from raw_binance._dlt_loads where status = 0)"
BARS = f"""
select count(distinct bar ->> 0) as bars
from raw_binance.responses, jsonb_array_elements(case when origin = 'archive' then payload -> 'rows' else payload end) as bar
where status = 'ok' and endpoint = 'bars' and {COMMITTED}
"""
TWICE = f"""
select run_id, endpoint, symbol, window_start from raw_binance.responses
where {COMMITTED} group by run_id, endpoint, symbol, window_start, requested_at having count(*) > 1
"""


def told(market: Market) -> tuple[int, list[str]]:
    """The exit code of an extract, and what it printed but for the log's INFO."""
    result = CliRunner().invoke(app, ["extract"])
    return result.exit_code, [line for line in result.output.splitlines() if "Z INFO" not in line]


def next_run_has_all(market: Market, at: datetime, first: datetime) -> None:
    market.run("extract")
    assert market.query(BARS) == [{"bars": (at - first) // timedelta(hours=1)}]
    assert market.query(TWICE) == []


@pytest.fixture
def loaded(market: Market) -> tuple[Market, datetime, datetime]:
    """A market whose first run is done, when that was, and its first bar."""
    at = datetime(2013, 2, 9, 2, tzinfo=UTC)
    market.assets(BTC, AAPL)
    market.at(at.isoformat())
    market.run("extract")
    return market, at, at - timedelta(hours=market.query(BARS)[0]["bars"])


def test_a_session_that_is_terminated_costs_one_run_at_most(
    loaded: tuple[Market, datetime, datetime], capfd: pytest.CaptureFixture[str]
) -> None:
    market, at, first = loaded
    for table, expected in STAGES.items():
        at += timedelta(days=1)
        market.at(at.isoformat())
        market.execute(ARM.format(table=table))
        code, lines = told(market)
        assert market.query("select is_called from public.terminations") == [{"is_called": True}], table
        assert code == expected and len(lines) == 1, f"{table}: {lines}"
        assert ("the warehouse does not answer" if code else "AdminShutdown: terminating") in lines[0], lines
        market.execute(DISARM)
        next_run_has_all(market, at, first)
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("victims", ["application_name like 'market extract%'", "pid <> pg_backend_pid()"])
def test_sessions_that_are_terminated_while_sources_are_asked_cost_one_run(
    loaded: tuple[Market, datetime, datetime], victims: str
) -> None:
    """The lock's, and all: without the lock another run may have begun, which throws away what this one is loading."""
    market, at, first = loaded
    at += timedelta(days=1)
    market.at(at.isoformat())
    ended: list[Any] = []
    known_sha = Run._known_sha

    def terminate(run: Run, task: Task) -> str | None:
        if not ended:
            ended.append(task)
            with psycopg.connect(market.database.dsn) as other:
                other.execute(
                    "select pg_terminate_backend(pid) from pg_stat_activity"
                    f" where datname = current_database() and backend_type = 'client backend' and {victims}".encode()
                )
        return known_sha(run, task)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "_known_sha", terminate)
        code, lines = told(market)
    assert ended and code == 1, lines
    assert len(lines) == 1 and ("the session that held the lock run has ended" in lines[0]), lines
    next_run_has_all(market, at, first)
