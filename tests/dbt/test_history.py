"""The history of market_data_v2: the warehouse as it was at any instant is what it contained then, to the last column.

Data flow: a random market (histories.py) -> a build per step, each followed by a copy of the mart -> at the end,
market_data_as_of(each step's instant) against the copy. Steps amend, withdraw, deliver late, take sources off the list
and put them back, rebuild, leave the history out, run with nothing (`--empty`) and within one and the same second.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

import psycopg
import pytest

from tests.conftest import ROOT
from tests.dbt.histories import History
from tests.dbt.test_incremental_equals_full import row_versions
from tests.warehouse import BuildFailed, MakeWarehouse, Warehouse, crypto

BUILT = "+market_data_v2 market_data_history"
HISTORY = "snapshots.market_data_history"


@dataclass
class Step:
    """What happened, when the mart was last written, and the table that holds the mart as it was."""

    name: str
    at: datetime
    copy: str


@dataclass
class Told:
    """A warehouse with its past."""

    warehouse: Warehouse
    history: History
    steps: list[Step] = field(default_factory=list)

    def build(self, name: str, select: str = BUILT, full_refresh: bool = False, staging: bool = False) -> None:
        self.warehouse.build(select, without_staging=not staging, full_refresh=full_refresh)
        self.keep(name)

    def keep(self, name: str) -> None:
        copy = f"copies.step_{len(self.steps)}"
        self.warehouse.execute(f"create table {copy} as select * from marts.market_data_v2")
        self.steps.append(Step(name, self.stamp(), copy))

    def stamp(self) -> datetime:
        row = self.warehouse.query("select written_at from ops.watermarks where model = 'market_data_v2'")[0]
        return row["written_at"]


def count(warehouse: Warehouse, relation: str, where: str = "true") -> int:
    return warehouse.query(f"select count(*) as n from {relation} where {where}")[0]["n"]


@pytest.fixture(scope="module")
def told(make_warehouse: MakeWarehouse) -> Iterator[Told]:
    warehouse = make_warehouse("history")
    history = History(
        7,
        [warehouse],
        datetime(2025, 4, 20, 12, 7, tzinfo=UTC),
        {"BTC": [crypto("BTC", "1h 1d")], "ETH": [crypto("ETH", "1h")]},
        {("binance", "BTC", "1h"): 120, ("yahoo", "BTC", "1h"): 40, ("yahoo", "BTC", "1d"): 30, ("binance", "ETH", "1h"): 90},
    )
    told = Told(warehouse, history)
    warehouse.execute("create schema copies")
    history.begin()
    warehouse.build(BUILT)
    told.keep("the first build")
    for _ in range(2):
        history.append()
        history.amend()
        history.withdraw()
        history.samples()
    told.build("amended and withdrawn")
    # The clock stands still; only the order of the runs tells them apart.
    history.amend()
    told.build("in the same second")
    sources = history.registry["BTC"][0]["source_priority"]
    history.registry["BTC"][0]["source_priority"] = "yahoo"
    history._write_registry()
    told.build("a source taken off the list", staging=True)
    history.registry["BTC"][0]["source_priority"] = sources
    history._write_registry()
    history.arrive_late()
    told.build("the source put back", staging=True)
    history.amend()
    told.build("built anew, with news", full_refresh=True, staging=True)
    history.append()
    # The crash between the mart and its history, or a run that selected the mart alone.
    told.build("without the history", select="+market_data_v2")
    yield told


def test_each_past_is_what_the_mart_contained_then(told: Told) -> None:
    told.warehouse.build(BUILT, without_staging=True)
    told.keep("the history catches up")
    cells = 0
    for step in told.steps:
        columns = told.warehouse.query(
            "select string_agg(quote_ident(column_name), ', ' order by ordinal_position) as names, count(*) as n"
            " from information_schema.columns where table_schema = 'marts' and table_name = 'market_data_v2'"
            # A rebuild writes every row of the mart anew; the history keeps when its values were.
            + (" and column_name not in ('computed_at', 'updated_at')" if step.at >= _rebuilt(told) else "")
        )[0]
        names = columns["names"]
        for left, right in (("as_of", "copy"), ("copy", "as_of")):
            tables = {"as_of": "marts.market_data_as_of(%s)", "copy": step.copy}
            parameters = [step.at]
            odd = told.warehouse.query(
                f"select {names} from {tables[left]} except all select {names} from {tables[right]} limit 3", *parameters
            )
            assert odd == [], f"{step.name}: only in {left}"
        cells += count(told.warehouse, step.copy) * columns["n"]
    assert cells > 100_000, "too little to prove anything"
    print(f"{cells} cells compared")


def _rebuilt(told: Told) -> datetime:
    return next(step.at for step in told.steps if step.name.startswith("built anew"))


def test_pasts_differ(told: Told) -> None:
    """The proof above would be empty if nothing had changed, or nothing had been deleted."""
    by_name = {step.name: step for step in told.steps}
    assert len({step.at for step in told.steps}) == len(told.steps)
    assert count(told.warehouse, HISTORY, "dbt_valid_to is not null") > 50
    before, after = by_name["in the same second"], by_name["a source taken off the list"]
    gone = f"id not in (select id from {after.copy})"
    assert count(told.warehouse, before.copy, gone) > 30
    # Deleted, and back: a version ends with no successor, and another begins later.
    assert (
        count(
            told.warehouse,
            f"{HISTORY} as ended",
            f"dbt_valid_to = '{after.at.isoformat()}' and not exists (select 1 from {HISTORY} as next"
            " where next.id = ended.id and next.dbt_valid_from = ended.dbt_valid_to)"
            f" and exists (select 1 from {HISTORY} as back"
            " where back.id = ended.id and back.dbt_valid_from > ended.dbt_valid_to)",
        )
        > 30
    )
    assert by_name["the first build"].at < by_name["amended and withdrawn"].at


def test_nothing_is_written_without_a_changed_value(told: Told) -> None:
    told.warehouse.build(BUILT, without_staging=True)
    before = row_versions(told.warehouse)[HISTORY]
    told.warehouse.build(BUILT, without_staging=True)
    assert row_versions(told.warehouse)[HISTORY] == before, "a run without news wrote into the history"
    told.warehouse.build("int_frontier+,+market_data_v2 market_data_history", full_refresh=True, without_staging=True)
    assert row_versions(told.warehouse)[HISTORY] == before, "a rebuild wrote equal values into the history"
    told.warehouse.execute("update ops.watermarks set written_at = null where model = 'market_data_history'")
    told.warehouse.build("market_data_history")
    assert row_versions(told.warehouse)[HISTORY] == before, "reading everything again wrote equal values into the history"


def test_an_empty_run_is_no_deletion(told: Told) -> None:
    told.warehouse.build(BUILT, without_staging=True)
    before, stamp = row_versions(told.warehouse)[HISTORY], told.stamp()
    told.warehouse.build("market_data_history", empty=True)
    assert row_versions(told.warehouse)[HISTORY] == before
    read = told.warehouse.query("select written_at from ops.watermarks where model = 'market_data_history'")
    assert read == [{"written_at": stamp}], "an empty run passes for having read the mart"


def test_two_versions_at_once_are_found(told: Told) -> None:
    told.warehouse.build(BUILT, without_staging=True)
    with psycopg.connect(told.warehouse.database.dsn, autocommit=True) as connection:
        twice = (
            f"insert into {HISTORY} select * from (select (jsonb_populate_record(null::{HISTORY}, to_jsonb(history)"
            " || jsonb_build_object('dbt_valid_from', dbt_valid_from - interval '1 hour'))).*"
            f" from {HISTORY} as history where dbt_valid_to is null and dbt_valid_from = %s limit 1) as twice"
        )
        newest = connection.execute(f"select max(dbt_valid_from) from {HISTORY}").fetchone()
        assert newest is not None
        connection.execute(
            "update ops.watermarks set written_at = %s where model = 'market_data_v2'", (newest[0],)
        )
        connection.execute(twice.encode(), (newest[0],))
    with pytest.raises(BuildFailed, match="a_bar_has_one_version_at_a_time"):
        told.warehouse.build("a_bar_has_one_version_at_a_time", tests=True)


def test_a_series_past_is_read_by_its_index(told: Told) -> None:
    """Inlined: the condition on the series reaches the index, and no function is called."""
    with psycopg.connect(told.warehouse.database.dsn) as connection:
        connection.execute("set enable_seqscan = off")
        plan = connection.execute(
            "explain select timestamp, close from marts.market_data_as_of(now())"
            " where symbol = 'BTC' and asset_class = 'crypto' and timeframe = '1h' and timestamp > now() - interval '1 day'"
        ).fetchall()
    text = "\n".join(row[0] for row in plan)
    assert "Function Scan" not in text
    assert re.search(r"Index Cond: .*symbol.*timeframe.*timestamp", text), text


def test_the_history_keeps_every_column_that_can_change() -> None:
    """A column that is missing among the compared ones would change without a trace."""
    mart = (ROOT / "dbt_project/models/marts/market_data/market_data_v2.sql").read_text()
    written = re.search(r"set values = \[(.*?)\]", mart, re.S)
    kept = re.search(r"check_cols:\n\s+\[(.*?)\]", (ROOT / "dbt_project/snapshots/_snapshots.yml").read_text(), re.S)
    assert written and kept
    assert set(re.findall(r"\w+", kept[1])) == set(re.findall(r"\w+", written[1]))

