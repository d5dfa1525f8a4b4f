"""All 22 features against the independent reference (tests/oracle), on real markets loaded as raw rows.

AAPL and SPY days 1998-2021 and SPY hours from Polygon, BTCUSDT futures hours and spot minutes from Binance's archive,
each with every timeframe resampled from them. Funding, open interest, ratios, liquidations and inflow are synthetic:
nobody recorded them for these days. Loaded at once and built once, and again in increments with the derivatives late.

`pytest -s` prints the largest error of each feature.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from scripts.site.reference_formulas import STEP
from tests import payloads
from tests.dbt.against_reference import (
    Derivatives,
    ex_dates,
    lean_bars,
    lean_hours,
    reports,
    stored,
    summary,
)
from tests.oracle.bars import Bar, resample
from tests.oracle.real_data import binance_hourly, binance_minutes
from tests.warehouse import Answer, MakeWarehouse, Warehouse, bar_answer, crypto, in_shards, stock

HOURS = ("BTCF", "1h")
MINUTES = ("BTC", "5m")
NOW = datetime(2026, 8, 15, tzinfo=UTC)


@dataclass
class Market:
    """What is loaded: the bars of each (provider, symbol, timeframe), splits by symbol, derivatives by coin."""

    bars: dict[tuple[str, str, str], list[Bar]]
    splits: dict[str, dict[date, tuple[int, int]]]
    derivatives: dict[str, Derivatives]


def _decimal(rng: random.Random, first: int, last: int) -> Decimal:
    """A decimal of three places between the two."""
    return Decimal(rng.randint(first * 1000 + 1, last * 1000)) / 1000


def synthetic(seed: int, first: datetime, last: datetime) -> Derivatives:
    """Samples round [first, last): with holes, stale spells, zeros, labels a second or two late, a funding interval that
    changes and settlements that pause, late revisions."""
    rng = random.Random(seed)
    funding, at = [], first - timedelta(days=35)
    pause = first + (last - first) * 0.6
    while at < last:
        hours = 8 if at < first + (last - first) / 2 else 4
        rate = Decimal(rng.randint(-40, 90)) / 10**6
        # For longer than two intervals nothing is settled: then the last rate is no current one.
        if not pause <= at < pause + timedelta(hours=30):
            funding.append((at + timedelta(milliseconds=rng.randint(0, 47)), rate, hours))
        at += timedelta(hours=hours)
    grid = [first - timedelta(hours=2) + n * STEP["5m"] for n in range(int((last - first) / STEP["5m"]) + 24)]
    # Of every 100 samples 15 in a row are missing: more than an hour, so that bars there have none.
    heard = [at for n, at in enumerate(grid) if not 60 <= n % 100 < 75 and rng.random() < 0.97]
    interest = [
        (at + timedelta(seconds=n % 3), _decimal(rng, 80_000, 90_000) if rng.random() < 0.99 else Decimal(0))
        for n, at in enumerate(heard)
    ]
    shares = [(at, _decimal(rng, 300, 700) / 1000) for at in heard[::2]]
    half = first + (last - first) / 3
    watched = [(first, half), (half, half + timedelta(hours=7)), (half + timedelta(hours=9, minutes=3), last)]
    span = int((last - first).total_seconds())
    liquidated = [
        (first + timedelta(seconds=at, milliseconds=at % 1000), rng.choice(["BUY", "SELL"]), _decimal(rng, 0, 99))
        for at in sorted(rng.sample(range(span), span // 400))
    ]
    inflow = []
    for n in range(-3, (last - first).days + 1):
        day = (first + timedelta(days=n)).replace(hour=0, minute=0)
        inflow.append((day.date(), day + timedelta(days=1, hours=rng.randint(0, 20)), _decimal(rng, 100, 99_999)))
        if n % 4 == 0:
            inflow.append((day.date(), day + timedelta(days=2, hours=5), _decimal(rng, 100, 99_999)))
    return Derivatives(
        pd.DataFrame(funding, columns=["settled_at", "rate", "interval_hours"]),
        pd.DataFrame(interest, columns=["sampled_at", "value"]),
        pd.DataFrame(
            [(at, share, 1 - share) for at, share in shares], columns=["sampled_at", "long_account", "short_account"]
        ),
        pd.DataFrame(liquidated, columns=["traded_at", "side", "quantity"]),
        pd.DataFrame(watched, columns=["start", "end"]),
        pd.DataFrame(sorted(inflow, key=lambda row: row[1]), columns=["day", "published_at", "value"]),
    )


@pytest.fixture(scope="module")
def market(shared_data: Path) -> Market:
    futures = [
        Bar(
            row["timestamp"].to_pydatetime(),
            open=Decimal(row["open"]),
            high=Decimal(row["high"]),
            low=Decimal(row["low"]),
            close=Decimal(row["close"]),
            volume=Decimal(row["volume"]),
            taker_buy_volume=Decimal(row["taker_buy_volume"]),
        )
        for row in binance_hourly(shared_data).to_dict("records")
    ]
    minutes = binance_minutes(shared_data)
    spot = resample(minutes, source_step=timedelta(minutes=1), timeframe="5m", calendar="24/7")
    bars: dict[tuple[str, str, str], list[Bar]] = {
        ("polygon", "AAPL", "1d"): lean_bars(shared_data, "aapl"),
        ("polygon", "SPY", "1d"): lean_bars(shared_data, "spy"),
        ("polygon", "SPY", "1h"): lean_hours(shared_data, "spy", "20190201", "20200430"),
        ("binance", *HOURS): futures,
        ("binance", *MINUTES): list(spot),
    }
    derivatives = {
        series[1]: synthetic(len(said), said[0].timestamp, said[-1].timestamp)
        for series, said in bars.items()
        if series[0] == "binance"
    }
    derivatives["BTC"].contract_coins = Decimal(1000)
    return Market(bars, {"AAPL": ex_dates(shared_data, "aapl")}, derivatives)


def registry() -> list[dict[str, str]]:
    return [
        stock("AAPL", "1d"),
        stock("SPY", "1h 1d"),
        crypto("BTCF", "1h", binance="", binance_futures="BTCUSDT"),
        crypto("BTC", "5m", binance_futures="1000BTCUSDT"),
    ]


def bars_answer(market: Market, series: tuple[str, str, str], part: slice, fetched_at: datetime) -> Answer:
    archive = {"origin": "archive"} if series[0] == "binance" else {}
    bars = market.bars[series][part]
    return bar_answer(*series, bars, fetched_at=fetched_at, requested_at=NOW, **archive)


def derivative_answers(coin: str, data: Derivatives, part: float = 1, whole: float = 1) -> list[Answer]:
    """The samples from the `part`th of `whole` parts of each frame."""

    def piece(frame: pd.DataFrame) -> list[tuple[Any, ...]]:
        rows = [tuple(row) for row in frame.astype(object).itertuples(index=False)]
        return rows[round(len(rows) * (part - 1) / whole) : round(len(rows) * part / whole)]

    def at(instant: Any) -> datetime:
        return pd.Timestamp(instant).to_pydatetime()

    rates = [(at(t), rate, hours) for t, rate, hours in piece(data.funding)]
    interest = [(at(t), value) for t, value in piece(data.open_interest)]
    shares = [(at(t), long, short) for t, long, short in piece(data.long_short)]
    events = [(at(t), side, quantity) for t, side, quantity in piece(data.liquidations)]
    watches = [(at(start), at(end)) for start, end in piece(data.watched)]
    nothing = payloads.liquidations([])
    answers = [
        Answer("funding", coin, payloads.funding_archive(rates), origin="archive"),
        Answer("open_interest", coin, payloads.open_interest(interest), "5m"),
        Answer("long_short_ratio", coin, payloads.long_short_ratio(shares), "5m"),
        *(Answer("liquidations", coin, nothing, window=watch, origin="stream") for watch in watches),
    ]
    if events:
        # A moment that others have watched too: it brings the events, not the coverage.
        moment = at(data.watched["start"][0])
        window = (moment, moment + timedelta(seconds=1))
        answers.append(Answer("liquidations", coin, payloads.liquidations(events), window=window, origin="stream"))
    return answers


def load_inflow(warehouse: Warehouse, coin: str, data: Derivatives) -> None:
    rows = data.inflow.astype(object).to_dict("records")
    answers = [
        Answer(
            "exchange_inflow",
            coin,
            payloads.exchange_inflow({row["day"]: row["value"]}),
            fetched_at=pd.Timestamp(row["published_at"]).to_pydatetime(),
        )
        for row in rows
    ]
    warehouse.load("coinmetrics", *answers)


def load_at_once(warehouse: Warehouse, market: Market) -> str:
    """One build; returns what became of the mart."""
    warehouse.now = NOW
    warehouse.assets(registry())
    for series in market.bars:
        warehouse.load(series[0], bars_answer(market, series, slice(None), NOW))
    for symbol, splits in market.splits.items():
        warehouse.load("polygon", Answer("splits", symbol, payloads.polygon_splits(splits)))
    for coin, data in market.derivatives.items():
        warehouse.load("binance", *derivative_answers(coin, data))
        load_inflow(warehouse, coin, data)
    return warehouse.build("+market_data_v2")["market_data_v2"]


def load_in_increments(warehouse: Warehouse, market: Market) -> str:
    """Four builds: bars in overlapping pieces, the first with wrong values that are amended later; the splits after the
    bars they touch; derivatives data a step behind the bars, and backwards. Returns what became of the mart first."""
    warehouse.now = NOW
    warehouse.assets(registry())
    parts, made = 3, []
    for part in range(1, parts + 1):
        for series, bars in market.bars.items():
            first, last = len(bars) * (part - 1) // parts, len(bars) * part // parts
            if part == 1:
                wrong = [
                    replace(bar, volume=bar.volume + 1) if n % 50 == 3 else bar for n, bar in enumerate(bars[:last])
                ]
                archive = {"origin": "archive"} if series[0] == "binance" else {}
                warehouse.load(series[0], bar_answer(*series, wrong, fetched_at=NOW, **archive))
            else:
                # A year of days or two days of hours again; the second piece goes back to the start.
                again = slice(0 if part == 2 else max(0, first - 250), last)
                warehouse.load(series[0], bars_answer(market, series, again, NOW))
        if part == 2:
            for symbol, splits in market.splits.items():
                warehouse.load("polygon", Answer("splits", symbol, payloads.polygon_splits(splits)))
        for coin, data in market.derivatives.items():
            if part > 1:
                warehouse.load("binance", *derivative_answers(coin, data, parts - part + 2, parts))
        made.append(warehouse.build("+market_data_v2", without_staging=part > 1)["market_data_v2"])
    for coin, data in market.derivatives.items():
        warehouse.load("binance", *derivative_answers(coin, data, 1, parts))
        load_inflow(warehouse, coin, data)
    warehouse.build("+market_data_v2", without_staging=True)
    return made[0]


def assert_bars_are_the_source_s(warehouse: Warehouse, market: Market) -> None:
    for (_, symbol, timeframe), bars in market.bars.items():
        frame = stored(warehouse, symbol, timeframe)
        assert [pd.Timestamp(at) for at in frame["timestamp"]] == [pd.Timestamp(bar.timestamp) for bar in bars]
        for name in ("open", "high", "low", "close", "volume"):
            assert list(frame[name]) == [getattr(bar, name) for bar in bars], (symbol, timeframe, name)


@pytest.mark.parametrize(
    ("load", "workers", "bars"),
    [(load_at_once, 4, 1500), (load_in_increments, 2, 700)],
    ids=["at_once", "in_increments"],
)
def test_every_feature_equals_the_reference(
    make_warehouse: MakeWarehouse, market: Market, load: Any, workers: int, bars: int
) -> None:
    """workers: processes that compute, so many bars at a time, so that each long series is computed in several ranges."""
    warehouse = make_warehouse("warehouse")
    warehouse.environment = in_shards(workers, bars)
    assert load(warehouse, market).startswith("SELECT"), "one process computed the mart"
    assert not warehouse.query("select proname from pg_proc where proname like %s", r"shard\_%"), "functions are left"
    if load is load_at_once:
        read_again = warehouse.query("select count(*) as n from intermediate.int_bars_to_compute where not is_written")
        assert read_again[0]["n"] > 0, "no series was computed in several ranges"
    assert_bars_are_the_source_s(warehouse, market)
    report = reports(warehouse, market.derivatives)
    print(f"\n{', '.join(report['series'].unique())}\n{summary(report)}")
    failed = report[~report["passed"]]
    assert failed.empty, failed.drop(columns="passed").to_string()
    never_filled = report.groupby("feature")["filled"].sum()
    assert never_filled.min() > 0, f"never filled: {sorted(never_filled[never_filled == 0].index)}"


def test_comparison_sees_a_wrong_cell(make_warehouse: MakeWarehouse, market: Market) -> None:
    """The proof of the proof: one unit too much in the last digit but two, and one NULL, are found. Built where the server
    gives no workers: by one process."""
    warehouse = make_warehouse("warehouse")
    warehouse.environment = in_shards(2)
    warehouse.execute(f"alter database {warehouse.database.name} set max_parallel_workers = 0")
    one = {series: bars for series, bars in market.bars.items() if series[1:] == MINUTES}
    assert load_at_once(warehouse, replace(market, bars=one, splits={})).startswith("INSERT")
    assert reports(warehouse, market.derivatives)["passed"].all()
    warehouse.execute(
        "update marts.market_data_v2 set sma_20 = sma_20 + 0.0000100, atr = null"
        " where symbol = 'BTC' and timeframe = '5m' and timestamp = '2020-01-02 00:00:00+00'"
    )
    report = reports(warehouse, market.derivatives)
    assert sorted(report[~report["passed"]]["feature"]) == ["atr", "sma_20"]
