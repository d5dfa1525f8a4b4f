"""The history of market_data_v2: the warehouse as it was at any instant is what it contained then, to the last column.

Data flow: a random market (histories.py) -> a build per step, each followed by a copy of the mart -> at the end,
market_data_as_of(each step's instant) against the copy. Steps amend, withdraw, deliver late, take sources off the list
and put them back, rebuild, leave the history out, try `--empty` and build within one and the same second.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from extract.core import clock, database
from extract.core.settings import ConfigurationError
from scripts.corrections import manual_corrections
from scripts.reading import leakage
from scripts.site.reference_formulas import STEP
from tests.conftest import ROOT
from tests.dbt.histories import History
from tests.dbt.test_bars import run_of
from tests.dbt.test_incremental_equals_full import row_versions
from tests.warehouse import BuildFailed, MakeWarehouse, Warehouse, crypto

BUILT = "+data_corrections feature_rewrites"
HISTORY = "snapshots.market_data_history"
HONEST = "{{ stored_features() }}"
LEAKY_BARS = run_of(datetime(2025, 1, 1, tzinfo=UTC), 61, "1h")
# As the old system has it, down to the types; one bar that the old system wrote.
OLD_TABLE = """
    create table public.market_data (
        id bigserial primary key, time timestamptz not null, symbol varchar(20) not null,
        timeframe varchar(10) not null default '1d', open numeric(19, 8) not null, high numeric(19, 8) not null,
        low numeric(19, 8) not null, close numeric(19, 8) not null, volume bigint, source varchar(20),
        validated boolean, quality_score numeric(3, 2), validation_notes text, gap_detected boolean,
        volume_anomaly boolean, fetched_at timestamptz, unique (symbol, timeframe, time)
    );
    insert into public.market_data (time, symbol, open, high, low, close, volume, source)
    values ('2025-01-01 00:00:00+00', 'BTC', 1, 4, 1, 3, 5, 'old');
"""
LOOKS_AHEAD = (
    "{{ stored_features() | replace(fits('sma_20', 19, 10),"
    " 'cast(lead(close) over (partition by series_id order by opened_at) as numeric(19, 10))') }}"
)


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
    # The bar that is corrected by hand: windows are full there, and followers see it.
    corrected_bar: datetime = datetime.max

    def build(self, name: str, select: str = BUILT, full_refresh: bool = False, staging: bool = False) -> None:
        self.warehouse.build(select, without_staging=not staging, full_refresh=full_refresh)
        self.keep(name)

    def keep(self, name: str) -> None:
        copy = f"copies.step_{len(self.steps)}"
        self.warehouse.execute(f"create table {copy} as select * from marts.market_data_v2")
        self.steps.append(Step(name, self.stamp(), copy))

    @contextmanager
    def command(self) -> Iterator[None]:
        """What the `market` command finds here: this database, and this warehouse's clock."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(database, "url", lambda: self.warehouse.database.dsn)
            patch.setattr(clock, "now", lambda: self.history.now)
            yield

    def amend_the_bar(self) -> None:
        series = ("binance", "ETH", "1h")
        bar = self.history.bars[series][self.corrected_bar]
        self.history.bars[series][self.corrected_bar] = replace(bar, volume=bar.volume + 1)
        self.warehouse.load_bars(*series, [self.history.bars[series][self.corrected_bar]])

    def amend_a_run(self, opens: list[datetime]) -> None:
        """The source says another volume of many bars of ETH, whatever the seed: their coarser bars are revised, too."""
        bars = self.history.bars["binance", "ETH", "1h"]
        for opened in opens:
            bars[opened] = replace(bars[opened], volume=bars[opened].volume + 1)
        self.warehouse.load_bars("binance", "ETH", "1h", [bars[opened] for opened in opens])

    def stamp(self) -> datetime:
        row = self.warehouse.query("select written_at from ops.watermarks where model = 'market_data_v2'")[0]
        return row["written_at"]


def count(warehouse: Warehouse, relation: str, where: str = "true") -> int:
    return warehouse.query(f"select count(*) as n from {relation} where {where}")[0]["n"]


@pytest.fixture(scope="module")
def told(make_warehouse: MakeWarehouse) -> Told:
    warehouse = make_warehouse("warehouse")
    history = History(
        7,
        [warehouse],
        datetime(2025, 4, 20, 12, 7, tzinfo=UTC),
        {"BTC": [crypto("BTC", "1h 1d")], "ETH": [crypto("ETH", "1h")]},
        {
            ("binance", "BTC", "1h"): 120,
            ("yahoo", "BTC", "1h"): 40,
            ("yahoo", "BTC", "1d"): 30,
            ("binance", "ETH", "1h"): 90,
        },
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
    eth = ("binance", "ETH", "1h")
    there = {
        row["timestamp"] for row in warehouse.query(f"select timestamp from {told.steps[-1].copy} where symbol = 'ETH'")
    }
    in_both = sorted(there & history.bars[eth].keys())
    assert len(in_both) > 40, "windows are to be full at the corrected bar"
    told.corrected_bar = in_both[len(in_both) * 2 // 3]
    # The clock stands still; only the order of the runs tells them apart.
    history.amend()
    told.amend_a_run(in_both[:25])
    with told.command():
        manual_corrections.correct(
            "ETH", "1h", told.corrected_bar.isoformat(), ["high=1000", "close=999.5"], "typo", "ann"
        )
    told.build("in the same second")
    sources = history.registry["BTC"][0]["source_priority"]
    history.registry["BTC"][0]["source_priority"] = "yahoo"
    history._write_registry()
    # Its source amends the corrected bar: the correction stands.
    history.bars[eth][told.corrected_bar] = history.make_bar(eth, told.corrected_bar)
    history._reread(eth, [told.corrected_bar])
    told.build("a source taken off the list", staging=True)
    history.registry["BTC"][0]["source_priority"] = sources
    history._write_registry()
    history.arrive_late()
    told.build("the source put back", staging=True)
    history.amend()
    with told.command():
        manual_corrections.withdraw("ETH", "1h", told.corrected_bar.isoformat(), "it was right", "bob")
    told.build("built anew, with news", full_refresh=True, staging=True)
    history.append()
    # The crash between the mart and its history, or a run that selected the mart alone; twice, with one bar in both.
    for name in ("without the history", "without it again"):
        told.amend_the_bar()
        told.build(name, select="+market_data_v2")
    warehouse.build(BUILT, without_staging=True)
    told.keep("the history catches up")
    return told


def test_each_past_is_what_the_mart_contained_then(told: Told) -> None:
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
            odd = told.warehouse.query(
                f"select {names} from {tables[left]} except all select {names} from {tables[right]} limit 3",
                step.at,
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
    volumes = [
        told.warehouse.query(
            f"select volume from {step.copy} where symbol = 'ETH' and timestamp = %s", told.corrected_bar
        )
        for step in told.steps[-3:]
    ]
    assert volumes[0] != volumes[1] == volumes[2], "the bar was to change between the two runs without the history"
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
    before = row_versions(told.warehouse)[HISTORY]
    told.warehouse.build(BUILT)
    assert row_versions(told.warehouse)[HISTORY] == before, "a run without news wrote into the history"
    told.warehouse.build(
        "int_recompute_ranges+,+market_data_v2 market_data_history", full_refresh=True, without_staging=True
    )
    assert row_versions(told.warehouse)[HISTORY] == before, "a rebuild wrote equal values into the history"
    told.warehouse.execute("update ops.watermarks set written_at = null where model = 'market_data_history'")
    told.warehouse.build("market_data_history")
    assert row_versions(told.warehouse)[HISTORY] == before, (
        "reading everything again wrote equal values into the history"
    )


def test_an_empty_run_is_refused_and_changes_nothing(told: Told) -> None:
    """`dbt build --empty` on a warehouse in use, with news waiting: every relation reads as before, nothing passes for
    read, and the next build has the news."""
    told.amend_the_bar()
    before, stamp = _contents(told.warehouse), told.stamp()
    assert len(before) > 60 and sum(rows > 0 for rows, _ in before.values()) > 30
    for full_refresh in (False, True):
        with pytest.raises(BuildFailed, match=r"refused; nothing was changed.*build an empty database"):
            told.warehouse.build(BUILT, empty=True, full_refresh=full_refresh)
        assert _contents(told.warehouse) == before
    corrections = before["marts.data_corrections"][0]
    told.build("after an empty run")
    assert told.stamp() > stamp
    assert count(told.warehouse, "marts.data_corrections") > corrections


def _contents(warehouse: Warehouse) -> dict[str, tuple[int, str]]:
    """Of every table and view that dbt makes or keeps notes in: how many rows, and a hash of them."""
    found = {}
    for row in warehouse.query(
        "select table_schema || '.' || table_name as name from information_schema.tables"
        " where table_schema in ('staging', 'intermediate', 'marts', 'snapshots', 'seeds', 'ops')"
    ):
        rows = warehouse.query(
            "select count(*) as n, md5(string_agg(word, '' order by word)) as hash"
            f" from (select md5(cast(kept as text)) as word from {row['name']} as kept) as words"
        )[0]
        found[row["name"]] = (rows["n"], rows["hash"])
    return found


def test_two_versions_at_once_are_found(told: Told) -> None:
    with psycopg.connect(told.warehouse.database.dsn, autocommit=True) as connection:
        twice = (
            f"insert into {HISTORY} select * from (select (jsonb_populate_record(null::{HISTORY}, to_jsonb(history)"
            " || jsonb_build_object('dbt_valid_from', dbt_valid_from - interval '1 hour'))).*"
            f" from {HISTORY} as history where dbt_valid_to is null and dbt_valid_from = %s limit 1) as twice"
        )
        newest = connection.execute(f"select max(dbt_valid_from) from {HISTORY}").fetchone()
        assert newest is not None
        connection.execute("update ops.watermarks set written_at = %s where model = 'market_data_v2'", (newest[0],))
        connection.execute(twice.encode(), (newest[0],))
    with pytest.raises(BuildFailed, match="a_bar_has_one_version_at_a_time"):
        told.warehouse.build("a_bar_has_one_version_at_a_time", tests=True)
    # The history is told on: without the second version in force.
    told.warehouse.execute(f"delete from {HISTORY} where dbt_valid_from <> dbt_updated_at")


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


# ---------------------------------------------------------------- corrections


PRICES = ("open", "high", "low", "close", "volume", "taker_buy_volume", "split_factor")
SAMPLES = ("open_interest", "funding_rate", "liquidations_long", "liquidations_short")


def test_every_stored_value_that_changed_is_on_record_and_no_other(told: Told) -> None:
    """Expected from the copies alone: each field of each bar against the last copy that had the bar."""
    present = {row["id"] for row in told.warehouse.query("select id from marts.market_data_v2")}
    last: dict[int, dict[str, Any]] = {}
    expected = set()
    revisions = set()
    for step in told.steps:
        for row in told.warehouse.query(f"select * from {step.copy}"):
            before = last.get(row["id"])
            last[row["id"]] = row
            for name in PRICES + SAMPLES if before and row["id"] in present else ():
                if before and row[name] != before[name] and (name in PRICES or before[name] is not None):
                    expected.add((row["id"], name, before[name], row[name], step.at))
            if before and row["id"] in present:
                revised = row["revision"] != before["revision"]
                judged = row["is_validated"] != before["is_validated"]
                if revised and judged:
                    verdicts = (Decimal(before["is_validated"]), Decimal(row["is_validated"]))
                    expected.add((row["id"], "is_validated", *verdicts, step.at))
                if row["source"] != before["source"]:
                    expected.add((row["id"], "source", None, None, step.at))
                elif revised and not judged and all(row[name] == before[name] for name in PRICES):
                    expected.add((row["id"], "validation_notes", None, None, step.at))
                if revised:
                    revisions.add((row["id"], step.at))
    recorded = {
        (row["original_record_id"], row["field_corrected"], row["old_value"], row["new_value"], row["at"])
        for row in told.warehouse.query("select *, correction_timestamp as at from marts.data_corrections")
    }
    assert len(expected) > 50
    assert recorded == expected
    assert {name for _, name, *_ in recorded} >= {"close", "is_validated", "source"}
    assert len(revisions) > 50 and revisions <= {(bar, at) for bar, *_, at in recorded}


def test_reasons_name_sources_and_people(told: Told) -> None:
    rows = told.warehouse.query(
        "select corrections.* from marts.data_corrections as corrections"
        " inner join marts.market_data_v2 as bars on bars.id = corrections.original_record_id"
        " where symbol = 'ETH' and timestamp = %s and field_corrected = 'close' order by correction_timestamp",
        told.corrected_bar,
    )
    by_hand = [row for row in rows if row["reason"] == "manual_correction"]
    assert [row["corrected_by"] for row in by_hand] == ["ann", "bob"]
    assert by_hand[0]["new_value"] == by_hand[1]["old_value"] == Decimal("999.5")
    # What the source had said meanwhile.
    assert by_hand[1]["new_value"] == told.history.bars["binance", "ETH", "1h"][told.corrected_bar].close
    reasons = told.warehouse.query("select distinct reason, corrected_by from marts.data_corrections order by 1, 2")
    assert {(row["reason"], row["corrected_by"]) for row in reasons} >= {
        ("source_changed", "binance"), ("source_changed", "yahoo"), ("source_updated", "binance"),
    }  # fmt: skip


def test_a_correction_by_hand_reaches_features_until_it_is_withdrawn(told: Told) -> None:
    copies = {step.name: step.copy for step in told.steps}

    def feature(step: str) -> list[dict[str, Any]]:
        return told.warehouse.query(
            f"select source, close, sma_20 from {copies[step]} where symbol = 'ETH' and timeframe = '1h'"
            " and timestamp >= %s order by timestamp limit 2",
            told.corrected_bar,
        )

    before, corrected, stands = (
        feature(step) for step in ("amended and withdrawn", "in the same second", "a source taken off the list")
    )
    withdrawn = feature("built anew, with news")
    assert (corrected[0]["source"], corrected[0]["close"]) == ("manual", Decimal("999.5"))
    assert [row["source"] for row in (before[0], withdrawn[0])] == ["binance", "binance"]
    assert corrected == stands
    # The next bar's average holds the corrected close.
    moved = (Decimal("999.5") - before[0]["close"]) / 20
    assert abs(corrected[1]["sma_20"] - before[1]["sma_20"] - moved) < Decimal("1e-9")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("DOGE", "1h", "2025-04-19T10:00", ["close=1"]), "there is no series DOGE 1h"),
        (("ETH", "1h", "2031-01-01T00:00", ["close=1"]), "there is no bar of ETH 1h at 2031"),
        (("ETH", "1h", "noon", ["close=1"]), "neither a date"),
        (("ETH", "1h", None, ["sma_20=1"]), "sma_20 is none of open high"),
        (("ETH", "1h", None, ["close=much", "low"]), r"'much' is no number; low: '' is no number"),
        (("ETH", "1h", None, ["close=NaN"]), "not a number below"),
        (("ETH", "1h", None, ["high=0.01"]), "high below low; high below open or close"),
        (("ETH", "1h", None, ["volume=-1"]), "volume negative"),
        (("ETH", "1h", None, []), "say what to correct"),
    ],
)
def test_a_wrong_correction_is_refused(told: Told, words: tuple[str, str, str | None, list[str]], message: str) -> None:
    symbol, timeframe, timestamp, values = words
    recorded = count(told.warehouse, "ops.manual_corrections")
    with told.command(), pytest.raises(ConfigurationError, match=message):
        manual_corrections.correct(symbol, timeframe, timestamp or told.corrected_bar.isoformat(), values, "a reason")
    assert count(told.warehouse, "ops.manual_corrections") == recorded


def test_a_correction_needs_a_reason_and_a_withdrawal_something_to_withdraw(told: Told) -> None:
    at = told.corrected_bar.isoformat()
    with told.command(), pytest.raises(ConfigurationError, match="say why"):
        manual_corrections.correct("ETH", "1h", at, ["close=1"], " ")
    with told.command(), pytest.raises(ConfigurationError, match="no correction to withdraw"):
        manual_corrections.withdraw("ETH", "1h", at, "twice")


def test_the_command_knows_the_checks_of_the_pipeline() -> None:
    macro = (ROOT / "dbt_project/macros/bars/bar_checks.sql").read_text()
    source = (ROOT / "scripts/corrections/manual_corrections.py").read_text()
    names = re.findall(r"^\s+'([^']+)': '", macro, re.M)
    assert len(names) == 8
    assert [name for name in names if f'"{name}"' not in source] == []


# ---------------------------------------------------------------- leakage


def test_nothing_stored_bar_by_bar_had_looked_ahead(told: Told) -> None:
    """Bars were stored over several builds, then all computed anew from the whole history, with the same result but for
    what corrections, late bars and late samples explain."""
    told.warehouse.build(
        "int_recompute_ranges+,+market_data_v2 market_data_history", full_refresh=True, without_staging=True
    )
    certificate = leakage.check(told.warehouse.database.dsn)
    assert certificate.unexplained == 0, certificate.as_text()
    assert certificate.is_clean
    assert {"bar corrected", "bar came late"} <= certificate.explained.keys()
    assert certificate.rewritten > 1000
    assert '"clean": true' in certificate.as_json()


@pytest.fixture(scope="module")
def leaky(make_warehouse: MakeWarehouse) -> Warehouse:
    """Its sma_20 is the next close: NULL while the bar is the last one, known when all is computed anew. An old system's
    table is there too, and has its own bar of the first day."""
    warehouse = make_warehouse("leaky")
    warehouse.execute(OLD_TABLE)
    mart = warehouse.project.directory / "dbt_project/models/marts/market_data/market_data_v2.sql"
    good = mart.read_text()
    assert HONEST in good
    mart.write_text(good.replace(HONEST, LOOKS_AHEAD))
    warehouse.assets([crypto("BTC", "1h")])
    for loaded in (LEAKY_BARS[:60], LEAKY_BARS[60:]):
        warehouse.now = loaded[-1].timestamp + STEP["1h"]
        warehouse.load_bars("binance", "BTC", "1h", loaded)
        warehouse.build(f"{BUILT} market_data.v1")
    warehouse.build(
        "int_recompute_ranges+,+market_data_v2 market_data_history", full_refresh=True, without_staging=True
    )
    return warehouse


def test_a_feature_that_looks_ahead_is_found(leaky: Warehouse) -> None:
    certificate = leakage.check(leaky.database.dsn)
    assert not certificate.is_clean
    found = {(row["timestamp"], row["feature"]) for row in certificate.examples if row["timeframe"] == "1h"}
    assert found == {(LEAKY_BARS[59].timestamp, "sma_20")}


def test_a_corrected_formula_is_a_bug_fix_and_the_old_table_follows(leaky: Warehouse) -> None:
    """make rebuild SELECT="sma_20 atr", where sma_20 was wrong and atr was not; with the dual write to the old table on."""
    old = "select time, open, close, volume, source, validation_notes, cast(xmin as text) as written from market_data"
    before = leaky.query(old)
    assert len(before) == 1 and before[0]["source"] == "old", "written to though the dual write is off"
    leaky.execute("create schema copies")
    leaky.execute("create table copies.leaking as select * from marts.market_data_v2")
    mart = leaky.project.directory / "dbt_project/models/marts/market_data/market_data_v2.sql"
    mart.write_text(mart.read_text().replace(LOOKS_AHEAD, HONEST))

    def rebuild() -> None:
        leaky.build(f"{BUILT} market_data.v1", variables={"rebuild": "sma_20 atr", "legacy_dual_write": True})

    rebuild()
    changed = leaky.query(
        "select later.id, earlier.sma_20 as old, later.sma_20 as new from marts.market_data_v2 as later"
        " inner join copies.leaking as earlier on earlier.id = later.id"
        " where later.sma_20 is distinct from earlier.sma_20"
    )
    recorded = leaky.query("select * from marts.data_corrections")
    assert {(row["reason"], row["corrected_by"], row["field_corrected"]) for row in recorded} == {
        ("bug_fix", "rebuild", "sma_20")
    }
    assert len(changed) > 60
    assert {(row["original_record_id"], row["old_value"], row["new_value"]) for row in recorded} == {
        (row["id"], row["old"], row["new"]) for row in changed
    }
    rewritten = count(leaky, "marts.market_data_v2", "updated_at > (select max(updated_at) from copies.leaking)")
    assert rewritten == len(changed), "a row in which nothing differs was written"
    certificate = leakage.check(leaky.database.dsn)
    assert certificate.explained["computed again"] == len(changed)

    # The old table: its own bar as it was, the other day ours, in its own types.
    after = leaky.query(f"{old} order by time")
    days = leaky.query("select * from marts.market_data_legacy order by time")
    assert len(days) > 1 and [row["time"] for row in after] == [row["time"] for row in days]
    assert after[0] == before[0]
    assert all("written by market_warehouse" in row["validation_notes"] for row in after[1:])
    assert [(row["open"], row["close"], row["volume"]) for row in after[1:]] == [
        (row["open"], row["close"], row["volume"]) for row in days[1:]
    ]
    history = row_versions(leaky)[HISTORY]
    rebuild()
    assert leaky.query(f"{old} order by time") == after, "a run without news wrote to the old table"
    assert (count(leaky, "marts.data_corrections"), row_versions(leaky)[HISTORY]) == (len(recorded), history)
    # News that comes with a rebuild: the last hours of both days are amended, without a change of a named feature.
    for opened in (23, 47):
        bar = LEAKY_BARS[opened]
        leaky.load_bars("binance", "BTC", "1h", [replace(bar, volume=bar.volume + 7)])
    rebuild()
    followed = leaky.query(f"{old} order by time")
    assert followed[0] == before[0]
    assert followed[1]["volume"] == after[1]["volume"] + 7 and followed[1]["close"] == after[1]["close"]
    assert count(leaky, "marts.data_corrections", "field_corrected = 'volume' and reason = 'source_updated'") >= 4


def test_a_correction_beyond_the_windows_explains_nothing(told: Told) -> None:
    """600 bars stored one by one; a run corrects bar 100 and writes over features of bars 550 and 551: from the first of
    them the longest window reaches back to the correction, from the other it does not."""
    bar = (
        "insert into snapshots.market_data_history (id, symbol, asset_class, timeframe, timestamp, close, hlc3, sma_20,"
        " dbt_valid_from, dbt_valid_to) select -n, 'FAR', 'crypto', '1h', opened_at, {close}, 1, {sma_20}, {known}"
        " from (select n, timestamptz '2020-01-01 00:00:00+00' + n * interval '1 hour' as opened_at,"
        " timestamptz '2021-01-01 00:00:00+00' as run from generate_series(1, 600) as n) as bars where {which}"
    )
    first = "opened_at + interval '1 hour', case when n in (100, 550, 551) then run end"
    told.warehouse.execute(bar.format(close=1, sma_20=1, known=first, which="true"))
    corrected = {"close": "case when n = 100 then 2 else 1 end", "sma_20": "case when n = 100 then 1 else 2 end"}
    try:
        told.warehouse.execute(bar.format(**corrected, known="run, null", which="n in (100, 550, 551)"))
        rows = told.warehouse.query(
            "select -id as n, feature, explained_by from marts.feature_rewrites where symbol = 'FAR' order by n"
        )
    finally:
        told.warehouse.execute("delete from snapshots.market_data_history where symbol = 'FAR'")
    assert [tuple(row.values()) for row in rows] == [(550, "sma_20", "bar corrected"), (551, "sma_20", None)]


def test_a_value_written_by_hand_is_found(told: Told) -> None:
    warehouse = told.warehouse
    warehouse.execute(
        "update marts.market_data_v2 set sma_20 = sma_20 + 0.01, updated_at = marks.written_at + interval '1 microsecond'"
        " from ops.watermarks as marks where marks.model = 'market_data_v2' and symbol = 'ETH' and timeframe = '1h'"
        f" and timestamp = timestamptz '{told.corrected_bar.isoformat()}'"
    )
    warehouse.execute(
        "update ops.watermarks set written_at = written_at + interval '1 microsecond' where model = 'market_data_v2'"
    )
    warehouse.build("market_data_history")
    certificate = leakage.check(warehouse.database.dsn)
    assert certificate.unexplained == 1
    assert [row["feature"] for row in certificate.examples] == ["sma_20"]
    assert "ETH 1h" in certificate.as_text()
