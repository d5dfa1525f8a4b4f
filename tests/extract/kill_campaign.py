"""Kill -9 an extract at random moments, run it again, and count: every bar once, none missing, never stuck.

`python -m tests.extract.kill_campaign --kills 60` prints what each kill hit. Each round loads days of its own, so
that there is always something to interrupt; a forked child does the work, so that its start-up is not what is killed.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import time
from collections import Counter
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg

from extract.commands import backfill
from extract.core import settings, sources
from extract.symbols.registry import columns
from scripts.postgres import temporary_postgres
from scripts.simulator import running

CLOCK = "2013-03-02T02:00:00Z"
SYMBOLS = ("BTC", "ETH")
DAYS = 3
FIRST_DAY = datetime(2012, 4, 2, tzinfo=UTC)

FOUND = """
select count(*) as bars, count(distinct (symbol, opened)) as distinct_bars
from (
    select
        symbol,
        (bar ->> 0)::bigint as opened
    from raw_binance.responses,
        jsonb_array_elements(case when origin = 'archive' then payload -> 'rows' else payload end) as bar
    where status = 'ok' and endpoint = 'bars' and timeframe = '5m' and window_start >= %s and window_end <= %s
        and _dlt_load_id in (select load_id from raw_binance._dlt_loads where status = 0)
) as bars
"""
STEPS = ("extract", "normalize", "load")
# About how long each takes, start-up included in the first.
SECONDS = {"extract": 0.8, "normalize": 0.05, "load": 0.3}
ORPHANS = """
select count(*) from raw_binance.responses where _dlt_load_id not in (select load_id from raw_binance._dlt_loads)
"""


def load_days(start: datetime, kill_in: str | None = None, delay: float = 0) -> int:
    """Run the load in a child, and kill it a moment after it has reached a step; its exit status, -9 if killed."""
    child = os.fork()
    if child == 0:
        code = 70
        try:
            code = backfill.backfill(start, start + timedelta(days=DAYS), timeframes=["5m"], source="binance").exit_code
        finally:
            os._exit(code)
    ended, status = 0, 0
    if kill_in:
        while not ended and STEPS.index(_step()) < STEPS.index(kill_in):
            ended, status = os.waitpid(child, os.WNOHANG)
        if not ended:
            time.sleep(delay)
            os.kill(child, signal.SIGKILL)
    if not ended:
        _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def campaign(kills: int, seed: int) -> Counter[str]:
    """Kill so many loads, finish each, check its bars. Raises AssertionError with what is wrong."""
    chance = random.Random(seed)
    hit: Counter[str] = Counter()
    assert load_days(FIRST_DAY - timedelta(days=DAYS)) == 0
    assert load_days(FIRST_DAY) == 0
    expected = len(SYMBOLS) * DAYS * 288
    with psycopg.connect(autocommit=True) as connection:

        def count(statement: str, *values: object) -> tuple[int, ...]:
            return connection.execute(statement, values).fetchone() or ()

        for number in range(1, kills + 1):
            start = FIRST_DAY + number * timedelta(days=DAYS)
            window = (start, start + timedelta(days=DAYS))
            orphans = count(ORPHANS)[0]
            kill_in = chance.choice(STEPS)
            code = load_days(start, kill_in, chance.uniform(0, SECONDS[kill_in]))
            if code == 0:
                hit["nothing: it was done"] += 1
            elif count(ORPHANS)[0] > orphans:
                hit["between COPY and commit"] += 1
            elif count(FOUND, *window)[0]:
                hit["after commit"] += 1
            else:
                hit[f"in {_step()}"] += 1
            for attempt in (1, 2):
                code = load_days(start)
                assert code == 0, f"kill {number}: run {attempt} after it exits {code}"
            found = count(FOUND, *window)
            assert found == (expected, expected), f"kill {number}: {found} bars and distinct bars, expected {expected}"
        whole_window = (FIRST_DAY, FIRST_DAY + (kills + 1) * timedelta(days=DAYS))
        total = count(FOUND, *whole_window)
        assert total == ((kills + 1) * expected,) * 2, total
    return hit


def _step() -> str:
    """Which of dlt's steps the package that was left behind had reached."""
    folder = settings.project_directory() / ".warehouse" / "dlt"
    for step, place in (("load", "load/normalized"), ("normalize", "load/new"), ("normalize", "normalize/extracted")):
        if any(path.is_dir() for path in folder.glob(f"*/market_binance/{place}/*")):
            return step
    return "extract"


def prepare(directory: Path) -> None:
    """A project directory with two coins."""
    assets = directory / settings.ASSETS
    assets.parent.mkdir(parents=True)
    rows = (f"{symbol},crypto,5m,,{symbol}USDT,,,,24/7,,,binance,true" for symbol in SYMBOLS)
    assets.write_text("\n".join([",".join(columns()), *rows, ""]))
    os.chdir(directory)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with ExitStack() as stack:
        if not os.environ.get("PGHOST"):
            os.environ.update(stack.enter_context(temporary_postgres()).environment())
        simulator = stack.enter_context(running("demo", CLOCK, process=True))
        prepare(Path(stack.enter_context(TemporaryDirectory())))
        os.environ.update(simulator.environment())
        assert sources.names()  # imported before the first fork
        hit = campaign(options.kills, options.seed)
        stack.callback(os.chdir, "/")
    for what, times in hit.most_common():
        print(f"{times:4} killed: {what}")
    print(f"{options.kills} kills: no bar twice, none missing, never stuck")


if __name__ == "__main__":
    main()
