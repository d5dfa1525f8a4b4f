"""A timeframe and a calendar come to a warehouse in use by lines of seeds alone: 2h, and London with its holidays. The next
ordinary build has their bars, sessions, verdicts and features; API, status and site show them; nothing else changes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from extract.calendar import calendars
from extract.calendar.timeframes import STEPS
from extract.coverage.state import Known
from extract.load.responses import BadPayload, Task
from extract.plan import planner
from extract.providers.yahoo import Yahoo, helpers
from extract.symbols import registry
from scripts import site
from tests import payloads
from tests.dbt.test_incremental_equals_full import rows_of
from tests.dbt.test_quarantine import command
from tests.oracle.bars import Bar, Session, resample, sessions, slots
from tests.scripts.conftest import serving
from tests.warehouse import ROOT, MakeWarehouse, Warehouse, bar_answer, crypto, stock

# Clocks go forward in London on Sunday, 30 March.
FIRST, LAST = date(2025, 3, 24), date(2025, 4, 4)
MONDAY = datetime(2025, 3, 24, tzinfo=UTC)
LONDON = ZoneInfo("Europe/London")
HOUR = timedelta(hours=1)
LINES = {
    "timeframes.csv": ["2h,120"],
    "calendars.csv": ["XLON,Europe/London,12345,08:00,16:30,2024-12-01,,GBp"],
    "session_exceptions.csv": [
        "XLON,2024-12-24,08:00,12:30",
        "XLON,2024-12-25,,",
        "XLON,2024-12-26,,",
        "XLON,2024-12-31,08:00,12:30",
        "XLON,2025-01-01,,",
        "XLON,2025-04-18,,",
        "XLON,2025-04-21,,",
    ],
}
OLD = [crypto("BTC", "1h"), stock("MSFT", "1h", polygon="")]
# 2h is asked for, but nobody has it: it is resampled.
NEW = [
    crypto("BTC", "1h 2h"),
    stock("MSFT", "1h", polygon=""),
    stock("VOD", "1h 2h", polygon="", yahoo="VOD.L", calendar="XLON"),
]


def hours(opens: list[datetime]) -> list[Bar]:
    """Bars of an hour, all different."""
    return [
        Bar(at, Decimal(100 + n % 7), Decimal(108), Decimal(90 + n % 3), Decimal(95 + n % 11), Decimal(10 + n), None)
        for n, at in enumerate(opens)
    ]


def session_hours(calendar: str) -> list[datetime]:
    return [at for session in sessions(calendar, FIRST, LAST) for at in slots(session, HOUR)]


BTC = hours([MONDAY + n * HOUR for n in range(12 * 24)])
MSFT = hours(session_hours("XNYS"))
# No trade in the third hour of a Wednesday.
QUIET = datetime(2025, 4, 2, 10, tzinfo=LONDON).astimezone(UTC)
VOD = [bar for bar in hours(session_hours("XLON")) if bar.timestamp != QUIET]


@dataclass
class Grown:
    """The warehouse after the lines came, and the mart as it was before."""

    warehouse: Warehouse
    before: list[dict[str, Any]]


@pytest.fixture(scope="module")
def grown(make_warehouse: MakeWarehouse) -> Iterator[Grown]:
    warehouse = make_warehouse("new_timeframe", described=True)
    warehouse.now = datetime(2025, 4, 5, 12, tzinfo=UTC)
    warehouse.assets(OLD)
    warehouse.load_bars("binance", "BTC", "1h", BTC)
    warehouse.load_bars("yahoo", "MSFT", "1h", MSFT)
    warehouse.build()
    before = warehouse.query("select * from marts.market_data_v2 order by id")

    for name, lines in LINES.items():
        with (warehouse.project.directory / "dbt_project/seeds" / name).open("a") as file:
            file.write("".join(f"{line}\n" for line in lines))
    warehouse.assets(NEW)
    warehouse.now += timedelta(hours=1)
    whole = (VOD[0].timestamp, VOD[-1].timestamp + HOUR / 2)
    warehouse.load("yahoo", bar_answer("yahoo", "VOD", "1h", VOD, window=whole, time_zone="Europe/London"))
    warehouse.build(tests=True, unit_tests=False)
    with pytest.MonkeyPatch.context() as patch:
        # As in a process that begins in the project: this one has read the list of the checkout.
        patch.setitem(STEPS, "2h", 2 * HOUR)
        yield Grown(warehouse, before)


def market(grown: Grown, *arguments: str) -> str:
    """The output of a command, in the project, at the warehouse's time."""
    environment = {**os.environ, **grown.warehouse.build_environment(), "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        [sys.executable, "-m", "scripts.cli", *arguments],
        cwd=grown.warehouse.project.directory,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def bars(grown: Grown, symbol: str, timeframe: str) -> dict[datetime, dict[str, Any]]:
    rows = grown.warehouse.query(
        "select * from marts.market_data_v2 where symbol = %s and timeframe = %s order by timestamp", symbol, timeframe
    )
    return {row["timestamp"]: row for row in rows}


def test_what_was_there_is_as_it_was(grown: Grown) -> None:
    times = {"computed_at", "updated_at"}
    after = {row["id"]: row for row in grown.warehouse.query("select * from marts.market_data_v2")}
    assert len(grown.before) > 400
    for row in grown.before:
        assert {k: v for k, v in after[row["id"]].items() if k not in times} == {
            k: v for k, v in row.items() if k not in times
        }
    added = {(row["symbol"], row["timeframe"]) for id_, row in after.items()} - {
        (row["symbol"], row["timeframe"]) for row in grown.before
    }
    assert added == {("BTC", "2h"), ("MSFT", "2h"), *(("VOD", name) for name in ("1h", "2h", "4h", "1d", "1w"))}


@pytest.mark.parametrize(
    ("symbol", "calendar", "timeframe"),
    [("BTC", "24/7", "2h"), ("MSFT", "XNYS", "2h"), *(("VOD", "XLON", name) for name in ("2h", "4h", "1d", "1w"))],
)
def test_resampled_bars_are_those_of_the_sessions(grown: Grown, symbol: str, calendar: str, timeframe: str) -> None:
    made_of = {"BTC": BTC, "MSFT": MSFT, "VOD": VOD}[symbol]
    expected = resample(
        made_of, source_step=HOUR, timeframe=timeframe, calendar=calendar, until=grown.warehouse.now,
        without_trades={QUIET},
    )  # fmt: skip
    found = bars(grown, symbol, timeframe)
    assert list(found) == [one.timestamp for one in expected] and len(expected) >= 2
    for one in expected:
        row = found[one.timestamp]
        assert (row["open"], row["high"], row["low"], row["close"], row["volume"], row["session_date"]) == (
            one.open, one.high, one.low, one.close, one.volume,
            one.timestamp.astimezone(LONDON if symbol == "VOD" else UTC).date() if timeframe == "1d" else row["session_date"],
        )  # fmt: skip
        assert row["is_validated"] and row["data_completeness"] == 1, row["validation_notes"]


def test_sessions_are_london_s_before_and_after_clocks_change(grown: Grown) -> None:
    expected = sessions("XLON", date(2024, 12, 2), LAST)
    found = {
        (row["timeframe"], row["bar_date"]): row
        for row in grown.warehouse.query(
            "select * from intermediate.int_expected_bars where calendar = 'XLON' and alignment = 'open'"
        )
    }
    days = {day for name, day in found if name == "1d" and day <= LAST}
    assert days == {session.session_date for session in expected} and len(days) == 87
    for session in expected:
        for name, step in (("1h", HOUR), ("2h", 2 * HOUR)):
            row = found[name, session.session_date]
            assert Session(row["bar_date"], row["first_expected_at"], row["closes_at"]) == session
            assert row["expected_bars"] == len(slots(session, step))
        midnight = datetime.combine(session.session_date, datetime.min.time(), LONDON)
        assert found["1d", session.session_date]["first_expected_at"] == midnight
    opens = {day: found["2h", day]["first_expected_at"].hour for day in (date(2025, 3, 28), date(2025, 3, 31))}
    assert list(opens.values()) == [8, 7]


def test_what_is_missing_has_a_verdict(grown: Grown) -> None:
    gaps = grown.warehouse.query("select * from marts.gap_verdicts where symbol = 'VOD' order by timeframe")
    assert [(gap["timeframe"], gap["gap_from"], gap["verdict"]) for gap in gaps] == [("1h", QUIET, "no trades")]
    assert grown.warehouse.query("select * from marts.rejected_bars") == []


def test_every_feature_is_that_of_the_reference(grown: Grown, tmp_path: Any) -> None:
    with command(grown.warehouse, grown.warehouse.now):
        entries = site.write_dictionary(tmp_path, url=grown.warehouse.database.dsn)
    assert {entry.feature.name: entry.evidence.verdict for entry in entries if entry.evidence.verdict != "agrees"} == {
        entry.feature.name: entry.evidence.verdict for entry in entries if entry.feature.group == "Derivatives"
    }
    hour, day = ([row[f"return_{name}"] for row in bars(grown, "BTC", "2h").values()] for name in ("1h", "1d"))
    # An hour before a bar of two hours closes no bar opens; a day before it there is one.
    assert set(hour) == {None} and None not in day[12:] and set(day[:12]) == {None}


def test_extract_asks_for_london_s_days(grown: Grown) -> None:
    with command(grown.warehouse, grown.warehouse.now):
        asset = next(one for one in registry.load() if one.symbol == "VOD")
        london = calendars.of("XLON", "stock")
        friday = datetime(2025, 4, 4, 16, 30, tzinfo=LONDON)
        assert london.closed_until(friday, "1d") == datetime(2025, 4, 5, tzinfo=LONDON)
        assert london.closed_until(friday - timedelta(seconds=1), "1w") == datetime(2025, 3, 31, tzinfo=LONDON)
        assert london.closed_until(friday, "1w") == datetime(2025, 4, 7, tzinfo=LONDON)
        planned = planner.plan_new(planner.Series(asset, "1d", ("yahoo",)), Yahoo(), Known(), friday)
        assert planned.windows[-1][1] == datetime(2025, 4, 5, tzinfo=LONDON)
        assert {start.astimezone(LONDON).hour for start, _ in planned.windows} == {0}

        days = [datetime(2025, 3, day, tzinfo=LONDON).astimezone(UTC) for day in (27, 28, 31)]
        task = Task(
            "yahoo", "bars", days[0], days[-1] + timedelta(days=1), "VOD", "stock", "VOD.L", "1d", calendar="XLON"
        )
        chart: Any = payloads.yahoo_chart(hours(days), "1d", "Europe/London", day_starts_at=8 * HOUR)
        meta = chart["chart"]["result"][0]["meta"]
        assert helpers.chart(payloads.to_json(chart).encode(), task, "1d").row_count == 3
        meta["currency"] = "GBp"
        assert helpers.chart(payloads.to_json(chart).encode(), task, "1d").row_count == 3
        meta["currency"] = "USD"
        with pytest.raises(BadPayload, match="asked for prices in GBp, got 'USD'"):
            helpers.chart(payloads.to_json(chart).encode(), task, "1d")


def test_commands_api_and_site_show_them(grown: Grown) -> None:
    shown = market(grown, "status")
    assert [line.split()[:3] for line in shown.splitlines() if line.startswith("VOD")] == [
        ["VOD", "stock", name] for name in ("1h", "2h", "4h", "1d", "1w")
    ]
    assert "VOD" in market(grown, "list")
    market(grown, "site")
    folder = grown.warehouse.project.directory / "site" / "data"
    series = (folder / "series.js").read_text()
    menu, _, _ = json.loads(f"[{series[series.index('(') + 1 : series.rindex(')')]}]")
    assert [(one["timeframe"], one["minutes"]) for one in menu if one["symbol"] == "BTC"][:3] == [
        ("1h", 60), ("2h", 120), ("4h", 240)
    ]  # fmt: skip
    assert (folder / "stock.VOD.2h" / "head.js").exists()
    with serving(
        grown.warehouse.database, grown.warehouse.project.directory, WAREHOUSE_NOW=grown.warehouse.now.isoformat()
    ) as api:
        answer = api.get("/api/v1/data/VOD", timeframe="2h", as_of=grown.warehouse.now.isoformat()).json()
        # From Friday's last bar on: it ends with the session, at 16:30.
        closed = datetime(2025, 4, 4, 16, 30, tzinfo=LONDON)
        assert answer["count"] == 50 and answer["is_stale"] is False
        assert answer["data_age_seconds"] == (grown.warehouse.now - closed).total_seconds()
        refused = api.get("/api/v1/data/VOD", timeframe="3h")
        assert refused.status_code == 422 and "'1h', '2h' or '4h'" in refused.text.replace(", '4h'", " or '4h'")


# Last: it builds again.
def test_a_full_refresh_gives_the_same(grown: Grown) -> None:
    warehouse = grown.warehouse
    relations = ("marts.market_data_v2", "intermediate.int_answers")
    incremental = {name: rows_of(warehouse, name) for name in relations}
    warehouse.build("+market_data_v2 +int_answers", full_refresh=True)
    for name in relations:
        assert rows_of(warehouse, name) == incremental[name], name
