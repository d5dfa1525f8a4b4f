"""Speed and memory of the extract side, as ratios of one run. `python -m tests.extract.benchmark [--part NAME]`

- `rows`: rows per CPU-second of `market backfill`, against a bare orjson + psycopg COPY of the same Polygon answers.
- `memory`: peak resident memory of a process that loads 50 symbols x 100k bars (goal < 500 MB).
- `year`: wall time of 100 symbols x 365 days of 5m bars (goal < 600 s).
- `no_change`: a run of 100 series without news: requests, and seconds from its last answer to its end (goal < 3 s).

The simulator runs in a process of its own and answers without delay. CPU time is this process's, without the server's.
Results go to bench.json under `extract`, and as tables to the terminal.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import orjson
import psycopg
import requests

from extract.commands import backfill, extraction
from extract.core import settings
from extract.symbols.registry import columns
from scripts.postgres import temporary_postgres
from scripts.simulator import Simulator, running
from tests.benchmarks.results import BENCH, record

CLOCK = "2026-01-02T00:00:00Z"
END = datetime(2026, 1, 1, tzinfo=UTC)
BAR = timedelta(minutes=5)


def cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


@contextmanager
def market(symbols: int, timeframe: str = "5m") -> Iterator[tuple[str, Simulator]]:
    """An empty warehouse, a simulator, and a registry of so many coins that Polygon alone has."""
    with ExitStack() as stack:
        server = stack.enter_context(temporary_postgres())
        simulator = stack.enter_context(running("load", CLOCK, process=True))
        directory = Path(stack.enter_context(TemporaryDirectory()))
        assets = directory / settings.ASSETS
        assets.parent.mkdir(parents=True)
        rows = (
            f"SYM{number:03d},crypto,{timeframe},X:SYM{number:03d}USD,,,,,24/7,,,polygon,true"
            for number in range(symbols)
        )
        assets.write_text("\n".join([",".join(columns()), *rows, ""]))
        home = Path.cwd()
        os.chdir(directory)
        stack.callback(os.chdir, home)
        os.environ.update({**server.environment(), **simulator.environment()})
        yield server.dsn(), simulator


def rows_per_cpu_second(symbols: int, bars: int) -> dict[str, float]:
    """Ours against the floor, on the same windows; each warmed up by a first symbol."""
    with market(symbols + 1) as (dsn, simulator):
        start = END - bars * BAR
        names = [f"SYM{number:03d}" for number in range(symbols + 1)]
        backfill.backfill(start, END, symbols=names[:1])
        began, clock = cpu(), time.perf_counter()
        backfill.backfill(start, END, symbols=names[1:])
        ours, wall = cpu() - began, time.perf_counter() - clock
        floor = _floor(dsn, simulator, names[:1], start)
        floor = _floor(dsn, simulator, names[1:], start)
        rows = symbols * bars
        return {
            "rows": rows,
            "rows_per_cpu_second": round(rows / ours),
            "floor_rows_per_cpu_second": round(rows / floor),
            "ratio_to_floor": round(floor / ours, 2),
            "rows_per_second": round(rows / wall),
        }


def _floor(dsn: str, simulator: Simulator, names: list[str], start: datetime) -> float:
    """CPU seconds of HTTP, orjson and one COPY of typed rows per answer."""
    base, began = simulator.environment()["POLYGON_BASE_URL"], cpu()
    with psycopg.connect(dsn) as connection, requests.Session() as session:
        connection.execute(
            "create unlogged table if not exists floor"
            " (symbol text, t bigint, o numeric, h numeric, l numeric, c numeric, v numeric, vw numeric, n bigint)"
        )
        for name in names:
            window = f"{int(start.timestamp() * 1000)}/{int(END.timestamp() * 1000) - 1}"
            url = f"{base}/v2/aggs/ticker/X:{name}USD/range/5/minute/{window}?adjusted=false&sort=asc&limit=50000"
            while url:
                body = orjson.loads(session.get(url, headers={"Authorization": "Bearer simulator"}).content)
                with connection.cursor().copy("copy floor from stdin") as copy:
                    for bar in body["results"]:
                        copy.write_row((name, *(bar[field] for field in ("t", "o", "h", "l", "c", "v", "vw", "n"))))
                connection.commit()
                url = body.get("next_url")
    return cpu() - began


def memory(symbols: int, bars: int) -> dict[str, float]:
    """Peak memory of a process of its own that does nothing but the load."""
    with market(symbols) as (dsn, _):
        start = (END - bars * BAR).isoformat()
        command = [sys.executable, "-m", "scripts.cli", "backfill", "--start", start, "--end", END.isoformat()]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
        began = time.perf_counter()
        child = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
        _, status, used = os.wait4(child.pid, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        with psycopg.connect(dsn) as connection:
            (count,) = connection.execute(
                "select sum(row_count) from raw_polygon.responses where endpoint = 'bars'"
            ).fetchone() or (0,)
        return {
            "bars": int(count),
            "peak_rss_mb": round(used.ru_maxrss / 1024),
            "cpu_seconds": round(used.ru_utime + used.ru_stime, 1),
            "wall_seconds": round(time.perf_counter() - began, 1),
        }


def no_change(symbols: int) -> dict[str, float]:
    """The third run at one instant: nothing can be new."""
    with market(symbols, "1h") as (_, simulator):
        extraction.extract()
        extraction.extract()
        simulator.clear_requests()
        began = time.perf_counter()
        extraction.extract()
        ended = time.time()
        seconds = time.perf_counter() - began
        asked = simulator.requests
        return {
            "series": symbols,
            "requests": len(asked),
            "seconds": round(seconds, 2),
            "seconds_after_last_answer": round(ended - max(one["at"] for one in asked), 2),
        }


# Each by the share of its symbols (and of its bars, where a goal is about many).
PARTS: dict[str, Callable[[float], dict[str, float]]] = {
    "rows": lambda scale: rows_per_cpu_second(10, int(100_000 * scale)),
    "memory": lambda scale: memory(50, int(100_000 * scale)),
    "year": lambda scale: memory(100, int(365 * 288 * scale)),
    "no_change": lambda scale: no_change(int(100 * scale)),
}


def measure(part: str, scale: float) -> dict[str, float]:
    return PARTS[part](scale)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=PARTS, action="append", help="only this one; repeatable")
    parser.add_argument("--small", action="store_true", help="a tenth of the bars, or of the series")
    parser.add_argument("--output", type=Path, default=BENCH)
    chosen = parser.parse_args()
    for part in chosen.part or PARTS:
        # Settings and pool belong to one warehouse, so each part is a process of its own.
        with ProcessPoolExecutor(1, get_context("spawn")) as process:
            found = process.submit(measure, part, 0.1 if chosen.small else 1.0).result()
        record("extract", {part: found}, chosen.output)


if __name__ == "__main__":
    main()
