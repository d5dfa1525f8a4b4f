"""A fourth source of bars comes to a copy of the project: one folder of Python, one of staging, and entries in two lists.
No shared model and no shared module changes; what is there goes on, and everything that knows sources knows this one.

The source is asked over real HTTP: the simulator serves it beside the others.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from scripts.postgres import Server
from scripts.simulator import Simulator, running
from scripts.simulator import server as simulated
from scripts.simulator.files import DAILY
from scripts.simulator.instruments import Grid
from scripts.simulator.world import Call, Reply, World
from tests.scripts.conftest import serving
from tests.warehouse import ROOT, Database

CLOCK = "2013-03-02T02:00:00Z"
# As a user has it before: without the new source's column.
REGISTRY = """\
symbol,asset_class,timeframes,polygon,binance,binance_futures,yahoo,coinmetrics,calendar,active_from,active_to,source_priority,enabled
AAPL,stock,1d,AAPL,,,,,XNYS,,,,true
IBM,stock,1d,IBM,,,,,XNYS,,,,true
"""

PROVIDER = '''\
"""Toy: days of stocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import orjson
from pydantic import AnyUrl

from extract.transport import http
from extract.providers.base import Fetched, Provider, examined, milliseconds
from extract.symbols.registry import Asset
from extract.load.responses import Parsed, Task, sha256
from extract.core.settings import HttpUrl, ProviderSettings, of


class ToySettings(ProviderSettings):
    toy_base_url: HttpUrl = AnyUrl("https://toy.example")


class Toy(Provider):
    NAME = "toy"
    TIMEFRAMES = frozenset({"1d"})
    requests_are_scarce = False

    def __init__(self) -> None:
        super().__init__()
        self._url = str(of(ToySettings).toy_base_url).rstrip("/")
        self._session = http.session(connections=1)

    @classmethod
    def urls(cls) -> list[AnyUrl | None]:
        return [of(ToySettings).toy_base_url]

    def reach(self, timeframe: str) -> timedelta | None:
        return None

    def bar_tasks(self, asset: Asset, timeframe: str, start: datetime, end: datetime, now: datetime) -> list[Task]:
        return [Task(self.NAME, "bars", start, end, asset.symbol, asset.asset_class, self.symbol_of(asset), timeframe)]

    def fetch(self, task: Task, known_sha: Callable[[Task], str | None]) -> Iterator[Fetched]:
        window = {"from": milliseconds(task.start), "to": milliseconds(task.end)}

        def send() -> http.Response:
            return http.get(self._session, f"{self._url}/days/{task.provider_symbol}", window)

        yield examined(task, self.source.ask(send), parse)


def parse(body: bytes) -> Parsed:
    rows = orjson.loads(body)["days"]
    days = [datetime.fromtimestamp(row["at"] / 1000, UTC) for row in rows]
    return Parsed(len(rows), sha256(body), first_at=min(days, default=None), last_at=max(days, default=None))


PROVIDER = Toy
'''

BARS = """\
-- One row per day of an answer.
with

answers as (
    select * from {{ source('raw_toy', 'responses') }}
    where endpoint = 'bars' and status = 'ok'
),

bars as (
    select
        'toy' as source,
        answers.symbol,
        answers.asset_class,
        answers.timeframe,
        {{ instant_from_epoch(json_integer('rows.item', 'at')) }} as opened_at,
        {{ json_decimal('rows.item', 'open') }} as open,
        {{ json_decimal('rows.item', 'high') }} as high,
        {{ json_decimal('rows.item', 'low') }} as low,
        {{ json_decimal('rows.item', 'close') }} as close,
        {{ json_decimal('rows.item', 'shares') }} as volume,
        cast(null as numeric) as taker_buy_volume,
        rows.item as payload_row,
        answers.window_start,
        answers.window_end,
        answers.requested_at as known_until,
        false as is_in_progress,
        answers.fetched_at,
        answers._dlt_load_id as load_id,
        rows.position as payload_position
    from answers
    cross join lateral {{ json_items(json_member('answers.payload', 'days')) }} as rows (item, position)
)

select * from bars
"""
SOURCES = """\
sources:
  - name: raw_toy
    schema: raw_toy
    description: Answers of Toy.
    tables:
      - name: responses
        description: One row per answer.
      - name: _dlt_loads
        description: The finished loads.
"""
LISTED = """\
    toy:
      symbols: {bars: [toy]}
      bars: [stg_toy__bars]
"""
COLUMN = "        toy: text\n"


def days(world: World, call: Call) -> Reply:
    """The days of a stock as another venue of the simulator has them, a cent higher."""
    instrument = world.dataset.polygon[call.parameters["symbol"].removesuffix(".T")]
    bars = instrument.bars(DAILY, int(call.query["from"]), int(call.query["to"]), world.clock(), Grid())
    assert bars is not None
    prices = {
        name: [str(Decimal(int(price)) / 10**bars.price_scale + Decimal("0.01")) for price in column]
        for name, column in (("open", bars.open), ("high", bars.high), ("low", bars.low), ("close", bars.close))
    }
    rows = [
        {
            "at": int(at),
            "shares": int(bars.volume[n]) // 10**bars.volume_scale,
            **{name: prices[name][n] for name in prices},
        }
        for n, at in enumerate(bars.time)
    ]
    return Reply.json(200, {"days": rows})


def replaced(text: str, old: str, new: str) -> str:
    assert text.count(old) == 1, old
    return text.replace(old, new)


@dataclass
class Grown:
    """The copy with the new source, its warehouse, the files that it took, and what its commands printed."""

    directory: Path
    database: Database
    environment: dict[str, str]
    simulator: Simulator
    new: set[str]
    changed: set[str]

    def run(self, *arguments: str, module: str = "scripts.cli") -> str:
        done = subprocess.run(
            [sys.executable, "-m", module, *arguments],
            cwd=self.directory, env=self.environment, capture_output=True, text=True, timeout=600, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
        return done.stdout + done.stderr

    def query(self, statement: str) -> list[dict[str, Any]]:
        with psycopg.connect(self.database.dsn, row_factory=dict_row) as connection:
            return connection.execute(statement.encode()).fetchall()


def texts(directory: Path) -> dict[str, str]:
    kinds = (".py", ".sql", ".yml", ".csv", ".toml")
    files = [path for path in directory.rglob("*") if path.suffix in kinds and "target" not in path.parts]
    return {path.relative_to(directory).as_posix(): path.read_text() for path in files}


@pytest.fixture(scope="module")
def grown(postgres: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Grown]:
    directory = tmp_path_factory.mktemp("new_source")
    for name in ("extract", "scripts", "market_warehouse", "dbt_project"):
        shutil.copytree(ROOT / name, directory / name, ignore=shutil.ignore_patterns("__pycache__", "node_modules"))
    for name in ("dbt_project.yml", "profiles.yml", "selectors.yml", "pyproject.toml"):
        if (ROOT / name).exists():
            shutil.copy2(ROOT / name, directory / name)
    (directory / "dbt_project/seeds/assets.csv").write_text(REGISTRY)
    before = texts(directory)

    (directory / "extract/providers/toy").mkdir()
    (directory / "extract/providers/toy/__init__.py").write_text(PROVIDER)
    staging = directory / "dbt_project/models/staging/toy"
    staging.mkdir()
    (staging / "stg_toy__bars.sql").write_text(BARS)
    (staging / "_toy__sources.yml").write_text(SOURCES)
    sources, seeds = directory / "dbt_project.yml", directory / "dbt_project/seeds/_seeds.yml"
    served = directory / "dbt_project/seeds/source_timeframes.csv"
    served.write_text(served.read_text() + "toy,1d,day\n")
    sources.write_text(replaced(sources.read_text(), "    coinmetrics:\n", f"{LISTED}    coinmetrics:\n"))
    seeds.write_text(replaced(seeds.read_text(), "        coinmetrics: text\n", f"        coinmetrics: text\n{COLUMN}"))
    after = texts(directory)

    database = Database(postgres, "new_source")
    database.create()
    with pytest.MonkeyPatch.context() as patch, running("demo", CLOCK) as simulator:
        route: list[tuple[re.Pattern[str], str, simulated.Handler]] = [
            (re.compile(r"/days/(?P<symbol>[^/]+)"), "bars", days)
        ]
        patch.setitem(simulated.PROVIDERS, "toy", simulated.Provider("toy", route, Reply.json))
        environment = {
            **os.environ, **database.environment, **simulator.environment(), "TOY_BASE_URL": f"{simulator.url}/toy",
            "PYTHONPATH": str(directory),
        }  # fmt: skip
        made = Grown(
            directory, database, environment, simulator, after.keys() - before.keys(),
            {name for name, text in before.items() if after[name] != text},
        )  # fmt: skip
        assert "AAPL" in made.run("list")
        registry = directory / "dbt_project/seeds/assets.csv"
        header, apple, other = registry.read_text().splitlines()
        apple = apple.replace(",,,,true", ",,,toy polygon,true")
        registry.write_text(f"{header},toy\n{apple},AAPL.T\n{other},\n")
        made.run("extract")
        made.run("extract", "--source", "polygon", "--symbols", "AAPL", "--start", "2013-01-02", "--end", "2013-03-01")
        made.run("build", "--exclude-resource-type", "unit_test", module="dbt.cli.main")
        yield made
    database.drop()


def test_it_took_two_folders_and_two_lists(grown: Grown) -> None:
    staging = "dbt_project/models/staging/toy"
    assert grown.new == {
        "extract/providers/toy/__init__.py",
        f"{staging}/stg_toy__bars.sql",
        f"{staging}/_toy__sources.yml",
    }
    assert grown.changed == {
        "dbt_project.yml",
        "dbt_project/seeds/_seeds.yml",
        "dbt_project/seeds/source_timeframes.csv",
    }


def test_its_bars_are_in_the_mart_and_reconciled(grown: Grown) -> None:
    bars = grown.query(
        "select source, symbol, count(*) as n from marts.market_data_v2 group by source, symbol order by symbol"
    )
    assert [(row["source"], row["symbol"]) for row in bars] == [("toy", "AAPL"), ("polygon", "IBM")]
    assert all(row["n"] > 300 for row in bars)
    compared = grown.query(
        "select other_source, min(difference_bp) as least, max(difference_bp) as most, count(*) as n"
        " from marts.source_reconciliation where source = 'toy' and field = 'close' group by other_source"
    )
    assert len(compared) == 1 and compared[0]["other_source"] == "polygon" and compared[0]["n"] > 30
    # A cent of about 450 dollars.
    assert 0 < abs(compared[0]["least"]) < 1 and abs(compared[0]["most"]) < 1


def test_what_was_asked_is_in_the_log_and_in_the_source_s_health(grown: Grown) -> None:
    (log,) = grown.query(
        "select count(*) as n, bool_and(success) as good from marts.enrichment_fetch_log where source = 'toy'"
    )
    assert log["n"] > 0 and log["good"]
    health = {row["source"]: row for row in grown.query("select * from marts.source_health")}
    assert health["toy"]["breaker_state"] == "CLOSED" and health["toy"]["last_success_at"] is not None
    (status,) = grown.query("select * from marts.enrichment_status where symbol = 'AAPL' and timeframe = '1d'")
    assert status["source_in_use"] == "toy"
    asked = {request["provider"] for request in grown.simulator.requests if request["symbol"] != "IBM"}
    assert {"toy", "polygon"} <= asked


def test_the_commands_know_it(grown: Grown) -> None:
    assert "toy" in grown.run("sources")
    assert "AAPL.T" in grown.run("list")
    assert "symbols of toy: all 1 names known" in grown.run("doctor")
    with psycopg.connect(grown.database.dsn) as connection:
        connection.execute(
            "insert into ops.circuit_breaker (source, state) values ('toy', 'open')"
            " on conflict (source) do update set state = excluded.state"
        )
    assert "toy: its circuit breaker is closed" in grown.run("unblock", "toy")


def test_a_hole_is_looked_for_at_both_sources(grown: Grown) -> None:
    planned = grown.run("extract", "--dry-run", "--source", "toy", "--start", "2013-02-01", "--end", "2013-02-28")
    assert "toy" in planned and "1 request" in planned


def test_the_api_serves_it(grown: Grown, tmp_path: Path) -> None:
    with serving(grown.database, tmp_path) as api:
        answer = api.get("/api/v1/data/AAPL", timeframe="1d", limit=5).json()
        assert set(answer["columns"]["source"]) == {"toy"}
