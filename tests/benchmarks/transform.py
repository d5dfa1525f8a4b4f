"""Speed of the transform side, as ratios of one run. `python -m tests.benchmarks.transform [--part NAME] [--rounds 5]`

- `compute`: the features of 100k 5m bars of one symbol in one backend (goal <= 1.0 s, then 0.5 s), against the same
  formulas as naive float windows, and in pandas, polars and DuckDB on bars that are already in their memory.
- `through`: from bars in Postgres to rows in Postgres: the models from int_recompute_ranges to market_data, against the usual
  way, pandas in between and an upsert into a table with an index for each query (goal >= 5x faster); and against the
  write floor, the same rows copied into a table with the same indexes (goal <= 1.5).
- `symbols`: the same models for 1, 10, 50 and 200 symbols: microseconds a bar.
- `slope`: what a build costs in a warehouse of 1M and in one of 5M bars of 50 symbols, taking turns: one day of new
  bars, 1 % of a day amended (both goals <= 1.2x), nothing new; in it the history and data_corrections (goal: the same);
  1 % of all bars amended; and the past of one series (goal < 1 s for 100k bars). Takes an hour; `--small` a tenth of it.

Bars are synthetic. Every figure is a median of alternating rounds. Results go to bench.json under `transform`, and as a
table to the terminal.
"""

from __future__ import annotations

import argparse
import io
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psycopg

from scripts.postgres import Server, temporary_postgres
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
# A table with an index for each query, with the types that hold real data and the six features
# that its DDL forgot.
PLAN_TABLE = """
create table plan (
    id bigserial primary key,
    symbol varchar(20) not null, asset_class varchar(10) not null, timeframe varchar(10) not null,
    timestamp timestamptz not null,
    open decimal(19, 10), high decimal(19, 10), low decimal(19, 10), close decimal(19, 10), volume decimal(28, 8),
    open_interest decimal(28, 8), funding_rate decimal(11, 8), liquidations_long decimal(28, 8),
    liquidations_short decimal(28, 8), taker_buy_volume decimal(28, 8), taker_sell_volume decimal(28, 8),
    return_1h decimal(11, 8), return_1d decimal(11, 8), volatility_20 decimal(11, 8), volatility_50 decimal(11, 8),
    atr decimal(19, 10), trend_direction varchar(10), market_structure varchar(20), rolling_volume_20 decimal(28, 8),
    log_return decimal(11, 8), true_range decimal(19, 10), hlc3 decimal(19, 10), sma_20 decimal(19, 10),
    sma_50 decimal(19, 10), vwap_20 decimal(19, 10),
    delta decimal(28, 8), buy_sell_ratio decimal(11, 8), liquidation_intensity decimal(19, 8),
    volume_spike_score decimal(19, 8), long_short_ratio decimal(11, 8), funding_rate_percentile decimal(5, 2),
    exchange_inflow decimal(28, 8), open_interest_change decimal(11, 8),
    source varchar(20), is_validated boolean default false, quality_score decimal(3, 2), validation_notes text,
    gap_detected boolean default false, volume_anomaly boolean default false, data_completeness decimal(3, 2),
    fetched_at timestamptz default now(), computed_at timestamptz default now(), updated_at timestamptz default now(),
    unique (symbol, asset_class, timeframe, timestamp)
);
create index on plan (symbol, asset_class, timeframe, timestamp desc);
create index on plan (timestamp desc);
create index on plan (is_validated) where is_validated = true;
create index on plan (source);
create index on plan (symbol, timestamp desc)
"""
PLAN_RAW = (
    "symbol", "asset_class", "timeframe", "timestamp", "open", "high", "low", "close", "volume", "open_interest",
    "funding_rate", "liquidations_long", "liquidations_short", "taker_buy_volume", "source", "fetched_at",
)  # fmt: skip
PLAN_VERDICT = (
    "is_validated", "quality_score", "validation_notes", "gap_detected", "volume_anomaly", "data_completeness",
)  # fmt: skip
FEATURES = (
    "return_1h", "return_1d", "log_return", "volatility_20", "volatility_50", "true_range", "atr", "hlc3", "sma_20",
    "sma_50", "vwap_20", "trend_direction", "market_structure", "rolling_volume_20", "volume_spike_score",
)  # fmt: skip
CRYPTO_FEATURES = (
    "taker_sell_volume", "delta", "buy_sell_ratio", "liquidation_intensity", "long_short_ratio",
    "funding_rate_percentile", "exchange_inflow", "open_interest_change",
)  # fmt: skip

# What one would write first: float windows, a simple mean for ATR. 15 of the features; the others are joins.
NAIVE_SQL = """
with bars as (
    select symbol, timestamp, session_date, cast(open as float8) as o, cast(high as float8) as h,
        cast(low as float8) as l, cast(close as float8) as c, cast(volume as float8) as v
    from marts.market_data_v2 where timeframe = '5m'
),
lagged as (
    select *, lag(c) over w as pc, ln(c / lag(c) over w) as lr, (h + l + c) / 3 as hlc3, lag(o, 11) over w as ho
    from bars window w as (partition by symbol order by timestamp)
),
ranged as (
    select *, greatest(h, pc) - least(l, pc) as tr,
        first_value(pc) over (partition by symbol, session_date order by timestamp) as ps
    from lagged
)
select symbol, timestamp, c / ho - 1 as return_1h, c / ps - 1 as return_1d, lr, hlc3, tr,
    stddev_samp(lr) over w20 as volatility_20, stddev_samp(lr) over w50 as volatility_50, avg(tr) over w14 as atr,
    avg(c) over w20 as sma_20, avg(c) over w50 as sma_50, sum(hlc3 * v) over w20 / sum(v) over w20 as vwap_20,
    case when c > avg(c) over w20 and avg(c) over w20 > avg(c) over w50 then 'up' else 'down' end as trend_direction,
    max(hlc3) over w10 as highest, min(hlc3) over w10 as lowest, sum(v) over w20 as rolling_volume_20,
    (v - avg(v) over p20) / nullif(stddev_samp(v) over p20, 0) as volume_spike_score
from ranged
window
    w10 as (partition by symbol order by timestamp rows 9 preceding),
    w14 as (partition by symbol order by timestamp rows 13 preceding),
    w20 as (partition by symbol order by timestamp rows 19 preceding),
    w50 as (partition by symbol order by timestamp rows 49 preceding),
    p20 as (partition by symbol order by timestamp rows between 20 preceding and 1 preceding)
"""


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


def read_bars(warehouse: Warehouse, timeframe: str = "5m") -> pd.DataFrame:
    """The bars by COPY, as floats: the fastest way into pandas."""
    with psycopg.connect(warehouse.database.dsn) as connection, connection.cursor() as cursor:
        statement = (
            f"copy (select {', '.join(PLAN_RAW)}, session_date from marts.market_data_v2"
            f" where timeframe = '{timeframe}' order by symbol, timestamp) to stdout (format csv, header)"
        )
        with cursor.copy(statement.encode()) as copy:
            return pd.read_csv(io.BytesIO(b"".join(bytes(part) for part in copy)), parse_dates=["timestamp"])


def pandas_features(frame: pd.DataFrame) -> pd.DataFrame:
    """The price features as pandas computes them: rolling windows per symbol."""
    out = []
    for _, bars in frame.groupby("symbol", sort=False):
        close, volume = bars["close"], bars["volume"]
        hlc3 = (bars["high"] + bars["low"] + close) / 3
        returns = np.log(close).diff()
        before = close.shift()
        ranges = np.maximum(bars["high"], before) - np.minimum(bars["low"], before)
        sma_20, sma_50 = close.rolling(20).mean(), close.rolling(50).mean()
        highest, lowest = hlc3.rolling(10).max(), hlc3.rolling(10).min()
        higher = (highest > highest.shift(10)) & (lowest > lowest.shift(10))
        lower = (highest < highest.shift(10)) & (lowest < lowest.shift(10))
        sessions = bars.groupby("session_date")["close"].last().shift()
        out.append(
            bars.assign(
                return_1h=close / bars["open"].shift(11) - 1,
                return_1d=close / bars["session_date"].map(sessions) - 1,
                log_return=returns,
                volatility_20=returns.rolling(20).std(),
                volatility_50=returns.rolling(50).std(),
                true_range=ranges,
                atr=ranges.ewm(alpha=1 / 14, adjust=False).mean(),
                hlc3=hlc3,
                sma_20=sma_20,
                sma_50=sma_50,
                vwap_20=(hlc3 * volume).rolling(20).sum() / volume.rolling(20).sum(),
                trend_direction=np.select(
                    [(close > sma_20) & (sma_20 > sma_50), (close < sma_20) & (sma_20 < sma_50)],
                    ["up", "down"],
                    "neutral",
                ),
                market_structure=np.select([higher, lower], ["bullish", "bearish"], "range"),
                rolling_volume_20=volume.rolling(20).sum(),
                volume_spike_score=(volume - volume.rolling(20).mean().shift()) / volume.rolling(20).std().shift(),
            )
        )
    return pd.concat(out)


def polars_features(frame: Any) -> Any:
    """The moving sums, means and deviations in polars: fewer features than ours, so its time is a lower bound."""
    import polars as pl

    close, volume = pl.col("close"), pl.col("volume")
    hlc3 = (pl.col("high") + pl.col("low") + close) / 3
    returns = close.log().diff()
    columns = {
        "log_return": returns,
        "volatility_20": returns.rolling_std(20),
        "volatility_50": returns.rolling_std(50),
        "sma_20": close.rolling_mean(20),
        "sma_50": close.rolling_mean(50),
        "vwap_20": (hlc3 * volume).rolling_sum(20) / volume.rolling_sum(20),
        "highest": hlc3.rolling_max(10),
        "lowest": hlc3.rolling_min(10),
        "rolling_volume_20": volume.rolling_sum(20),
        "volume_spike_score": (volume - volume.rolling_mean(20).shift()) / volume.rolling_std(20).shift(),
    }
    return frame.with_columns(**{name: column.over("symbol") for name, column in columns.items()})


def pandas_row(frame: pd.DataFrame) -> pd.DataFrame:
    """The rest of the row: crypto features and the verdict; the bench has no derivatives data, so those are NULL."""
    buy, volume = frame["taker_buy_volume"], frame["volume"]
    # Of the bar itself: four prices, volume, both taker volumes. Samples count from their first one on, and there is none.
    own = frame[["open", "high", "low", "close", "volume"]].notna().sum(axis=1) + 2 * buy.notna()
    complete = (own / 7).round(2)
    score = (0.4 * own / 7 + 0.3 + 0.2 + 0.1).round(2)
    return frame.assign(
        taker_sell_volume=volume - buy,
        delta=2 * buy - volume,
        buy_sell_ratio=buy / volume.where(volume > 0),
        liquidation_intensity=(frame["liquidations_long"] + frame["liquidations_short"]) / volume.where(volume > 0),
        long_short_ratio=np.nan,
        funding_rate_percentile=np.nan,
        exchange_inflow=np.nan,
        open_interest_change=frame["open_interest"].pct_change(fill_method=None),
        is_validated=(frame["low"] > 0)
        & (frame["high"] >= frame["low"])
        & (volume >= 0)
        & (score >= 0.85)
        & (complete >= 0.95),
        quality_score=score,
        validation_notes=None,
        gap_detected=False,
        volume_anomaly=frame["volume_spike_score"].abs() > 5,
        data_completeness=complete,
    )


def upsert(warehouse: Warehouse, frame: pd.DataFrame) -> None:
    """COPY into a staging table, then insert .. on conflict update: the usual way of writing."""
    names = [*PLAN_RAW, *FEATURES, *CRYPTO_FEATURES, *PLAN_VERDICT]
    columns = ", ".join(names)
    text = frame[names].to_csv(index=False, header=False)
    with psycopg.connect(warehouse.database.dsn) as connection, connection.cursor() as cursor:
        cursor.execute(f"create temporary table incoming on commit drop as select {columns} from plan limit 0".encode())
        with cursor.copy("copy incoming from stdin (format csv)") as copy:
            copy.write(text)
        updates = ", ".join(f"{name} = excluded.{name}" for name in names[4:])
        cursor.execute(
            f"insert into plan ({columns}) select {columns} from incoming"
            f" on conflict (symbol, asset_class, timeframe, timestamp) do update set {updates}, updated_at = now()".encode()
        )


def compute(rounds: int, scale: float) -> dict[str, float]:
    import duckdb
    import polars as pl

    bars = int(100_000 * scale)
    with temporary_postgres() as server, filled(1, bars, server) as warehouse:
        frame = read_bars(warehouse)
        polars_frame = pl.from_pandas(frame)
        duck = duckdb.connect()
        duck.register("frame", frame)
        duck.execute("create schema marts; create table marts.market_data_v2 as select * from frame; set threads = 1")
        # The other six timeframes come out of the same bars: the peers do not compute them, so here neither do we.
        warehouse.execute("delete from intermediate.int_bars_to_compute where step_minutes <> 5")
        warehouse.execute("vacuum analyze intermediate.int_bars_to_compute")
        works = {
            "price_features": lambda: sql_seconds(warehouse, "select * from intermediate.int_price_features"),
            "all_features": lambda: sql_seconds(warehouse, "select * from intermediate.int_features"),
            "naive_sql": lambda: sql_seconds(warehouse, NAIVE_SQL),
            "pandas": lambda: seconds(lambda: pandas_features(frame)),
            "polars": lambda: seconds(lambda: polars_features(polars_frame)),
            "duckdb": lambda: seconds(lambda: duck.execute(NAIVE_SQL).to_arrow_table()),
        }
        found = alternating(rounds, works)
    per_100k = {f"{name}_s_per_100k": value / scale for name, value in found.items()}
    return per_100k | {"naive_over_ours": found["naive_sql"] / found["price_features"]}


def through(rounds: int, scale: float) -> dict[str, float]:
    with temporary_postgres() as server, filled(10, int(20_000 * scale), server) as warehouse:
        found_timeframes = warehouse.query("select distinct timeframe from marts.market_data_v2")
        # The mart's own indexes, under names of Postgres' choice.
        indexes = warehouse.query(
            "select regexp_replace(indexdef, 'INDEX .* ON marts.market_data_v2', 'INDEX ON floor') as ddl"
            " from pg_indexes where schemaname = 'marts' and tablename = 'market_data_v2'"
        )

        def planned_way() -> float:
            warehouse.execute(f"drop table if exists plan; {PLAN_TABLE}")
            started = time.perf_counter()
            for row in found_timeframes:
                upsert(warehouse, pandas_row(pandas_features(read_bars(warehouse, row["timeframe"]))))
            return time.perf_counter() - started

        def floor() -> float:
            warehouse.execute("drop table if exists floor")
            statements = ["create table floor (like marts.market_data_v2)", *(row["ddl"] for row in indexes)]
            statements.append("insert into floor select * from marts.market_data_v2")
            return seconds(lambda: warehouse.execute("; ".join(statements)))

        found = alternating(
            rounds,
            {
                "ours": lambda: model_seconds(warehouse, "int_recompute_ranges+,+market_data_v2", full_refresh=True),
                "pandas_upsert": planned_way,
                "write_floor": floor,
            },
        )
        rows = warehouse.query("select count(*) as n from marts.market_data_v2")[0]["n"]
    return {f"{name}_s": value for name, value in found.items()} | {
        "rows": rows,
        "pandas_over_ours": found["pandas_upsert"] / found["ours"],
        "ours_over_write_floor": found["ours"] / found["write_floor"],
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


PARTS = {"compute": compute, "through": through, "symbols": symbols, "slope": slope}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=PARTS, action="append", help="only this one; repeatable")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--small", action="store_true", help="a tenth of the bars")
    parser.add_argument("--output", type=Path, default=BENCH)
    chosen = parser.parse_args()
    found = {name: PARTS[name](chosen.rounds, 0.1 if chosen.small else 1.0) for name in chosen.part or PARTS}
    record("transform", found, chosen.output)


if __name__ == "__main__":
    main()
