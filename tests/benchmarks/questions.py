"""An analyst's ten questions to 5M bars of 50 coins, in SQL. `python -m tests.benchmarks.questions [--scale 1]`

Each is asked of another symbol and another time, so many times; all rows of its answer are fetched. The median and the 95th
percentile go to bench.json under `questions`, and as a table to the terminal. Bars are one built stretch repeated into the past
(see api.py): verdicts, history and corrections are those of the newest stretch.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from datetime import datetime, timedelta
from pathlib import Path

import psycopg

from scripts.postgres import temporary_postgres
from tests.benchmarks.api import filled
from tests.benchmarks.results import BENCH, record
from tests.benchmarks.transform import ROOT, symbol
from tests.warehouse import Database, Project, Warehouse

SYMBOLS, BARS = 50, 100_000
TIMES = 30
OF_SERIES = "symbol = %(symbol)s and asset_class = 'crypto' and timeframe = '5m'"
QUESTIONS = {
    "the latest bar of every symbol": """
        select assets.symbol, latest.timestamp, latest.close, latest.volume
        from seeds.assets as assets
        cross join lateral (
            select timestamp, close, volume from marts.market_data_v2 as bars
            where bars.symbol = assets.symbol and bars.asset_class = assets.asset_class and bars.timeframe = '5m'
            order by timestamp desc limit 1
        ) as latest
    """,
    "a year of one series": f"""
        select timestamp, open, high, low, close, volume from marts.market_data_v2
        where {OF_SERIES} and timestamp >= %(end)s - interval '365 days' and timestamp < %(end)s order by timestamp
    """,
    "the closes of a day of every symbol": """
        select symbol, timestamp, close from marts.market_data_v2
        where timeframe = '5m' and timestamp >= %(day)s and timestamp < %(day)s + interval '1 day'
    """,
    "correlations of all symbols over a day": """
        with returns as (
            select symbol, timestamp, cast(log_return as double precision) as log_return from marts.market_data_v2
            where timeframe = '5m' and timestamp >= %(day)s and timestamp < %(day)s + interval '1 day'
        )
        select one.symbol, other.symbol, corr(one.log_return, other.log_return)
        from returns as one
        inner join returns as other on other.timestamp = one.timestamp and other.symbol > one.symbol
        group by one.symbol, other.symbol
    """,
    "a series as it was known yesterday": f"""
        select timestamp, close, volume from marts.market_data_as_of(now() - interval '1 day') where {OF_SERIES}
    """,
    "the gaps of a month": """
        select * from marts.bar_gaps where gap_start >= %(end)s - interval '30 days'
    """,
    "hours made of a month of 5m bars": f"""
        select date_trunc('hour', timestamp) as hour, max(high), min(low), sum(volume) from marts.market_data_v2
        where {OF_SERIES} and timestamp >= %(day)s and timestamp < %(day)s + interval '30 days' group by 1 order by 1
    """,
    "the ten symbols that moved most in a day": """
        select symbol, max(high) / min(low) - 1 as move from marts.market_data_v2
        where timeframe = '5m' and timestamp >= %(day)s and timestamp < %(day)s + interval '1 day'
        group by symbol order by move desc limit 10
    """,
    "bars of a day with unusual volume": """
        select symbol, timestamp, volume, volume_spike_score from marts.market_data_v2
        where timeframe = '5m' and volume_anomaly and timestamp >= %(day)s and timestamp < %(day)s + interval '1 day'
    """,
    "what was corrected of a series": """
        select * from marts.data_corrections where symbol = %(symbol)s
    """,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1.0, help="a share of the bars")
    parser.add_argument("--output", type=Path, default=BENCH)
    chosen = parser.parse_args()
    with temporary_postgres() as server, tempfile.TemporaryDirectory() as directory:
        warehouse = Warehouse(Database(server, "bench"), Project.copy(ROOT, Path(directory) / "project"))
        filled(warehouse, int(BARS * chosen.scale))
        record("questions", asked(warehouse), chosen.output)


def asked(warehouse: Warehouse) -> dict[str, dict[str, float]]:
    """Milliseconds of each question, and the rows of its last answer."""
    chance = random.Random(7)
    found = {}
    with psycopg.connect(warehouse.database.dsn) as connection:
        row = connection.execute(
            "select min(timestamp), max(timestamp), count(*) from marts.market_data_v2 where timeframe = '5m'"
        ).fetchone()
        assert row is not None
        oldest, newest, bars = row
        for name, question in QUESTIONS.items():
            times, rows = [], 0
            for _ in range(TIMES + 1):
                day: datetime = oldest + (newest - oldest) * chance.random() * 0.9
                values = {"symbol": symbol(chance.randrange(SYMBOLS)), "day": day, "end": newest + timedelta(minutes=5)}
                started = time.perf_counter()
                rows = len(connection.execute(question.encode(), values).fetchall())
                times.append(time.perf_counter() - started)
            # The first one plans and opens files.
            cuts = statistics.quantiles(times[1:], n=20)
            found[name] = {"p50 ms": cuts[9] * 1000, "p95 ms": cuts[18] * 1000, "rows": rows}
    return found | {"all": {"bars": bars}}


if __name__ == "__main__":
    main()
