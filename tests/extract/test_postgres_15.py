"""The oldest server that is supported, with stock settings: what runs on it in every `make test`.

Data flow: the simulator -> `market extract` -> dbt, twice -> marts; a random market, as in test_incremental_equals_full.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from extract.core import session
from scripts.postgres import Server
from scripts.reading import leakage
from tests.dbt.histories import crypto_history
from tests.dbt.test_incremental_equals_full import SEED, row_versions, run
from tests.extract.conftest import CLOCK, Market
from tests.warehouse import Database, MakeProject, Warehouse, crypto, stock


@pytest.fixture
def database(postgres_15: Server) -> Iterator[Database]:
    """An empty database on that server, where the other tests of this folder have one on the embedded one."""
    # Later tests build in one of this name: the parsed project holds it.
    made = Database(postgres_15, "oldest_incremental")
    made.create()
    yield made
    made.drop()


def test_from_the_providers_to_the_marts(market: Market, projects: MakeProject) -> None:
    assets = [crypto("BTC", "1h 1d", binance_futures="", coinmetrics=""), stock("AAPL", "1d")]
    market.assets(*assets)
    market.run("extract")
    assert market.query("select current_setting('server_version_num')::int / 10000 as version") == [{"version": 15}]
    warehouse = Warehouse(market.database, projects("oldest_incremental"), now=datetime.fromisoformat(CLOCK))
    warehouse.assets(assets)
    # As dbt asks for, whoever starts it (scripts/environment.py).
    warehouse.environment["PGOPTIONS"] = session.options()
    warehouse.build(tests=True)
    found = warehouse.query(
        "select symbol, timeframe, count(*) as bars, count(sma_20) as averages, bool_or(is_validated) as is_valid"
        " from marts.market_data_v2 group by symbol, timeframe order by symbol, timeframe"
    )
    series = {(row["symbol"], row["timeframe"]): row for row in found}
    asked, resampled = {("AAPL", "1d"), ("BTC", "1d"), ("BTC", "1h")}, {("AAPL", "1w"), ("BTC", "1w"), ("BTC", "4h")}
    assert set(series) == asked | resampled
    assert all(row["bars"] > 0 for row in found) and all(series[one]["is_valid"] for one in asked), found
    assert series["BTC", "1h"]["averages"] > 300, found
    before = row_versions(warehouse)
    warehouse.build()
    assert row_versions(warehouse) == before, "a build without news wrote rows"
    warehouse.now = datetime(2013, 3, 2, 4, tzinfo=UTC)
    market.at("2013-03-02T04:00:00Z")
    market.run("extract")
    warehouse.build()
    newest = warehouse.query("select max(timestamp) as bar from marts.market_data_v2 where timeframe = '1h'")
    assert newest == [{"bar": datetime(2013, 3, 2, 3, tzinfo=UTC)}]
    assert leakage.check(warehouse.database.dsn).is_clean


def test_incremental_equals_full(postgres_15: Server, projects: MakeProject) -> None:
    incremental, full = (
        Warehouse(Database(postgres_15, name), projects(name)) for name in ("oldest_incremental", "oldest_full")
    )
    for warehouse in (incremental, full):
        warehouse.reset()
        warehouse.environment["PGOPTIONS"] = session.options()
    run(crypto_history(SEED, [incremental, full]), incremental, full, steps=2)
    for warehouse in (incremental, full):
        warehouse.database.drop()
