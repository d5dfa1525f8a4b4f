"""How others would make the mart's rows from bars that are in Postgres, and write them back: the peers of `transform`.

- `pandas_upsert`: rolling windows per symbol, COPY, upsert into a table with an index for each query;
- `polars_upsert`: the same in polars, COPY, upsert into a table with the mart's own columns and indexes;
- `duckdb_insert`: naive float windows in DuckDB, read and written by its Postgres extension, into such a table;
- `naive_insert`: the same windows in Postgres, inserted into such a table.

None is exact, corrects, keeps a history or looks at anything but the price features and a verdict: lower bounds. Here no bar
has a sample of a future, so crypto features that need one are NULL.
"""

from __future__ import annotations

import io
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psycopg

from tests.warehouse import Warehouse

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
RAW = (
    "symbol", "asset_class", "timeframe", "timestamp", "open", "high", "low", "close", "volume", "open_interest",
    "funding_rate", "liquidations_long", "liquidations_short", "taker_buy_volume", "source", "fetched_at",
)  # fmt: skip
VERDICT = (
    "is_validated", "quality_score", "validation_notes", "gap_detected", "volume_anomaly", "data_completeness",
)  # fmt: skip
FEATURES = (
    "return_1h", "return_1d", "log_return", "volatility_20", "volatility_50", "true_range", "atr", "hlc3", "sma_20",
    "sma_50", "vwap_20", "trend_direction", "market_structure", "rolling_volume_20", "volume_spike_score",
)  # fmt: skip
TAKER_FEATURES = ("taker_sell_volume", "delta", "buy_sell_ratio")
FUTURES_FEATURES = (
    "liquidation_intensity", "long_short_ratio", "funding_rate_percentile", "exchange_inflow", "open_interest_change",
)  # fmt: skip
COLUMNS = (*RAW, *FEATURES, *TAKER_FEATURES, *FUTURES_FEATURES, *VERDICT)
KEY = ("symbol", "asset_class", "timeframe", "timestamp")

# What one would write first, in Postgres as in DuckDB: float windows, a simple mean for ATR.
NAIVE_SQL = """
with bars as (
    select symbol, timeframe, timestamp, session_date, cast(open as float8) as o, cast(high as float8) as h,
        cast(low as float8) as l, cast(close as float8) as c, cast(volume as float8) as v{more}
    from {table}{where}
),
lagged as (
    select *, lag(c) over w as pc, ln(c / lag(c) over w) as lr, (h + l + c) / 3 as hlc3, lag(o, 11) over w as ho
    from bars window w as (partition by symbol, timeframe order by timestamp)
),
ranged as (
    select *, greatest(h, pc) - least(l, pc) as tr,
        max(hlc3) over w10 as highest, min(hlc3) over w10 as lowest,
        first_value(pc) over (partition by symbol, timeframe, session_date order by timestamp) as ps
    from lagged
    window w10 as (partition by symbol, timeframe order by timestamp rows 9 preceding)
),
computed as (
    select *, c / ho - 1 as return_1h, c / ps - 1 as return_1d, lr as log_return, tr as true_range,
        stddev_samp(lr) over w20 as volatility_20, stddev_samp(lr) over w50 as volatility_50, avg(tr) over w14 as atr,
        avg(c) over w20 as sma_20, avg(c) over w50 as sma_50, sum(hlc3 * v) over w20 / nullif(sum(v) over w20, 0) as vwap_20,
        case when c > avg(c) over w20 and avg(c) over w20 > avg(c) over w50 then 'up'
            when c < avg(c) over w20 and avg(c) over w20 < avg(c) over w50 then 'down' else 'neutral' end as trend_direction,
        case when highest > lag(highest, 10) over w and lowest > lag(lowest, 10) over w then 'bullish'
            when highest < lag(highest, 10) over w and lowest < lag(lowest, 10) over w then 'bearish'
            else 'range' end as market_structure,
        sum(v) over w20 as rolling_volume_20,
        (v - avg(v) over p20) / nullif(stddev_samp(v) over p20, 0) as volume_spike_score
    from ranged
    window
        w as (partition by symbol, timeframe order by timestamp),
        w14 as (partition by symbol, timeframe order by timestamp rows 13 preceding),
        w20 as (partition by symbol, timeframe order by timestamp rows 19 preceding),
        w50 as (partition by symbol, timeframe order by timestamp rows 49 preceding),
        p20 as (partition by symbol, timeframe order by timestamp rows between 20 preceding and 1 preceding)
)
select {columns} from computed
"""
# The verdict of a bar without samples of a future, as `pandas_row` has it.
_NAIVE_ROW = {
    "taker_sell_volume": "v - cast(taker_buy_volume as float8)",
    "delta": "2 * cast(taker_buy_volume as float8) - v",
    "buy_sell_ratio": "cast(taker_buy_volume as float8) / nullif(v, 0)",
    **dict.fromkeys(FUTURES_FEATURES, "null"),
    "is_validated": "l > 0 and h >= l and v >= 0",
    "quality_score": "1",
    "validation_notes": "null",
    "gap_detected": "false",
    "volume_anomaly": "coalesce(abs(volume_spike_score) > 5, false)",
    "data_completeness": "1",
}


def naive_features(table: str) -> str:
    """The price features of 5m bars of a table."""
    columns = ", ".join(("symbol", "timestamp", *FEATURES))
    return NAIVE_SQL.format(table=table, columns=columns, more="", where=" where timeframe = '5m'")


def naive_rows(table: str) -> str:
    """Whole rows, their columns in the order of COLUMNS."""
    others = [name for name in RAW if name not in ("symbol", "timeframe", "timestamp")]
    columns = ", ".join(f"{_NAIVE_ROW[name]} as {name}" if name in _NAIVE_ROW else name for name in COLUMNS)
    return NAIVE_SQL.format(table=table, columns=columns, more=", " + ", ".join(others), where="")


def read_bars(warehouse: Warehouse, timeframe: str = "5m") -> pd.DataFrame:
    """The bars by COPY, as floats: the fastest way into pandas."""
    return pd.read_csv(io.BytesIO(_copied_out(warehouse, f"timeframe = '{timeframe}'")), parse_dates=["timestamp"])


def _copied_out(warehouse: Warehouse, condition: str) -> bytes:
    with psycopg.connect(warehouse.database.dsn) as connection, connection.cursor() as cursor:
        statement = (
            f"copy (select {', '.join(RAW)}, session_date from marts.market_data_v2"
            f" where {condition} order by symbol, timeframe, timestamp) to stdout (format csv, header)"
        )
        with cursor.copy(statement.encode()) as copy:
            return b"".join(bytes(part) for part in copy)


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


def pandas_upsert(warehouse: Warehouse) -> None:
    """A timeframe at a time: bars out by COPY, pandas, upsert."""
    warehouse.execute(f"drop table if exists plan; {PLAN_TABLE}")
    for row in warehouse.query("select distinct timeframe from marts.market_data_v2"):
        frame = pandas_row(pandas_features(read_bars(warehouse, row["timeframe"])))
        _upsert(warehouse, "plan", frame[list(COLUMNS)].to_csv(index=False, header=False).encode())


def polars_features(frame: Any) -> Any:
    """The price features in polars, as `pandas_features` has them."""
    import polars as pl

    series = ["symbol", "timeframe"]
    close, volume, before = pl.col("close"), pl.col("volume"), pl.col("close").shift()
    hlc3, returns = (pl.col("high") + pl.col("low") + close) / 3, close.log().diff()
    ranges = pl.when(before.is_not_null()).then(pl.max_horizontal("high", before) - pl.min_horizontal("low", before))
    columns = {
        "return_1h": close / pl.col("open").shift(11) - 1,
        "log_return": returns,
        "volatility_20": returns.rolling_std(20),
        "volatility_50": returns.rolling_std(50),
        "true_range": ranges,
        "atr": ranges.ewm_mean(alpha=1 / 14, adjust=False),
        "hlc3": hlc3,
        "sma_20": close.rolling_mean(20),
        "sma_50": close.rolling_mean(50),
        "vwap_20": (hlc3 * volume).rolling_sum(20) / volume.rolling_sum(20),
        "highest": hlc3.rolling_max(10),
        "lowest": hlc3.rolling_min(10),
        "rolling_volume_20": volume.rolling_sum(20),
        "volume_spike_score": (volume - volume.rolling_mean(20).shift()) / volume.rolling_std(20).shift(),
    }
    frame = frame.with_columns(**{name: column.over(series) for name, column in columns.items()})
    sessions = frame.group_by(*series, "session_date", maintain_order=True).agg(pl.col("close").last().alias("last"))
    sessions = sessions.with_columns(last=pl.col("last").shift().over(series))
    frame = frame.join(sessions, on=[*series, "session_date"], how="left", maintain_order="left")
    sma_20, sma_50, high, low = (pl.col(name) for name in ("sma_20", "sma_50", "highest", "lowest"))
    was_high, was_low = high.shift(10).over(series), low.shift(10).over(series)
    return frame.with_columns(
        return_1d=close / pl.col("last") - 1,
        trend_direction=pl.when((close > sma_20) & (sma_20 > sma_50)).then(pl.lit("up"))
        .when((close < sma_20) & (sma_20 < sma_50)).then(pl.lit("down")).otherwise(pl.lit("neutral")),
        market_structure=pl.when((high > was_high) & (low > was_low)).then(pl.lit("bullish"))
        .when((high < was_high) & (low < was_low)).then(pl.lit("bearish")).otherwise(pl.lit("range")),
    )  # fmt: skip


def polars_upsert(warehouse: Warehouse) -> None:
    """All bars out by COPY, polars, upsert into a table with the mart's columns and indexes."""
    import polars as pl

    make_table(warehouse, "peer")
    numbers = dict.fromkeys(RAW[4:14], pl.Float64)
    frame = polars_features(pl.read_csv(io.BytesIO(_copied_out(warehouse, "true")), schema_overrides=numbers))
    buy, volume = pl.col("taker_buy_volume"), pl.col("volume")
    frame = frame.with_columns(
        taker_sell_volume=volume - buy,
        delta=2 * buy - volume,
        buy_sell_ratio=pl.when(volume > 0).then(buy / volume),
        **{name: pl.lit(None) for name in FUTURES_FEATURES},
        is_validated=(pl.col("low") > 0) & (pl.col("high") >= pl.col("low")) & (volume >= 0),
        quality_score=pl.lit(1),
        validation_notes=pl.lit(None),
        gap_detected=pl.lit(False),
        volume_anomaly=(pl.col("volume_spike_score").abs() > 5).fill_null(False),
        data_completeness=pl.lit(1),
    )
    floats = [name for name in frame.columns if frame[name].dtype.is_float()]
    frame = frame.with_columns(pl.when(pl.col(floats).is_finite()).then(pl.col(floats)))
    _upsert(warehouse, "peer", frame.select(COLUMNS).write_csv(include_header=False).encode())


def duckdb_insert(warehouse: Warehouse) -> None:
    """DuckDB reads the mart's bars and writes rows through its Postgres extension."""
    import duckdb

    make_table(warehouse, "peer")
    with duckdb.connect() as duck:
        duck.execute(f"load '{duckdb_extension()}'; attach '{warehouse.database.dsn}' as pg (type postgres)")
        # Read once: the windows below read it several times.
        duck.execute("create temp table bars_read as select * from pg.marts.market_data_v2")
        duck.execute(f"insert into pg.public.peer ({', '.join(COLUMNS)}) {naive_rows('bars_read')}")


def duckdb_extension() -> Path | None:
    """DuckDB's Postgres extension, which no lock file names: `pip install duckdb-extension-postgres-scanner` of the version
    of duckdb. None: it is not installed."""
    spec = find_spec("duckdb_extension_postgres_scanner")
    if spec is None:
        return None
    import duckdb

    found = [
        file for folder in spec.submodule_search_locations or [] for file in Path(folder).rglob("*.duckdb_extension")
    ]
    if [file.parent.name for file in found] != [f"v{duckdb.__version__}"]:
        sys.stderr.write(f"duckdb {duckdb.__version__} has another version of its Postgres extension: left out\n")
        return None
    return found[0]


def naive_insert(warehouse: Warehouse) -> None:
    """The naive windows in one backend, inserted."""
    make_table(warehouse, "peer")
    warehouse.execute(
        "set max_parallel_workers_per_gather = 0;"
        f" insert into peer ({', '.join(COLUMNS)}) {naive_rows('marts.market_data_v2')}"
    )


def make_table(warehouse: Warehouse, name: str) -> None:
    """An empty table with the mart's columns and indexes, without its constraints."""
    # The mart's own indexes, under names of Postgres' choice.
    indexes = warehouse.query(
        f"select regexp_replace(indexdef, 'INDEX .* ON marts.market_data_v2', 'INDEX ON {name}') as ddl"
        " from pg_indexes where schemaname = 'marts' and tablename = 'market_data_v2'"
    )
    statements = [f"drop table if exists {name}", f"create table {name} as select * from marts.market_data_v2 limit 0"]
    warehouse.execute("; ".join([*statements, *(row["ddl"] for row in indexes)]))


def _upsert(warehouse: Warehouse, table: str, text: bytes) -> None:
    """COPY into a staging table, then insert .. on conflict update: the usual way of writing."""
    columns = ", ".join(COLUMNS)
    with psycopg.connect(warehouse.database.dsn) as connection, connection.cursor() as cursor:
        cursor.execute(
            f"create temporary table incoming on commit drop as select {columns} from {table} limit 0".encode()
        )
        with cursor.copy("copy incoming from stdin (format csv)") as copy:
            copy.write(text)
        updates = ", ".join(f"{name} = excluded.{name}" for name in COLUMNS if name not in KEY)
        cursor.execute(
            f"insert into {table} ({columns}) select {columns} from incoming"
            f" on conflict ({', '.join(KEY)}) do update set {updates}, updated_at = now()".encode()
        )
