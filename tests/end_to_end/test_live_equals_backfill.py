"""The same time loaded live in five-minute turns and loaded at once days later gives the same rows, every column.

Live: `market extract` two seconds after each close, `dbt build` now and then, files of the archive appearing on the next
day. Later: `market backfill` of the same time into an empty warehouse, from files where there are any. The providers are the
simulator, over HTTP. The default is some turns around a midnight with a settlement, once while a metrics file held the
stamp of its day's end instead of its beginning, and once since labels are starts, at the end of a year. `-m long` takes a
month of each time, with a stock: every hour, and every five minutes where something happens (`busy_turns`), 1,500 turns in
a quarter of an hour. LIVE_TURNS=all takes all of them: 288 turns a day, two to five minutes for each.

    LIVE_DAYS=2 .venv/bin/python -m pytest tests/end_to_end/test_live_equals_backfill.py -m long -k 2026   # two days of it
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pandas as pd
import pytest
from typer.testing import CliRunner

from extract.calendar.timeframes import FIRST_REACH
from extract.core import settings
from extract.transport.budget import RequestsPerMinute, WeightPerMinute
from extract.transport.retry_policy import RETRY_POLICY
from scripts.cli import app
from scripts.simulator import Simulator, running
from scripts.simulator.datasets import Dataset, synthetic
from scripts.site.reference_formulas import STEP
from tests.extract.conftest import forget
from tests.warehouse import MakeWarehouse, Warehouse, crypto, stock

TURN = timedelta(minutes=5)
# The answer to the turn's question takes its time, too.
AFTER_THE_CLOSE = timedelta(seconds=2)
# What a plain first run loads before the first turn: enough bars for every window that is longer than the turns.
REACH = timedelta(days=2)
# When the same is loaded at once: the files of all days are there.
LATER = timedelta(days=4)
# How long the long run is.
DAYS = int(os.environ.get("LIVE_DAYS", "30"))
# Which turns of it are made.
ALL_TURNS = os.environ.get("LIVE_TURNS") == "all"

# When rows were written and answers came, which is not the same time: nothing else may differ.
PROCESSING_TIMES = {"computed_at", "updated_at", "fetched_at"}
ONLY_BINANCE = {"polygon": "", "yahoo": "", "coinmetrics": "", "source_priority": "binance"}
REGISTRY = [
    crypto("BTC", "5m", **ONLY_BINANCE),
    # Settles every four hours, and its contract is on 1000 coins.
    crypto("SOL", "5m", **ONLY_BINANCE, binance_futures="1000SOLUSDT"),
]
COINS = "BTC SOL"
# With a dividend in each quarter.
A_STOCK = stock("SIMA", "5m", yahoo="", source_priority="polygon")
NEW_YORK = ZoneInfo("America/New_York")


@dataclass
class Stage:
    """A warehouse, the providers, and the time on both of their clocks."""

    warehouse: Warehouse
    simulator: Simulator
    patch: pytest.MonkeyPatch

    registry: list[dict[str, str]] = field(default_factory=lambda: REGISTRY)

    def empty(self) -> None:
        """Begin again: nothing is loaded."""
        self.warehouse.reset()
        self.warehouse.assets(self.registry)
        forget()

    def at(self, now: datetime) -> None:
        self.warehouse.now = now
        clock = now.isoformat().replace("+00:00", "Z")
        self.simulator.set_clock(clock)
        self.patch.setenv("WAREHOUSE_NOW", clock)
        settings.load.cache_clear()

    def market(self, *arguments: str) -> None:
        result = CliRunner().invoke(app, list(arguments))
        assert result.exit_code == 0, result.output

    def build(self) -> None:
        self.warehouse.build("+market_data_v2")

    def bars(self, start: datetime, end: datetime) -> pd.DataFrame:
        """The rows of the bars that closed in (start, end], without the times at which we worked on them."""
        frame = self.warehouse.frame(
            "select mart.* from marts.market_data_v2 as mart"
            " inner join seeds.timeframes as timeframes using (timeframe)"
            " where mart.timestamp + timeframes.step_minutes * interval '1 minute' > %s"
            " and mart.timestamp + timeframes.step_minutes * interval '1 minute' <= %s"
            " order by mart.symbol, timeframes.step_minutes, mart.timestamp",
            start,
            end,
        )
        return frame.drop(columns=list(PROCESSING_TIMES))


def markets() -> Dataset:
    """Made-up coins and stocks; the contract on SOL is on 1000 of them, so its numbers are contracts of 1000."""
    dataset = synthetic()
    contract = dataclasses.replace(dataset.futures["SOLUSDT"], symbol="1000SOLUSDT")
    return dataclasses.replace(
        dataset, unlimited=True, futures={"BTCUSDT": dataset.futures["BTCUSDT"], "1000SOLUSDT": contract}
    )


@pytest.fixture
def stage(make_warehouse: MakeWarehouse) -> Iterator[Stage]:
    warehouse = make_warehouse("warehouse")
    with pytest.MonkeyPatch.context() as patch, running(markets(), "2024-03-01T00:00:00Z") as simulator:
        patch.chdir(warehouse.project.directory)
        # No run re-reads what lies before the first one's reach.
        looks_back = {"REVISION_LOOKBACK": str(REACH.days)}
        for name, value in {**warehouse.database.environment, **simulator.environment(), **looks_back}.items():
            patch.setenv(name, value)
        patch.setattr(RETRY_POLICY, "backoff", (0.0, 0.0, 0.0))
        # Requests are counted by the real clock, on which a day of turns is a minute.
        for budget in (RequestsPerMinute, WeightPerMinute):
            patch.setattr(budget, "wait", lambda *_, **__: None)
        patch.setitem(FIRST_REACH, "5m", REACH)
        patch.setattr("extract.providers.binance.derivatives.FIRST_STATISTICS_REACH", REACH)
        patch.setattr("extract.providers.binance.derivatives.FIRST_FUNDING_REACH", timedelta(days=40))
        yield Stage(warehouse, simulator, patch)
        forget()


def differences(one: pd.DataFrame, other: pd.DataFrame, turns: list[datetime]) -> dict[str, list[str]]:
    """The rows that differ, per column; of frames of the same bars. The score counts how soon a bar was there, so it is
    that of bars which had a turn at their close."""
    key = ["symbol", "timeframe", "timestamp"]
    names = one[key].to_numpy().tolist()
    assert names == other[key].to_numpy().tolist()
    soon = set(turns)
    is_late = [opened + STEP[timeframe] not in soon for _, timeframe, opened in names]
    found: dict[str, list[str]] = {}
    for column in one:
        pairs = zip(names, one[column].tolist(), other[column].tolist(), is_late, strict=True)
        differing = [
            f"{symbol} {timeframe} {opened:%m-%d %H:%M}: {live} {at_once}"
            for (symbol, timeframe, opened), live, at_once, late in pairs
            if live != at_once and not (late and column == "quality_score")
        ]
        if differing:
            found[column] = [f"{len(differing)} rows", *differing[:3]]
    return found


def busy_turns(start: datetime, end: datetime) -> list[datetime]:
    """Every hour of [start, end], and every five minutes: a quarter of an hour around midnight and around midnights of New
    York on which the clock changes, five minutes around settlements (every four hours), and at the ends of sessions in New
    York, half days too, whose bars come a quarter of an hour late."""
    chosen = {start, end}
    for turn in every_turn(start, end):
        near = [turn + shift * timedelta(minutes=1) for shift in (-16, -6, 6, 16)]
        local = [one.astimezone(NEW_YORK) for one in near]
        is_at_an_end = near[0].date() != near[3].date() or local[0].utcoffset() != local[3].utcoffset()
        settles = near[1].hour // 4 != near[2].hour // 4
        session = local[0].weekday() < 5 and any(
            opens <= turn.astimezone(NEW_YORK).strftime("%H:%M") <= closes
            for opens, closes in (("09:30", "09:50"), ("12:55", "13:15"), ("15:55", "16:20"))
        )
        if turn.minute == 0 or is_at_an_end or settles or session:
            chosen.add(turn)
    return sorted(chosen)


def every_turn(start: datetime, end: datetime) -> list[datetime]:
    """Every five minutes of [start, end]."""
    return [start + turn * TURN for turn in range(int((end - start) / TURN) + 1)]


def live_and_at_once(stage: Stage, turns: list[datetime], builds_every: timedelta) -> pd.DataFrame:
    """Load the time from the first turn to the last in both ways and compare; the rows."""
    start, end = turns[0], turns[-1]
    stage.empty()
    build_at = start
    for turn in turns:
        stage.at(turn + AFTER_THE_CLOSE)
        stage.market("extract", "--source", "binance", "--symbols", COINS)
        # Stocks are asked for from their first bar to an hour after their last one, as by a schedule of their own.
        local = turn.astimezone(NEW_YORK)
        trades = local.weekday() < 5 and "09:30" <= local.strftime("%H:%M") <= "17:00"
        if A_STOCK in stage.registry and (trades or turn in (start, end)):
            stage.market("extract", "--source", "polygon", "--symbols", A_STOCK["symbol"])
        if turn >= build_at or turn == end:
            stage.build()
            build_at = turn + builds_every
    live = stage.bars(start, end)

    stage.empty()
    stage.at(end + LATER)
    for asset in stage.registry:
        # From where the live one began: midnight of the market.
        zone = NEW_YORK if asset == A_STOCK else UTC
        first = (start - REACH).astimezone(zone).replace(hour=0, minute=0)
        window = ("--start", first.isoformat(), "--end", end.isoformat())
        stage.market("backfill", "--source", asset["source_priority"], "--symbols", asset["symbol"], *window)
    stage.build()
    at_once = stage.bars(start, end)
    assert set(stage.warehouse.frame("select distinct origin from raw_binance.responses")["origin"]) >= {"archive"}
    found = differences(live, at_once, turns)
    assert not found, "\n".join(f"{column}: {', '.join(rows)}" for column, rows in found.items())
    return live


@pytest.mark.parametrize("midnight", ["2024-05-10", "2027-01-01"])
def test_turns_around_a_midnight(stage: Stage, midnight: str) -> None:
    start = datetime.fromisoformat(midnight).replace(tzinfo=UTC) - timedelta(minutes=30)
    live = live_and_at_once(stage, every_turn(start, start + timedelta(hours=1)), builds_every=timedelta(minutes=30))
    bars = live[live["timeframe"] == "5m"]
    assert len(bars) == 2 * 12
    for column in ("open_interest", "open_interest_change", "long_short_ratio", "funding_rate"):
        assert bars[column].notna().all(), column
    # A settlement of midnight is the rate of the bar that closes with it.
    rates = bars[bars["symbol"] == "BTC"]["funding_rate"].tolist()
    assert len(set(rates[:5])) == len(set(rates[5:])) == 1 and rates[4] != rates[5]
    assert (bars["funding_rate_percentile"].notna()).all()
    # Some 5.4 million contracts of 1000 coins.
    assert bars[bars["symbol"] == "SOL"]["open_interest"].min() > Decimal(10**9)


@pytest.mark.long
# With Thanksgiving, half a day after it, and winter time; with the day on which the labels of samples became starts.
@pytest.mark.parametrize("start", ["2024-11-01", "2026-06-10"])
def test_a_month_of_turns(stage: Stage, start: str) -> None:
    first = datetime.fromisoformat(start).replace(tzinfo=UTC) + timedelta(minutes=5)
    last = first + timedelta(days=DAYS)
    stage.registry = [*REGISTRY, A_STOCK]
    turns = every_turn(first, last) if ALL_TURNS else busy_turns(first, last)
    live = live_and_at_once(stage, turns, builds_every=timedelta(days=5))
    rows = live.groupby(["symbol", "timeframe"]).size().to_dict()
    print(f"{len(turns)} turns, {live.shape[1]} columns equal in {len(live)} rows: {rows}")
    assert rows["BTC", "5m"] == rows["SOL", "5m"] == DAYS * 288
    assert rows["SIMA", "5m"] > DAYS * 78 / 2
