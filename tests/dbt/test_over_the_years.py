"""What happens to a warehouse over the years: splits and dividends, told, moved and taken back; listings that begin and
end; a reader's move from the old table; old payloads thrown away.

One warehouse for all of it, in the order of the file: real prices of AAPL where the recorded data are there, made-up
symbols for the rest. What a later test builds on is said in its fixture.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from extract.core import settings
from scripts.postgres import retention
from tests import payloads
from tests.conftest import SHARED_DATA
from tests.dbt.against_reference import lean_bars
from tests.dbt.test_incremental_equals_full import EXCLUDED_COLUMNS, build_anew, rows_of
from tests.extract.conftest import forget
from tests.oracle.bars import Bar, sessions
from tests.oracle.real_data import NEW_YORK
from tests.warehouse import Answer, MakeWarehouse, Warehouse, stock

NOW = datetime(2025, 3, 3, 2, 0, tzinfo=UTC)
DAYS = [day.session_date for day in sessions("XNYS", date(2024, 3, 1), date(2025, 2, 28))]
EX_DATE, MOVED_TO = DAYS[150], DAYS[153]
JUMP, CRASH = DAYS[100], DAYS[60]
EVER = datetime(1970, 1, 1, tzinfo=UTC)
SELECTED = (
    "+market_data_v2 market_data.v1 +market_data_adjusted +corporate_actions +split_suspicions +rejected_bars"
    " +rejected_rows +unfinished_bars +data_corrections"
)
COMPARED = (
    "marts.market_data_v2", "marts.rejected_bars", "marts.unfinished_bars", "marts.corporate_actions",
    "marts.market_data_adjusted", "intermediate.int_bars", "intermediate.int_bar_revisions",
    "intermediate.int_action_observations",
)  # fmt: skip
RECORDED = "yahoo/recorded_http_yahoo_finance2/"


def midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=NEW_YORK).astimezone(UTC)


def walk(seed: int, jumps: Mapping[date, Decimal] | None = None) -> list[Bar]:
    """A year of days; from each jump's day on, prices are divided by its ratio."""
    chance = np.random.default_rng(seed)
    price, divisor, bars = 100.0, Decimal(1), []
    for day in DAYS:
        divisor *= (jumps or {}).get(day, Decimal(1))
        first, price = price, price * float(np.exp(chance.normal(0, 0.01)))
        low, high = min(first, price) * 0.99, max(first, price) * 1.01
        opened, top, bottom, closed = (
            (Decimal(str(value)) / divisor).quantize(Decimal("0.0001")) for value in (first, high, low, price)
        )
        volume = Decimal(int(chance.integers(1000, 9000))) * 100
        bars.append(Bar(midnight(day), opened, top, bottom, closed, volume))
    return bars


SYN, YAH, JMP, DIV = (
    walk(1),
    walk(2, {EX_DATE: Decimal(4)}),
    walk(3, {JUMP: Decimal(2)}),
    walk(4, {CRASH: Decimal("1.7")}),
)
DIVIDENDS = {DAYS[40]: Decimal("0.5"), DAYS[120]: Decimal("1.25"), DAYS[200]: Decimal("0.75")}


def adjusted_as_yahoo(bars: list[Bar], splits: Mapping[date, int]) -> list[Bar]:
    """In single precision, adjusted for every split."""
    out = []
    for bar in bars:
        day = bar.timestamp.astimezone(NEW_YORK).date()
        factor = int(np.prod([ratio for ex_date, ratio in splits.items() if ex_date > day], initial=1))
        opened, high, low, close = (
            Decimal(repr(float(np.float32(price / factor)))) for price in (bar.open, bar.high, bar.low, bar.close)
        )
        out.append(Bar(bar.timestamp, opened, high, low, close, bar.volume * factor))
    return out


def reported_splits(splits: Mapping[date, tuple[int, int]], fetched_at: datetime, symbol: str = "SYN") -> Answer:
    window = (EVER, fetched_at + timedelta(days=30))
    return Answer("splits", symbol, payloads.polygon_splits(splits), window=window, fetched_at=fetched_at)


def dump(warehouse: Warehouse) -> dict[str, Any]:
    return {relation: rows_of(warehouse, relation) for relation in COMPARED}


def recorded_chart(name: str) -> str:
    return json.dumps(json.loads((SHARED_DATA / RECORDED / name).read_text())["response"]["bodyJson"])


@pytest.fixture(scope="module")
def years(make_warehouse: MakeWarehouse) -> Warehouse:
    """Loaded and built once; SYN's 2:1 split on EX_DATE is not told yet."""
    warehouse = make_warehouse("warehouse")
    warehouse.now = NOW
    warehouse.assets(
        [
            stock("SYN", "1d"),
            stock("YAH", "1d", polygon=""),
            stock("JMP", "1d"),
            stock("DIV", "1d"),
            # The old name until the middle of the year, the new one after a month's pause, until it left the exchange.
            stock("REN", "1d", polygon="OLD", yahoo="", active_to=str(DAYS[99])),
            stock("REN", "1d", polygon="REN", yahoo="", active_from=str(DAYS[120]), active_to=str(DAYS[200])),
            stock("AAPL", "1d", polygon=""),
            stock("AAPLP", "1d", polygon="AAPLP", yahoo=""),
            stock("MSFT", "1d", polygon=""),
            stock("NVDA", "1d", polygon="NVDA"),
        ]
    )
    window = (midnight(DAYS[0]), NOW)
    for symbol, bars in (("SYN", SYN), ("JMP", JMP), ("DIV", DIV), ("REN", SYN)):
        warehouse.load_bars("polygon", symbol, "1d", bars, window=window)
    # The window goes on as the runs do: most of what comes is known, and one bar was amended in between.
    amended = [*SYN[:-3], replace(SYN[-3], volume=SYN[-3].volume + 1), *SYN[-2:]]
    for later, bars in ((1, SYN), (2, amended), (3, amended)):
        again = bars[-20 - later :]
        at = NOW + timedelta(minutes=later)
        warehouse.load_bars("polygon", "SYN", "1d", again, window=(again[0].timestamp, at), fetched_at=at)
    warehouse.load(
        "yahoo",
        *(
            _chart("YAH", adjusted_as_yahoo(YAH, {EX_DATE: 4}), splits={EX_DATE: (4, 1)}),
            _chart(
                "DIV",
                adjusted_as_yahoo(DIV, {}),
                dividends={day: amount * (2 if day == DAYS[200] else 1) for day, amount in DIVIDENDS.items()},
            ),
        ),
    )
    dividends = payloads.polygon_dividends(DIVIDENDS)
    warehouse.load("polygon", Answer("dividends", "DIV", dividends, window=(EVER, NOW + timedelta(days=30))))
    if SHARED_DATA.exists():
        _load_recorded(warehouse)
    warehouse.build(f"{SELECTED} +legacy_parallel_days +gap_verdicts")
    return warehouse


def _chart(symbol: str, bars: list[Bar], **events: Any) -> Answer:
    payload = payloads.yahoo_chart(bars, "1d", **events)
    return Answer("bars", symbol, payload, "1d", (bars[0].timestamp, NOW), origin="chart")


def _load_recorded(warehouse: Warehouse) -> None:
    """AAPL as traded from Polygon under one symbol, adjusted from Yahoo under another; Yahoo's real charts."""
    recent = [bar for bar in lean_bars(SHARED_DATA, "aapl") if bar.timestamp.year in (2014, 2020)]
    warehouse.load_bars("polygon", "AAPLP", "1d", recent)
    ratios = {date(2014, 6, 9): 7, date(2020, 8, 31): 4}
    known = {day: (ratio, 1) for day, ratio in ratios.items()}
    last = midnight(date(2020, 8, 31))
    early = [bar for bar in recent if bar.timestamp < last]
    warehouse.load("yahoo", _chart("AAPL", adjusted_as_yahoo(early, ratios), splits={date(2014, 6, 9): (7, 1)}))
    charts = {
        "AAPL": ("chart-AAPL-2020-08-31-to-2020-11-07.json", "2020-08-31", "2020-11-07"),
        "MSFT": ("historical-via-chart-MSFT-dividends-2021-02-01-to-2022-01-31.csv.json", "2021-02-01", "2022-01-31"),
        "NVDA": ("historical-via-chart-NVDA-split-2021-02-01-to-2022-01-31.csv.json", "2021-02-01", "2022-01-31"),
    }
    for symbol, (name, first, end) in charts.items():
        window = (midnight(date.fromisoformat(first)), midnight(date.fromisoformat(end)))
        body = json.loads(recorded_chart(name))
        warehouse.load("yahoo", Answer("bars", symbol, body, "1d", window, origin="chart"))
    warehouse.load("polygon", reported_splits({date(2021, 7, 20): (4, 1), date(2024, 6, 10): (10, 1)}, NOW, "NVDA"))
    warehouse.load("polygon", reported_splits(known, NOW, "AAPLP"))


@pytest.fixture(scope="module")
def recorded(years: Warehouse, shared_data: object) -> Warehouse:
    """The same, where the recorded data are there."""
    return years


def actions(warehouse: Warehouse, symbol: str) -> list[tuple[Any, ...]]:
    rows = warehouse.query(
        "select kind, ex_date, verdict, is_used, used_source, used_value from marts.corporate_actions"
        " where symbol = %s order by kind, ex_date",
        symbol,
    )
    return [tuple(row.values()) for row in rows]


# ---------------------------------------------------------------- as traded


def test_yahoos_adjusted_prices_are_brought_back_to_as_traded(recorded: Warehouse) -> None:
    """Through 7:1 and 4:1: AAPL from Yahoo equals AAPL from Polygon, to the hundredth of a cent. From 2020-08-31 on the
    answer is Yahoo's own, recorded in 2025."""
    rows = recorded.query(
        "select yahoo.session_date, yahoo.split_factor, polygon.split_factor as told,"
        " greatest(abs(yahoo.open - polygon.open), abs(yahoo.high - polygon.high), abs(yahoo.low - polygon.low),"
        " abs(yahoo.close - polygon.close)) as off, abs(yahoo.close / polygon.close - 1) as share"
        " from marts.market_data_v2 as yahoo"
        " inner join marts.market_data_v2 as polygon using (session_date, timeframe)"
        " where yahoo.symbol = 'AAPL' and polygon.symbol = 'AAPLP' and timeframe = '1d' order by 1"
    )
    assert [row["split_factor"] for row in rows] == [row["told"] for row in rows]
    made = [row for row in rows if row["session_date"] < date(2020, 8, 31)]
    assert len(made) > 400 and max(row["off"] for row in made) <= Decimal("0.0001")
    real = [row for row in rows if date(2020, 8, 31) <= row["session_date"] <= date(2020, 11, 6)]
    print(f"recorded by Yahoo: {len(real)} days, at most {max(row['off'] for row in real)} off")
    # Two vendors' real prints of a consolidated day: a share of a percent apart, and no factor of 4 or 28.
    assert len(real) == 49 and max(row["share"] for row in real) < Decimal("0.01")


def test_a_split_after_the_recorded_days_is_undone_too(recorded: Warehouse) -> None:
    """Yahoo's NVDA of 2021, recorded in 2025, is adjusted for 4:1 (2021) and for 10:1 (2024), which its window does not
    tell: Polygon does. It closed at 751.19 on 2021-07-19 and at 186.12 on the next day, the first one of 4:1."""
    rows = recorded.query(
        "select session_date, round(close, 2) as close from marts.market_data_v2 where symbol = 'NVDA'"
        " and timeframe = '1d' and session_date between '2021-07-19' and '2021-07-20' order by 1"
    )
    assert [row["close"] for row in rows] == [Decimal("751.19"), Decimal("186.12")]


# ---------------------------------------------------------------- reconciled, adjusted, suspected


def test_dividends_of_two_sources_are_reconciled(years: Warehouse) -> None:
    verdicts = ("agreed", "agreed", "differs")
    assert actions(years, "DIV") == [
        ("dividend", day, verdict, True, "polygon", amount)
        for (day, amount), verdict in zip(DIVIDENDS.items(), verdicts, strict=True)
    ]
    assert actions(years, "YAH") == [("split", EX_DATE, "one source", True, "yahoo", 4)]


def test_adjusted_prices_equal_an_independent_computation(years: Warehouse) -> None:
    splits: dict[str, dict[date, int]] = {"YAH": {EX_DATE: 4}, "DIV": {}, "JMP": {}}
    for symbol, bars, dividends in (("YAH", YAH, {}), ("DIV", DIV, DIVIDENDS), ("JMP", JMP, None)):
        rows = years.query(
            "select close, volume, total_return_close from marts.market_data_adjusted"
            " where symbol = %s and timeframe = '1d' order by timestamp",
            symbol,
        )
        closes = np.array([float(bar.close) for bar in bars])
        divided = np.array([np.prod([r for ex, r in splits[symbol].items() if ex > day], initial=1.0) for day in DAYS])
        assert np.allclose([float(row["close"]) for row in rows], closes / divided, rtol=1e-12)
        volumes = np.array([float(bar.volume) for bar in bars])
        assert np.allclose([float(row["volume"]) for row in rows], volumes * divided, rtol=1e-12)
        if dividends is None:
            assert {row["total_return_close"] for row in rows} == {None}, "nobody was asked for JMP's dividends"
            continue
        # Forward, the other way round than the SQL: the wealth of an owner who buys more shares with each dividend.
        returns = closes[1:] / closes[:-1] * (divided[:-1] / divided[1:])
        for number, day in enumerate(DAYS[1:]):
            if day in dividends:
                returns[number] *= 1 / (1 - float(dividends[day]) / closes[number])
        wealth = np.concatenate([[1.0], np.cumprod(returns)])
        ours = np.array([float(row["total_return_close"]) for row in rows])
        assert np.allclose(ours / ours[-1], wealth / wealth[-1], rtol=1e-9)


def test_total_return_equals_yahoos_adjclose(recorded: Warehouse) -> None:
    """MSFT's year with four dividends, relative to its last day (later dividends are in Yahoo's column only)."""
    chart = json.loads(recorded_chart("historical-via-chart-MSFT-dividends-2021-02-01-to-2022-01-31.csv.json"))[
        "chart"
    ]["result"][0]
    theirs = np.array(chart["indicators"]["adjclose"][0]["adjclose"])
    rows = recorded.query(
        "select total_return_close from marts.market_data_adjusted where symbol = 'MSFT' and timeframe = '1d'"
        " order by timestamp"
    )
    ours = np.array([float(row["total_return_close"]) for row in rows])
    off = np.abs(ours / ours[-1] / (theirs / theirs[-1]) - 1).max()
    print(f"{len(ours)} days, at most {off:.1e} off")
    assert len(ours) == len(theirs) and off < 1e-5


def test_suspicious_jumps_are_flagged(years: Warehouse) -> None:
    """JMP halves without a split; DIV falls by 1.7, as no split does; YAH's split has its jump."""
    rows = years.query(
        "select symbol, session_date, suspicion, ratio from marts.split_suspicions"
        " where symbol not in ('AAPL', 'AAPLP', 'NVDA', 'MSFT')"
    )
    assert [tuple(row.values()) for row in rows] == [("JMP", JUMP, "jump without a split", 2)]


# ---------------------------------------------------------------- a rename and a delisting


def test_no_bar_outside_the_registry(years: Warehouse) -> None:
    """Polygon answered for all days; between the names and after the delisting nothing is ours, nor missing."""
    rows = years.query("select session_date from marts.market_data_v2 where symbol = 'REN' and timeframe = '1d'")
    assert {row["session_date"] for row in rows} == {*DAYS[:100], *DAYS[120:201]}
    gaps = years.query("select count(*) as many from marts.gap_verdicts where symbol = 'REN' and timeframe = '1d'")
    assert gaps[0]["many"] == 0


# ---------------------------------------------------------------- the old table


@pytest.fixture(scope="module")
def old_table(years: Warehouse) -> Iterator[str]:
    """The old system's table, with SYN's and DIV's bars until the last day but one."""
    years.execute(
        "create table public.market_data (id bigserial primary key, time timestamptz not null,"
        " symbol varchar(20) not null, timeframe varchar(10) not null default '1d', open numeric(19, 8) not null,"
        " high numeric(19, 8) not null, low numeric(19, 8) not null, close numeric(19, 8) not null, volume bigint,"
        " source varchar(20), validated boolean, quality_score numeric(3, 2), validation_notes text,"
        " gap_detected boolean, volume_anomaly boolean, fetched_at timestamptz, unique (symbol, timeframe, time))"
    )
    columns = (
        "time, symbol, open, high, low, close, volume, source, validated, quality_score, validation_notes,"
        " gap_detected, volume_anomaly, fetched_at"
    )
    years.execute(
        f"insert into public.market_data ({columns}) select {columns} from marts.market_data_legacy"
        f" where symbol in ('SYN', 'DIV') and time < '{midnight(DAYS[-1])}'"
    )
    years.execute(
        f"update public.market_data set close = close * 1.01 where symbol = 'SYN' and time = '{midnight(DAYS[-10])}'"
    )
    years.execute(f"delete from public.market_data where symbol = 'DIV' and time = '{midnight(DAYS[-12])}'")
    years.build("stg_legacy__market_data legacy_parallel_check legacy_parallel_days")
    yield "public.market_data"
    years.execute("drop table if exists public.market_data cascade")


def test_the_legacy_view_is_the_plans(years: Warehouse) -> None:
    rows = years.query(
        "select column_name, data_type, numeric_precision, numeric_scale from information_schema.columns"
        " where table_schema = 'marts' and table_name = 'market_data_legacy' order by ordinal_position"
    )
    assert [row["column_name"] for row in rows] == [
        "time", "symbol", "open", "high", "low", "close", "volume", "source", "validated", "quality_score",
        "validation_notes", "gap_detected", "volume_anomaly", "fetched_at",
    ]  # fmt: skip
    types = {row["column_name"]: row["data_type"] for row in rows}
    assert types["volume"] == "bigint" and types["time"] == "timestamp with time zone"
    assert (rows[2]["numeric_precision"], rows[2]["numeric_scale"]) == (19, 8)


def test_both_systems_are_compared_day_by_day(years: Warehouse, old_table: str) -> None:
    counts = years.query("select verdict, count(*) as bars from marts.legacy_parallel_check group by 1 order by 1")
    bars = 2 * len(DAYS)
    # The newest day the old system has not reached yet; it lacks one more bar of DIV.
    assert {row["verdict"]: row["bars"] for row in counts} == {"differs": 1, "only new": 3, "same": bars - 4}
    differing = years.query("select symbol, day, differing from marts.legacy_parallel_check where verdict = 'differs'")
    assert [tuple(row.values()) for row in differing] == [("SYN", DAYS[-10], "close")]
    days = years.query("select * from marts.legacy_parallel_days order by day")
    assert [row["day"] for row in days if not row["is_clean"]] == [DAYS[-12], DAYS[-10]]
    assert (days[-1]["day"], days[-1]["verdict"]) == (DAYS[-2], "clean for 8 of 14 days")
    assert days[-20]["verdict"] == f"ready to deprecate after {len(DAYS) - 20} clean days"


def test_rollback_fills_the_old_table_and_leaves_its_rows(years: Warehouse, old_table: str) -> None:
    before = years.query(f"select * from {old_table} order by id")
    _restore(years)
    after = years.query(f"select * from {old_table} order by id")
    assert after[: len(before)] == before, "rows of the old system were touched"
    added = after[len(before) :]
    assert added and all("written by market_warehouse" in row["validation_notes"] for row in added)
    held = years.query("select count(*) as bars from marts.market_data_legacy")
    assert len(after) == held[0]["bars"]
    verdicts = years.query("select distinct verdict from marts.legacy_parallel_check order by 1")
    assert [row["verdict"] for row in verdicts] == ["differs", "same", "written by us"]
    _restore(years)
    assert years.query(f"select * from {old_table} order by id") == after, "a second rollback has nothing to do"
    # The new system may now go altogether; readers of the old table go on.
    years.execute("drop table public.market_data cascade")
    _restore(years)
    assert years.query(f"select count(*) as bars from {old_table}")[0]["bars"] == held[0]["bars"]


def _restore(warehouse: Warehouse) -> None:
    warehouse.operate("restore_old_table")


# ---------------------------------------------------------------- a split, told late, moved, taken back


def test_a_split_touches_nothing_before_its_ex_date(years: Warehouse) -> None:
    """And one that is moved or retracted leaves no trace at its old ex-date: SYN is, to the bit, what it was before."""

    def rows() -> dict[int, dict[str, Any]]:
        return {row["id"]: row for row in years.query("select * from marts.market_data_v2 where symbol = 'SYN'")}

    untouched = rows()
    years.now = NOW + timedelta(hours=1)
    years.load("polygon", reported_splits({EX_DATE: (2, 1)}, years.now))
    years.build(SELECTED, without_staging=True)
    split = rows()
    touched = [row for key, row in split.items() if row != untouched[key]]
    days = {"1d": timedelta(0), "1w": timedelta(days=6)}
    before = [row for row in touched if row["session_date"] + days[row["timeframe"]] < EX_DATE]
    print(
        f"a split injected mid-history: {len(touched)} of {len(split)} rows touched, {len(before)} before its ex-date"
    )
    assert not before and len(touched) >= len(DAYS) - 150
    assert actions(years, "SYN") == [("split", EX_DATE, "one source", True, "polygon", 2)]
    suspected = years.query("select session_date, suspicion from marts.split_suspicions where symbol = 'SYN'")
    assert [tuple(row.values()) for row in suspected] == [(EX_DATE, "split without a jump")]

    # Yahoo dates the same split three days off; Polygon comes first.
    years.now = NOW + timedelta(hours=2)
    halved = adjusted_as_yahoo(SYN, {MOVED_TO: 2})
    years.load("yahoo", _chart("SYN", halved, splits={MOVED_TO: (2, 1)}))
    years.build(SELECTED, without_staging=True)
    assert [row[1:4] for row in actions(years, "SYN")] == [
        (EX_DATE, "one source", True),
        (MOVED_TO, "other date", False),
    ]
    factor = years.query(
        "select split_factor from marts.market_data_v2 where symbol = 'SYN' order by timestamp desc limit 1"
    )
    assert factor[0]["split_factor"] == 2, "counted twice"

    # Both take it back.
    years.now = NOW + timedelta(hours=3)
    years.load("polygon", reported_splits({}, years.now))
    years.load("yahoo", Answer("bars", "SYN", payloads.yahoo_chart(SYN, "1d"), "1d", (midnight(DAYS[0]), years.now)))
    # Meanwhile by hand: the split that JMP's prices show is set; the one by which Yahoo's of YAH are divided is struck.
    years.correct_split("JMP", JUMP, "set", (2, 1))
    years.correct_split("YAH", EX_DATE, "strike")
    years.build(SELECTED, without_staging=True)
    assert [row[1:4] for row in actions(years, "SYN")] == [
        (EX_DATE, "withdrawn", False),
        (MOVED_TO, "withdrawn", False),
    ]
    # On record stays, of each bar from the ex-date on, what the false split made of it and that it went.
    recorded = years.query(
        "select old_value, new_value, reason, count(*) as bars, min(correction_timestamp) as at"
        " from marts.data_corrections where field_corrected = 'split_factor' and original_record_id in ("
        "   select id from marts.market_data_v2 where symbol = 'SYN' and timeframe = '1d')"
        " group by old_value, new_value, reason order by at"
    )
    from_ex_date = len(DAYS) - 150
    assert [(row["old_value"], row["new_value"], row["reason"], row["bars"]) for row in recorded] == [
        (1, 2, "late_data", from_ex_date),
        (2, 1, "source_updated", from_ex_date),
    ]
    by_hand = years.query(
        "select bars.symbol, told.field_corrected, count(*) as bars, min(bars.session_date) as since,"
        " min(told.reason) as reason, max(told.reason) as last_reason, count(told.corrected_by) as signed,"
        " max(told.corrected_by) as corrected_by"
        " from marts.data_corrections as told"
        " inner join marts.market_data_v2 as bars on bars.id = told.original_record_id"
        " where bars.symbol in ('JMP', 'YAH') and bars.timeframe = '1d'"
        " and told.field_corrected in ('split_factor', 'close') group by 1, 2 order by 1, 2"
    )
    after_jump, before_ex_date = len(DAYS) - DAYS.index(JUMP), DAYS.index(EX_DATE)
    signed = ("manual_correction", "manual_correction")
    assert [tuple(row.values()) for row in by_hand] == [
        ("JMP", "split_factor", after_jump, JUMP, *signed, after_jump, "a tester"),
        # As traded is now what Yahoo sent, a fourth, from the first day on.
        ("YAH", "close", before_ex_date, DAYS[0], *signed, before_ex_date, "a tester"),
        ("YAH", "split_factor", len(DAYS) - before_ex_date, EX_DATE, *signed, len(DAYS) - before_ex_date, "a tester"),
    ]
    changing = EXCLUDED_COLUMNS | {"revision", "amended_from"}
    restored = rows()
    for key, row in untouched.items():
        differing = {name for name in row if row[name] != restored[key][name]} - changing
        assert not differing, (row["timeframe"], row["timestamp"], differing)


# ---------------------------------------------------------------- pruned


def test_pruned_payloads_change_nothing(years: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full refresh without them equals what was built with them, revisions included; what told something stays."""
    for name, value in {**years.database.environment, "WAREHOUSE_NOW": "2026-03-03T00:00:00Z"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(years.project.directory)
    forget()
    try:
        assert settings.load().warehouse_now
        held = "select count(*) as payloads from raw_polygon.responses where payload ? 'results' and endpoint = 'bars'"
        before, payloads_before = dump(years), years.query(held)[0]["payloads"]
        assert retention.prune(timedelta(days=500)) == []
        planned = retention.prune(timedelta(days=30), dry_run=True)
        assert years.query(held)[0]["payloads"] == payloads_before
        # Of SYN's three later answers the first and the last repeat what is known, the second one amends a bar.
        assert [(one.provider, one.symbol, one.payloads) for one in planned] == [("polygon", "SYN", 2)]
        assert retention.prune(timedelta(days=30)) == planned
        assert years.query(held)[0]["payloads"] == payloads_before - 2
        assert retention.prune(timedelta(days=30)) == []
    finally:
        monkeypatch.undo()
        forget()
    build_anew(years, SELECTED)
    after = dump(years)
    for relation in COMPARED:
        assert after[relation] == before[relation], relation
    revisions = years.query("select count(*) as many from intermediate.int_bar_revisions where revision > 1")
    assert revisions[0]["many"] >= 1
