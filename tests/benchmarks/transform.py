"""Speed of the transform side, as ratios of one run. `python -m tests.benchmarks.transform [--part NAME] [--rounds 5]`

- `compute`: the features of 100k 5m bars of one symbol in one backend (goal <= 1.0 s, then 0.5 s), against the same
  formulas as naive float windows, and in pandas, polars and DuckDB on bars that are already in their memory.
- `through`: from bars in Postgres to rows in Postgres: the models from int_recompute_ranges to market_data, against others'
  ways (peers.py; goal against polars >= 1x on 2 cores, >= 1.5x on 4) and against the write floor, the same rows copied into a
  table with the same indexes.
- `symbols`: the same models for 1, 10, 50 and 200 symbols: microseconds a bar.
- `full`: a build of all models from raw answers, microseconds a row of the mart, at 0.7M and 5M rows (goal <= 60).
- `slope`: what a build costs in a warehouse of 1M and in one of 5M bars of 50 symbols, taking turns: one day of new
  bars, 1 % of a day amended (both goals <= 1.2x), nothing new; in it the history and data_corrections (goal: the same);
  1 % of all bars amended; and the past of one series (goal < 1 s for 100k bars). Takes an hour; `--scale 0.1` a tenth of it.

Bars are synthetic. Every figure is a median of alternating rounds. Results go to bench.json under `transform`, and as a
table to the terminal.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psycopg

from scripts.postgres import Server, temporary_postgres
from tests.benchmarks import peers
from tests.benchmarks.results import BENCH, record
from tests.warehouse import Answer, Database, Project, Warehouse, crypto

ROOT = Path(__file__).resolve().parents[2]
START = datetime(2024, 1, 1, tzinfo=UTC)
STEP = timedelta(minutes=5)
BARS_AN_ANSWER = 1000
DAY = 288
# Every reader of the news: one that is left out has all of it read again each time.
EVERY_DAY = "+data_corrections int_bars_in_progress rejected_bars"
MART_MODELS = (
    "int_recompute_ranges",
    "int_bars_to_compute",
    "int_futures_as_of",
    "int_liquidations_by_bar",
    "market_data_v2",
)
HISTORY_MODELS = {"mart": "market_data_v2", "history": "market_data_history", "corrections": "data_corrections"}


def symbol(number: int) -> str:
    return f"SYM{number:03d}"


def klines(number: int, first: int, count: int) -> list[list[Any]]:
    """Rows `first` to `first + count` of a symbol's random walk, as Binance sends them; the same however cut."""
    # A generator each, or the length of one would shift the others.
    steps, wicks, sizes = (np.random.default_rng([number, stream]) for stream in range(3))
    closes = np.round(100 * np.exp(np.cumsum(steps.normal(0, 0.001, first + count))), 2)
    opens = np.concatenate([[100.0], closes[:-1]])
    wick = np.round(np.abs(wicks.normal(0, 0.05, first + count)), 2)
    volumes = np.round(sizes.lognormal(3, 1, first + count), 3)
    stamps = int(START.timestamp()) * 1000 + 300_000 * np.arange(first + count)
    high, low = np.maximum(opens, closes) + wick, np.minimum(opens, closes) - wick
    return [
        [
            int(stamps[n]), f"{opens[n]:.8f}", f"{high[n]:.8f}", f"{low[n]:.8f}", f"{closes[n]:.8f}",
            f"{volumes[n]:.8f}", int(stamps[n]) + 299_999, "0", 1, f"{volumes[n] / 2:.8f}", "0", "0",
        ]
        for n in range(first, first + count)
    ]  # fmt: skip


def load(warehouse: Warehouse, symbols: int, first: int, count: int) -> None:
    """Bars `first` to `first + count` of each symbol as one load, in answers of the size Binance gives."""
    warehouse.now = START + (first + count) * STEP
    answers = []
    for number in range(symbols):
        rows = klines(number, first, count)
        for at in range(0, count, BARS_AN_ANSWER):
            opened = START + (first + at) * STEP
            window = (opened, opened + len(rows[at : at + BARS_AN_ANSWER]) * STEP)
            answers.append(Answer("bars", symbol(number), rows[at : at + BARS_AN_ANSWER], "5m", window))
    warehouse.load("binance", *answers)


@contextmanager
def filled(
    symbols: int, bars: int, server: Server, name: str = "bench", models: str = "+market_data_v2"
) -> Iterator[Warehouse]:
    """A warehouse that holds so many 5m bars of so many coins, built once."""
    with tempfile.TemporaryDirectory() as directory:
        warehouse = Warehouse(Database(server, name), Project.copy(ROOT, Path(directory) / "project"))
        warehouse.reset()
        warehouse.assets([crypto(symbol(n), "5m", polygon="", yahoo="", coinmetrics="") for n in range(symbols)])
        load(warehouse, symbols, 0, bars)
        warehouse.build(models)
        warehouse.execute("vacuum analyze")
        yield warehouse


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def alternating(rounds: int, works: dict[str, Callable[[], float]]) -> dict[str, float]:
    """Each work's median over so many rounds in which all take turns, so that a busy moment hits all of them."""
    measured: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            measured[name].append(work())
    return {name: statistics.median(times) for name, times in measured.items()}


def sql_seconds(warehouse: Warehouse, statement: str) -> float:
    """Execution time of a query in one backend, its rows thrown away."""
    with psycopg.connect(warehouse.database.dsn) as connection:
        connection.execute("set max_parallel_workers_per_gather = 0")
        plan = connection.execute(
            f"explain (analyze, timing off, buffers off, format json) {statement}".encode()
        ).fetchone()
        assert plan is not None
        return float(plan[0][0]["Execution Time"]) / 1000


def model_seconds(warehouse: Warehouse, select: str, full_refresh: bool = False) -> float:
    """What dbt says its nodes took, one after the other."""
    warehouse.build(select, full_refresh=full_refresh)
    return sum(warehouse.seconds[name] for name in MART_MODELS if name in warehouse.seconds)


def compute(rounds: int, scale: float) -> dict[str, float]:
    import duckdb
    import polars as pl

    bars = int(100_000 * scale)
    with temporary_postgres() as server, filled(1, bars, server) as warehouse:
        frame = peers.read_bars(warehouse)
        polars_frame = pl.from_pandas(frame)
        naive = peers.naive_features("marts.market_data_v2")
        duck = duckdb.connect()
        duck.register("frame", frame)
        duck.execute("create schema marts; create table marts.market_data_v2 as select * from frame; set threads = 1")
        # The other six timeframes come out of the same bars: the peers do not compute them, so here neither do we.
        warehouse.execute("delete from intermediate.int_bars_to_compute where step_minutes <> 5")
        warehouse.execute("vacuum analyze intermediate.int_bars_to_compute")
        works = {
            "price_features": lambda: sql_seconds(warehouse, "select * from intermediate.int_price_features"),
            "all_features": lambda: sql_seconds(warehouse, "select * from intermediate.int_features"),
            "naive_sql": lambda: sql_seconds(warehouse, naive),
            "pandas": lambda: seconds(lambda: peers.pandas_features(frame)),
            "polars": lambda: seconds(lambda: peers.polars_features(polars_frame)),
            "duckdb": lambda: seconds(lambda: duck.execute(naive).to_arrow_table()),
        }
        found = alternating(rounds, works)
    per_100k = {f"{name}_s_per_100k": value / scale for name, value in found.items()}
    return per_100k | {"naive_over_ours": found["naive_sql"] / found["price_features"]}


def through(rounds: int, scale: float) -> dict[str, float]:
    with temporary_postgres() as server, filled(10, int(43_200 * scale), server) as warehouse:

        def floor() -> None:
            peers.make_table(warehouse, "floor")
            warehouse.execute("insert into floor select * from marts.market_data_v2")

        works: dict[str, Callable[[], float]] = {
            "ours": lambda: model_seconds(warehouse, "int_recompute_ranges+,+market_data_v2", full_refresh=True)
        }
        others = {"pandas_upsert": peers.pandas_upsert, "polars_upsert": peers.polars_upsert}
        others |= {"duckdb_insert": peers.duckdb_insert} if peers.duckdb_extension() else {}
        for name, way in {**others, "naive_insert": peers.naive_insert}.items():
            works[name] = partial(lambda way: seconds(lambda: way(warehouse)), way)
        found = alternating(rounds, {**works, "write_floor": lambda: seconds(floor)})
        rows = warehouse.query("select count(*) as n from marts.market_data_v2")[0]["n"]
    return {f"{name}_s": value for name, value in found.items()} | {
        "rows": rows,
        **{f"{name}_over_ours": value / found["ours"] for name, value in found.items() if name != "ours"},
    }


def symbols(rounds: int, scale: float) -> dict[str, float]:
    out = {}
    for count in (1, 10, 50, 200):
        with temporary_postgres() as server, filled(count, int(2_000 * scale), server) as warehouse:
            rows = warehouse.query("select count(*) as n from marts.market_data_v2")[0]["n"]
            found = alternating(
                rounds,
                {"ours": lambda: model_seconds(warehouse, "int_recompute_ranges+,+market_data_v2", full_refresh=True)},
            )
            out[f"us_per_row_{count}_symbols"] = found["ours"] / rows * 1e6
    return out


def full(rounds: int, scale: float) -> dict[str, float]:
    """A build of all models from raw answers, and what of it the dearest take. At 5M rows once: it takes some eight minutes."""
    out: dict[str, float] = {}
    everything = "path:dbt_project/models"
    for size, bars, times in (("0.7m", 8_700, rounds), ("5m", 62_500, 1)):
        with temporary_postgres() as server, filled(50, int(bars * scale), server, models=everything) as warehouse:
            rows = warehouse.query("select count(*) as n from marts.market_data_v2")[0]["n"]
            taken, nodes = [], Counter[str]()
            for _ in range(times):
                taken.append(seconds(lambda: warehouse.build(everything, full_refresh=True, without_staging=True)))
                nodes.update(warehouse.seconds)
            out |= {f"rows_{size}": rows, f"us_per_row_{size}": statistics.median(taken) / rows * 1e6}
            for name, total in nodes.most_common(8):
                out[f"us_per_row_{size}_of_{name}"] = total / times / rows * 1e6
    return out


def slope(rounds: int, scale: float) -> dict[str, float]:
    # Six more timeframes are resampled: 1.0M and 5.1M rows in the mart.
    sizes = {"1m": int(12_500 * scale), "5m": int(62_500 * scale)}
    series = "symbol = 'SYM000' and asset_class = 'crypto' and timeframe = '5m'"
    found: dict[str, list[float]] = {}

    with temporary_postgres() as server, ExitStack() as open_warehouses:
        warehouses = {
            name: open_warehouses.enter_context(filled(50, bars, server, f"bench_{name}", EVERY_DAY))
            for name, bars in sizes.items()
        }

        def build(name: str, what: str) -> None:
            taken = seconds(lambda: warehouses[name].build(EVERY_DAY, without_staging=True))
            found.setdefault(f"{what}_into_{name}_s", []).append(taken)
            for part, model in HISTORY_MODELS.items():
                found.setdefault(f"{what}_{part}_into_{name}_s", []).append(warehouses[name].seconds[model])

        for name, warehouse in warehouses.items():
            found[f"first_history_of_{name}_s"] = [warehouse.seconds["market_data_history"]]
        for number in range(rounds):
            for name, warehouse in warehouses.items():
                load(warehouse, 50, sizes[name] + number * DAY, DAY)
                build(name, "day")
            for name, warehouse in warehouses.items():
                amend(warehouse, 50, sizes[name] + number * DAY, DAY, 100)
                build(name, "amended")
            for name in warehouses:
                build(name, "no_change")
            for name, warehouse in warehouses.items():
                past = f"select * from marts.market_data_as_of(now()) where {series}"
                found.setdefault(f"as_of_{name}_s", []).append(sql_seconds(warehouse, past))
        for name, warehouse in warehouses.items():
            amend(warehouse, 50, 0, sizes[name], 100)
            build(name, "hundredth_of_all")
            changed = warehouse.query(
                "select count(*) as n from snapshots.market_data_history"
                " where dbt_valid_from = (select max(dbt_valid_from) from snapshots.market_data_history)"
            )
            found[f"hundredth_of_all_versions_{name}"] = [changed[0]["n"]]
            rows = warehouse.query("select count(*) as n from marts.market_data_v2")
            found[f"rows_{name}"] = [rows[0]["n"]]
    medians = {name: statistics.median(values) for name, values in found.items()}
    alike = ["day", "amended", *(f"amended_{part}" for part in HISTORY_MODELS)]
    return medians | {
        f"{what}_5m_over_1m": medians[f"{what}_into_5m_s"] / medians[f"{what}_into_1m_s"] for what in alike
    }


def amend(warehouse: Warehouse, symbols: int, first: int, count: int, step: int) -> None:
    """Another volume for every `step`-th of `count` bars from `first` on, of each symbol; answers as a source sends them."""
    answers = []
    for number in range(symbols):
        # Not the same bars of each symbol: a real provider's amendments do not fall together.
        for row in klines(number, first, count)[number % step :: step]:
            opened = datetime.fromtimestamp(row[0] / 1000, UTC)
            amended = [*row[:5], f"{float(row[5]) + 1:.8f}", *row[6:]]
            answers.append(Answer("bars", symbol(number), [amended], "5m", (opened, opened + STEP)))
    warehouse.load("binance", *answers)


PARTS = {"compute": compute, "through": through, "symbols": symbols, "full": full, "slope": slope}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=PARTS, action="append", help="only this one; repeatable")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="a share of the bars")
    parser.add_argument("--output", type=Path, default=BENCH)
    chosen = parser.parse_args()
    found = {name: PARTS[name](chosen.rounds, chosen.scale) for name in chosen.part or PARTS}
    record("transform", found, chosen.output)


if __name__ == "__main__":
    main()
