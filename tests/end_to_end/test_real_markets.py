"""Recorded markets through everything: simulator -> `market extract` -> `dbt build` with all its tests -> SQL.

AAPL and SPY days 1998-2021 and SPY hours as Polygon serves them, BTCUSDT futures hours and spot days as Binance does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from extract.core import settings
from scripts.cli import app
from scripts.simulator import Simulator, running
from tests.dbt.against_reference import lean_bars, lean_hours, reports, stored, summary
from tests.dbt.test_incremental_equals_full import row_versions
from tests.extract.conftest import forget
from tests.warehouse import MakeWarehouse, Warehouse, crypto, stock

CLOCK = "2026-08-02T00:10:00Z"
HISTORIES = {
    ("AAPL", "1d"): ("1998-01-01", "2021-03-31"),
    ("SPY", "1d"): ("1998-01-01", "2021-03-31"),
    ("SPY", "1h"): ("2019-02-01", "2020-04-30"),
    ("BTC", "1d"): ("2020-01-01", "2020-12-31"),
    ("BTCF", "1h"): ("2026-07-01", "2026-07-31"),
}


@pytest.fixture(scope="module")
def simulator(shared_data: Path) -> Iterator[Simulator]:
    with running("shared", CLOCK, shared=shared_data) as made:
        yield made


@pytest.fixture(scope="module")
def pipeline(make_warehouse: MakeWarehouse, simulator: Simulator) -> Iterator[Warehouse]:
    """An empty warehouse in whose project directory `market` runs, asking the simulator."""
    warehouse = make_warehouse("warehouse")
    warehouse.now = datetime.fromisoformat(CLOCK).astimezone(UTC)
    warehouse.assets(
        [
            stock("AAPL", "1d"),
            stock("SPY", "1h 1d"),
            crypto("BTC", "1d", polygon="", yahoo="", binance_futures=""),
            crypto("BTCF", "1h", polygon="", yahoo="", binance="", binance_futures="BTCUSDT"),
        ]
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(warehouse.project.directory)
        for name, value in {**warehouse.database.environment, **simulator.environment()}.items():
            patch.setenv(name, value)
        forget()
        assert settings.load().warehouse_now == warehouse.now
        yield warehouse
        forget()


@pytest.fixture(scope="module")
def market(pipeline: Warehouse) -> Callable[..., str]:
    """The command as a user calls it; what it printed."""

    def run(*arguments: str, expect: int = 0) -> str:
        result = CliRunner().invoke(app, list(arguments))
        assert result.exit_code == expect, result.output
        return result.output

    return run


@pytest.fixture(scope="module")
def filled(pipeline: Warehouse, market: Callable[..., str]) -> Warehouse:
    """All histories extracted, and everything built and tested once."""
    for (symbol, timeframe), (first, last) in HISTORIES.items():
        market("extract", "--symbols", symbol, "--timeframes", timeframe, "--start", first, "--end", last)
    pipeline.build(tests=True, unit_tests=False)
    return pipeline


def test_every_recorded_bar_arrives_as_traded(filled: Warehouse, shared_data: Path) -> None:
    recorded = {
        ("AAPL", "1d"): lean_bars(shared_data, "aapl"),
        ("SPY", "1d"): lean_bars(shared_data, "spy"),
        ("SPY", "1h"): lean_hours(shared_data, "spy", "20190201", "20200430"),
    }
    for (symbol, timeframe), bars in recorded.items():
        frame = stored(filled, symbol, timeframe)
        assert list(frame["timestamp"]) == [bar.timestamp for bar in bars], (symbol, timeframe)
        for name in ("open", "high", "low", "close", "volume"):
            assert list(frame[name]) == [getattr(bar, name) for bar in bars], (symbol, timeframe, name)
    assert len(stored(filled, "BTC", "1d")) == 366
    assert len(stored(filled, "BTCF", "1h")) == 744


def test_features_equal_the_reference(filled: Warehouse) -> None:
    report = reports(filled, {})
    without_samples = report["feature"].isin(
        ["long_short_ratio", "funding_rate_percentile", "exchange_inflow", "open_interest_change",
         "liquidation_intensity", "funding_rate", "open_interest", "liquidations_long", "liquidations_short"]
    )  # fmt: skip
    report = report[~without_samples]
    print(f"\n{', '.join(report['series'].unique())}\n{summary(report)}")
    assert report["passed"].all(), report[~report["passed"]].to_string()


@pytest.mark.parametrize(("ex_date", "ratio"), [(date(2014, 6, 9), 7), (date(2020, 8, 31), 4)])
def test_split_leaves_the_log_return_continuous(filled: Warehouse, ex_date: date, ratio: int) -> None:
    rows = filled.query(
        "select session_date, close, log_return, split_factor from marts.market_data_v2"
        " where symbol = 'AAPL' and timeframe = '1d' and session_date <= %s order by session_date desc limit 2",
        ex_date,
    )
    after, before = rows
    assert after["session_date"] == ex_date
    assert after["split_factor"] == before["split_factor"] * ratio
    assert float(after["log_return"]) == pytest.approx(math.log(after["close"] * ratio / before["close"]), abs=1e-8)
    assert abs(after["log_return"]) < 0.04


def test_second_run_without_news_touches_no_row(filled: Warehouse, market: Callable[..., str]) -> None:
    # The first plain run also looks at the days since each history's end. Nobody recorded the open interest of now: the
    # simulator refuses it as Binance refuses an unknown symbol, and the run says that it is partly done.
    assert "failed: BTCF open_interest_now" in market("extract", expect=3)
    filled.build()
    # What that build found missing is asked for once; that nobody has it is news for the verdict on the gap.
    market("extract", expect=3)
    filled.build()
    before = row_versions(filled)
    market("extract", expect=3)
    filled.build()
    after = row_versions(filled)
    # Every request is a row of the fetch log, whatever came of it, and a look at the gaps that it was about.
    told = {"marts.enrichment_fetch_log", "marts.bar_gaps"}
    changed = [name for name in before if before[name] != after[name] and name not in told]
    assert changed == []
    assert sum(map(len, before.values())) > 15_000
