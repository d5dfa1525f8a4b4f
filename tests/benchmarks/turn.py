"""How long a scheduled turn takes, and until when its bars are in the mart. `python -m tests.benchmarks.turn [--bars N ...]`

50 coins with 5m bars and all that is resampled from them; every five minutes the scheduler asks for one new bar of each,
over HTTP from the simulator (a process of its own), builds, and looks at its alerts. Measured in a process that stays, as
`market schedule` does, medians of so many turns, at 1M rows in the mart and (goal: no slower) at 5M:

- `bar in the mart`: from the turn's first step to when readers see the bars (goal <= 5 s), `turn`: all of it (goal <= 8 s);
- `CPU of Python` and of the server in it: a busy machine changes them less.

Results go to bench.json under `turn`, and as a table to the terminal.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest import mock

import psycopg

from extract.calendar.timeframes import FIRST_REACH
from extract.core import clock, database
from scripts.pipeline import run
from scripts.postgres import Server, temporary_postgres
from scripts.simulator import running
from tests.benchmarks.results import BENCH, record
from tests.benchmarks.servers import cpu_seconds
from tests.warehouse import Database, Project, Warehouse, crypto

ROOT = Path(__file__).resolve().parents[2]
COINS = 50
TURN, AFTER_THE_CLOSE, DAY = timedelta(minutes=5), timedelta(seconds=10), timedelta(days=1)
# Of one 5m bar come 1/3 + 1/6 + 1/12 + 1/48 + 1/288 + 1/2016 of the coarser timeframes.
BARS_PER_5M_BAR = 1.61


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bars", type=int, nargs="+", default=[1_000_000, 5_000_000], help="rows of the mart")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, default=BENCH)
    chosen = parser.parse_args()
    with temporary_postgres() as server:
        found = {f"{bars / 1e6:g}M": measure(server, bars, chosen.rounds) for bars in chosen.bars}
    record("turn", found, chosen.output)


def measure(server: Server, bars: int, rounds: int) -> dict[str, float]:
    """The medians of `rounds` turns in a warehouse of so many rows."""
    # The turns are of the last hours: the views, which read no WAREHOUSE_NOW here, go by the real time.
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - (rounds + 2) * TURN + AFTER_THE_CLOSE
    with filled(server, bars, now) as (warehouse, set_clock):
        turns = []
        for number in range(rounds + 1):
            now += TURN
            set_clock(now)
            turns.append(one_turn(warehouse, server, now - AFTER_THE_CLOSE - TURN))
            print(number, {name: round(value, 2) for name, value in turns[-1].items()}, flush=True)
        rows = warehouse.query("select count(*) as rows from marts.market_data_v2")[0]["rows"]
    # The first one loads dbt and parses the project; a resident scheduler does it once.
    return {name: statistics.median(turn[name] for turn in turns[1:]) for name in turns[0]} | {"rows": rows}


def one_turn(warehouse: Warehouse, server: Server, opened: datetime) -> dict[str, float]:
    """Seconds of a turn, its parts, and until the bar that opened then is there for every coin."""
    python, database_cpu, started = time.process_time(), cpu_seconds(server), time.perf_counter()
    seen = threading.Event()
    arrived: list[float] = []

    def look() -> None:
        with psycopg.connect(warehouse.database.dsn, autocommit=True) as connection:
            while not seen.wait(0.05):
                row = connection.execute(
                    "select count(*) from marts.market_data_v2 where timeframe = '5m' and timestamp = %s", (opened,)
                ).fetchone()
                if row == (COINS,):
                    arrived.append(time.perf_counter() - started)
                    return

    watch = threading.Thread(target=look)
    watch.start()
    code = run.run(started_by="schedule", symbols=[name(n) for n in range(COINS)], shorter_than=DAY)
    taken = time.perf_counter() - started
    seen.set()
    watch.join()
    if code or not arrived:
        raise RuntimeError(f"the turn ended with {code}, its bars {'arrived' if arrived else 'did not arrive'}")
    steps = warehouse.query(
        "select step, extract(epoch from ended_at - started_at) as seconds from ops.pipeline_steps"
        " where run_id = (select run_id from ops.pipeline_runs order by started_at desc limit 1)"
    )
    return {
        "bar in the mart, s": arrived[0],
        "turn, s": taken,
        "CPU of Python, s": time.process_time() - python,
        "CPU of the server, s": cpu_seconds(server) - database_cpu,
    } | {f"step {row['step']}, s": float(row["seconds"]) for row in steps}


def name(number: int) -> str:
    return f"SYM{number:03d}"


@contextmanager
def filled(server: Server, bars: int, now: datetime) -> Iterator[tuple[Warehouse, Callable[[datetime], None]]]:
    """A warehouse that a first run has filled, and how to set the time of extract and of the providers."""
    present = [now]
    reach = TURN * round(bars / COINS / BARS_PER_5M_BAR)
    with (
        tempfile.TemporaryDirectory() as directory,
        running("load", now.isoformat().replace("+00:00", "Z"), process=True) as simulator,
        mock.patch.dict(os.environ),
        # Extract's clock alone: views have no time in them where WAREHOUSE_NOW is not set, as in production.
        mock.patch.object(clock, "now", side_effect=lambda: present[0]),
        mock.patch.dict(FIRST_REACH, {"5m": reach}),
    ):
        warehouse = Warehouse(Database(server, f"turn_{bars}"), Project.copy(ROOT, Path(directory) / "project"))
        warehouse.reset()
        others = {"polygon": "", "yahoo": "", "coinmetrics": "", "binance_futures": "", "source_priority": "binance"}
        warehouse.assets([crypto(name(n), "5m", **others, binance=f"{name(n)}USDT") for n in range(COINS)])
        os.environ.update(warehouse.database.environment | simulator.environment())
        os.environ.pop("WAREHOUSE_NOW", None)
        os.chdir(warehouse.project.directory)

        def set_clock(at: datetime) -> None:
            present[0] = at
            simulator.set_clock(at.isoformat().replace("+00:00", "Z"))

        set_clock(now)
        code = run.run()
        if code:
            raise RuntimeError(f"the first run ended with {code}")
        warehouse.execute("vacuum analyze")
        yield warehouse, set_clock
        os.chdir(ROOT)
        database.pool().close()


if __name__ == "__main__":
    main()
