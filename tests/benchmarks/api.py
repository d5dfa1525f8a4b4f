"""Latency of the HTTP API under load. `python -m tests.benchmarks.api [--clients 16] [--seconds 10] [--small]`

So many clients ask `market serve` (one process) over 1M 5m bars of 50 coins, each question for some seconds, one after
the other on kept connections. Goals: p95 < 100 ms for status, quality and metrics, < 250 ms for 1000 bars with all
features. Clients, server and Postgres share the machine's cores. Bars are one built stretch repeated into the past.
Then bars() reads all of them as one frame, straight from the database, in turns with the floor (the same select through the
same driver, nothing done with it) and with the usual way (`pandas.read_sql`, decimals to floats). Results go to bench.json
under `api` and `frames`, and as tables to the terminal.
"""

from __future__ import annotations

import argparse
import http.client
import json
import statistics
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import adbc_driver_postgresql.dbapi as adbc
import pandas as pd
import psycopg

from market_warehouse import bars
from scripts.postgres import temporary_postgres
from tests.benchmarks.transform import ROOT, load, symbol
from tests.scripts.conftest import serving
from tests.warehouse import Database, Project, Warehouse, crypto

SYMBOLS, BUILT_BARS, FRAME_ROUNDS = 50, 400, 3
OHLCV = ("open", "high", "low", "close", "volume")
ORDERED = "from marts.market_data_v2 where timeframe = '5m' order by symbol, timestamp"
DATA = f"/api/v1/data/{symbol(7)}?timeframe=5m"
QUESTIONS = {
    "status": (f"/api/v1/enrichment/status/{symbol(7)}", 100),
    "quality": (f"/api/v1/data/quality/{symbol(7)}", 100),
    "metrics": ("/api/v1/enrichment/metrics", 100),
    "1000 bars, all columns": (f"{DATA}&limit=1000", 250),
    "1000 bars, 5 columns": (f"{DATA}&limit=1000&columns=open,high,low,close,volume", 250),
    "304 (known answer)": (f"{DATA}&limit=1000", 100),
}

# Each copy lies one stretch earlier.
REPEAT = """
insert into marts.market_data_v2
select copied.*
from generate_series(1, {copies}) as copies (n)
cross join lateral (
    select
        (jsonb_populate_record(
            bars,
            jsonb_build_object(
                'id', bars.id - copies.n * 1000000007::bigint,
                'timestamp', bars.timestamp - copies.n * {bars} * interval '5 minutes'
            )
        )).*
    from marts.market_data_v2 as bars
    where bars.timeframe = '5m'
) as copied
"""


def filled(warehouse: Warehouse, bars: int) -> None:
    """So many 5m bars of each symbol, the newest of them built by dbt."""
    warehouse.reset()
    warehouse.assets([crypto(symbol(n), "5m", polygon="", yahoo="", coinmetrics="") for n in range(SYMBOLS)])
    load(warehouse, SYMBOLS, 0, BUILT_BARS)
    warehouse.build()
    warehouse.execute(REPEAT.format(copies=bars // BUILT_BARS - 1, bars=BUILT_BARS))
    warehouse.execute("vacuum analyze")


def asked(url: str, path: str, clients: int, seconds: float, headers: dict[str, str]) -> list[float]:
    """The seconds that each answer took, of all clients."""
    host = urlsplit(url).netloc
    until = time.perf_counter() + seconds
    times: list[float] = []

    def client() -> None:
        connection = http.client.HTTPConnection(host)
        while (started := time.perf_counter()) < until:
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            answer.read()
            assert answer.status in (200, 304), answer.status
            times.append(time.perf_counter() - started)

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return times


def measured(url: str, clients: int, seconds: float) -> dict[str, dict[str, float]]:
    found = {}
    for name, (path, goal) in QUESTIONS.items():
        headers = {}
        if name.startswith("304"):
            connection = http.client.HTTPConnection(urlsplit(url).netloc)
            connection.request("GET", path)
            headers = {"If-None-Match": connection.getresponse().headers["ETag"]}
        asked(url, path, clients, 1, headers)
        times = asked(url, path, clients, seconds, headers)
        cuts = statistics.quantiles(times, n=20)
        found[name] = {
            "p50_ms": cuts[9] * 1000, "p95_ms": cuts[18] * 1000, "goal_ms": goal, "per_second": len(times) / seconds,
        }  # fmt: skip
    return found


def bare(url: str) -> int:
    """The floor of a frame: the select alone, through the driver that bars() uses."""
    casts = ", ".join(f"cast({name} as double precision) as {name}" for name in OHLCV)
    with adbc.connect(url, autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute(f"select symbol, timestamp, {casts} {ORDERED}")
        return len(cursor.fetch_arrow_table())


def usual(url: str) -> int:
    """What one would write without bars()."""
    with psycopg.connect(url) as connection, warnings.catch_warnings():
        # Of SQLAlchemy, which is no faster.
        warnings.simplefilter("ignore", UserWarning)
        frame = pd.read_sql(f"select symbol, timestamp, {', '.join(OHLCV)} {ORDERED}", connection)
    return len(frame.astype(dict.fromkeys(OHLCV, "float64")).set_index(["symbol", "timestamp"]))


def framed(url: str) -> dict[str, dict[str, float]]:
    """The seconds that each way to a frame of everything takes, and their ratio to the floor: medians of rounds in turns,
    after one that imports libraries and warms caches. The usual way, which takes long, has one round."""
    names = [symbol(number) for number in range(SYMBOLS)]
    questions: dict[str, dict[str, Any]] = {
        "pandas, open to volume": {},
        "polars, open to volume": {"frame": "polars"},
        "pandas, in today's shares": {"adjusted": True},
        "arrow, exact decimals": {"frame": "arrow", "numbers": "decimal"},
        "arrow, all columns": {"frame": "arrow", "columns": "all"},
    }
    ways: dict[str, Callable[[], int]] = {"floor: the select alone": partial(bare, url)}
    for name, asked in questions.items():
        ways[name] = partial(lambda asked: len(bars(names, "5m", url=url, **asked)), asked)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    rows = 0
    for number in range(FRAME_ROUNDS + 1):
        for name, way in ways.items():
            started = time.perf_counter()
            rows = way()
            if number:
                seconds[name].append(time.perf_counter() - started)
    started = time.perf_counter()
    usual(url)
    seconds["usual: pandas.read_sql"] = [time.perf_counter() - started]
    middle = {name: statistics.median(taken) for name, taken in seconds.items()}
    floor = middle["floor: the select alone"]
    return {name: {"rows": rows, "seconds": taken, "of the floor": taken / floor} for name, taken in middle.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=10, help="for each question")
    parser.add_argument("--small", action="store_true", help="a tenth of the bars")
    parser.add_argument("--output", type=Path, default=ROOT / "bench.json")
    chosen = parser.parse_args()
    with temporary_postgres() as server, tempfile.TemporaryDirectory() as directory:
        warehouse = Warehouse(Database(server, "bench"), Project.copy(ROOT, Path(directory) / "project"))
        filled(warehouse, 2_000 if chosen.small else 20_000)
        with serving(warehouse.database, Path(directory)) as api:
            found = measured(api.url, chosen.clients, chosen.seconds)
        frames = framed(warehouse.database.dsn)
    document = json.loads(chosen.output.read_text()) if chosen.output.exists() else {}
    document |= {"api": found, "frames": frames}
    chosen.output.write_text(json.dumps(document, indent=2) + "\n")
    lines = ["| question | p50 ms | p95 ms | goal | answers/s |", "|---|---|---|---|---|"]
    lines += [
        f"| {name} | {row['p50_ms']:.0f} | {row['p95_ms']:.0f} | {row['goal_ms']:.0f} | {row['per_second']:.0f} |"
        for name, row in found.items()
    ]
    lines += ["", "| bars() | bars | s | of the floor |", "|---|---|---|---|"]
    lines += [
        f"| {name} | {row['rows']:,} | {row['seconds']:.1f} | {row['of the floor']:.1f} |"
        for name, row in frames.items()
    ]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
