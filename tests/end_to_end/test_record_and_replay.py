"""What `market record` writes, the simulator answers again: another warehouse that asks it holds the same bars.

Data flow: simulator -> extract on three days -> record -> replay -> extract into an empty warehouse -> build both -> equal.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from extract.core import settings
from scripts.postgres import Server
from scripts.simulator import Simulator, running
from tests.dbt.test_incremental_equals_full import rows_of
from tests.extract.conftest import Market, forget
from tests.warehouse import Database, MakeProject, Warehouse, crypto, stock

FIRST, SECOND = "2013-03-01T02:00:00Z", "2013-03-02T02:00:00Z"
KEY = "canary-key-4711"
ASSETS = [crypto("BTC", "1h 1d"), *(stock(symbol, "1d") for symbol in ("AAPL", "IBM", "MSFT"))]
BUILT = "+market_data_v2 +corporate_actions +int_futures_samples +int_funding_rates"
COMPARED = (
    "marts.market_data_v2", "marts.corporate_actions", "intermediate.int_funding_rates",
    "intermediate.int_futures_samples", "intermediate.int_bar_revisions",
)  # fmt: skip
BARS = (
    "select symbol, timeframe, timestamp, open, high, low, close, volume, taker_buy_volume, source"
    " from marts.market_data_v2 where timestamp >= '2013-02-01' and timestamp < '2013-02-25'"
    " order by symbol, timeframe, timestamp"
)


@contextmanager
def shell(warehouse: Warehouse, simulator: Simulator) -> Iterator[Market]:
    """A user's shell that leads to this warehouse and this simulator."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(warehouse.project.directory)
        for name, value in {**warehouse.database.environment, **simulator.environment()}.items():
            patch.setenv(name, value)
        patch.setenv("BINANCE_API_KEY", KEY)
        patch.setenv("COINMETRICS_ENABLED", "true")
        forget()
        yield Market(warehouse.project.directory, warehouse.database, simulator, patch)
    forget()


def made(postgres: Server, projects: MakeProject, name: str) -> Warehouse:
    warehouse = Warehouse(Database(postgres, name), projects(name))
    warehouse.reset()
    warehouse.assets(ASSETS)
    return warehouse


def test_a_recorded_warehouse_is_made_again(postgres: Server, projects: MakeProject, tmp_path: Path) -> None:
    folder = tmp_path / "case"
    ours = made(postgres, projects, "warehouse")
    with running("demo", FIRST) as simulator, shell(ours, simulator) as market:
        market.run("extract", "--start", "2013-02-01", "--end", "2013-02-20")
        market.run("extract")
        simulator.add_fault(kind="amended", provider="binance-spot", symbol="BTCUSDT", timeframe="1h",
                            start="2013-02-28T12:00:00Z", end="2013-02-28T13:00:00Z", factor="1.01")  # fmt: skip
        simulator.add_fault(kind="schema", provider="binance-futures", endpoint="taker_ratio", rename={"buyVol": KEY})
        simulator.add_fault(kind="body", provider="binance-futures", endpoint="open_interest_now", body='{"odd": 1}')
        market.at(SECOND)
        market.run("extract", expect=3)
        assert "no committed answer fits" in market.run(
            "record", "BTC", str(tmp_path / "none"), "--end", "2001-01-01", "--source", "yahoo", expect=78
        )
        told = market.run("record", "BTC", "AAPL", "IBM", "MSFT", str(folder))
        assert "replay: python -m scripts.simulator --replay" in told
        assert "is not empty" in market.run("record", "BTC", str(folder), expect=78)
        assert "DOGE: not in" in market.run("record", "DOGE", str(tmp_path / "other"), expect=78)
        ours.now = settings.load().warehouse_now or ours.now
        ours.build(BUILT)

    index = json.loads((folder / "index.json").read_text())
    assert not any(KEY in path.read_text() for path in folder.iterdir()), "a key was recorded"
    assert [row["symbol"] for row in index["registry"]] == ["BTC", "AAPL", "IBM", "MSFT"]
    assert index["warehouse_now"].startswith("2013-03-02T02:00:00")
    (odd,) = (
        one for one in index["answers"] if one["status"] == "quarantined" and one["endpoint"] == "open_interest_now"
    )
    assert (folder / odd["file"]).read_text() == '{"odd": 1}'
    assert odd["request"] == "BINANCE_FUTURES_BASE_URL/fapi/v1/openInterest?symbol=BTCUSDT"
    hours = [
        one for one in index["answers"] if (one["endpoint"], one["symbol"], one["timeframe"]) == ("bars", "BTC", "1h")
    ]
    assert hours[0]["request"].startswith("BINANCE_SPOT_BASE_URL/api/v3/klines?symbol=BTCUSDT&startTime=")

    # Run by run, at the clocks of then: the same to the last column, revisions included.
    theirs = made(postgres, projects, "full")
    with running(replay=folder, clock=FIRST) as simulator, shell(theirs, simulator) as market:
        market.run("extract", "--start", "2013-02-01", "--end", "2013-02-20")
        market.run("extract")
        market.at(SECOND)
        market.run("extract", expect=3)
        (answered,) = theirs.query("select bad_payload from raw_binance.responses where endpoint = 'open_interest_now'"
                                   " and status = 'quarantined'")  # fmt: skip
        assert answered["bad_payload"] == '{"odd": 1}'
    theirs.now = ours.now
    theirs.build(BUILT)
    for relation in COMPARED:
        assert rows_of(theirs, relation) == rows_of(ours, relation), relation

    # All at once, at the clock that the folder names: other windows are asked for, and the bars are the same.
    with running(replay=folder) as simulator, shell(theirs, simulator) as market:
        assert simulator.clock is not None and simulator.clock.startswith("2013-03-02T02:00:00")
        theirs.reset()
        theirs.assets(ASSETS)
        market.run("extract", "--start", "2013-02-01", "--end", "2013-03-01")
    theirs.build(BUILT)
    assert theirs.query(BARS) == ours.query(BARS)
    for one in (ours, theirs):
        one.database.drop()


def test_a_folder_without_an_index_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no case folder"), running(replay=tmp_path):
        pass
