"""A hole through its states (docs/reference/coverage.md), by real runs and builds over simulated days: open, asked of the
API and of the next source on the schedule, then final with its evidence; or filled late, and on record as a correction.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from typer.testing import CliRunner

from extract.calendar.timeframes import FIRST_REACH
from extract.transport.retry_policy import RETRY_POLICY
from scripts.cli import app
from scripts.simulator import environment
from tests.end_to_end.venue import File, Row, Twist, Venue, close, instant, ms, serving
from tests.extract.conftest import forget
from tests.warehouse import MakeWarehouse, crypto

NOW, HOUR, DAY = instant("2026-11-20 00:10"), timedelta(hours=1), timedelta(days=1)
# In the file of a day, and long enough ago that no run re-reads it.
FROM, TO = instant("2026-11-16 12:15"), instant("2026-11-16 13:45")
BUILT = "+bar_gaps +data_corrections"


def outside(at: float) -> bool:
    return not ms(FROM) <= at < ms(TO)


def in_no_file(rows: list[Row], file: File) -> list[Row]:
    return [row for row in rows if outside(int(row[0]) / 1000)]


def refused(rows: list[Row], file: File) -> list[Row]:
    return [row if outside(int(row[0]) / 1000) else [*row[:4], "1e12", *row[5:]] for row in rows]


def test_a_hole_to_its_end(make_warehouse: MakeWarehouse) -> None:
    venue = Venue(NOW)

    def over_rest(until: datetime) -> Callable[..., list[Row]]:
        return lambda rows, query, n: [row for row in rows if outside(row[0]) or venue.now >= until]

    def of_polygon(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [row for row in rows if outside(row["t"])]

    never = datetime.max.replace(tzinfo=NOW.tzinfo)
    lacking: Twist = {"csv": in_no_file, "klines": over_rest(never), "polygon": of_polygon}
    venue.twists = {
        # Nobody ever has it.
        "LOST": lacking,
        # The next source has it.
        "NEXT": {**lacking, "polygon": lambda rows: rows},
        # The API has it, some days late.
        "LATE": {**lacking, "klines": over_rest(NOW + 3 * DAY)},
        # The API has it all along.
        "FILE": {"csv": in_no_file},
        # The file has rows there that we refuse.
        "ODD": {"csv": refused},
    }
    warehouse = make_warehouse("hole")
    two = {"yahoo": "", "coinmetrics": "", "binance_futures": "", "active_from": "2026-11-16"}
    warehouse.assets([crypto(symbol, "5m", **two, source_priority="binance polygon") for symbol in venue.twists])
    states: list[dict[str, str]] = []

    with pytest.MonkeyPatch.context() as patch, serving(venue):
        patch.chdir(warehouse.project.directory)
        for name, value in {**warehouse.database.environment, **environment(venue.url)}.items():
            patch.setenv(name, value)
        patch.setattr(RETRY_POLICY, "backoff", ())
        patch.setitem(FIRST_REACH, "5m", 6 * DAY)

        def day(after: timedelta) -> None:
            """A run so long after the first, and a build."""
            venue.now = warehouse.now = NOW + after
            patch.setenv("WAREHOUSE_NOW", venue.now.isoformat())
            forget()
            result = CliRunner().invoke(app, ["extract"])
            assert result.exit_code == 0, result.output
            warehouse.build(BUILT)
            gaps = warehouse.query("select * from marts.bar_gaps where timeframe = '5m'")
            assert all((gap["gap_from"], gap["gap_to"]) == (FROM, TO) for gap in gaps), gaps
            states.append({gap["symbol"]: gap["repair_state"] for gap in gaps})

        def asked(symbol: str, host: str) -> int:
            """How often the host was asked for the hole."""
            return warehouse.query(
                f"select count(*) as n from raw_{host}.responses where symbol = %s and endpoint = 'bars'"
                " and timeframe = '5m' and origin = 'rest' and window_start <= %s and window_end >= %s",
                symbol, FROM, TO,
            )[0]["n"]  # fmt: skip

        day(timedelta())
        first = {symbol: (asked(symbol, "binance"), asked(symbol, "polygon")) for symbol in venue.twists}
        # A file's hole is asked of the API in the same run.
        assert first == {**dict.fromkeys(venue.twists, (1, 0)), "ODD": (0, 0)}
        assert states[-1] == dict.fromkeys(("LOST", "NEXT", "LATE", "ODD"), "open")
        day(2 * HOUR)
        # Then of the next source, which has what the first lacks.
        assert [asked(symbol, "polygon") for symbol in ("LOST", "NEXT", "LATE", "FILE")] == [1, 1, 1, 0]
        assert states[-1] == {"LOST": "open", "NEXT": "repaired", "LATE": "open", "ODD": "repaired"}
        day(4 * DAY + HOUR)
        assert states[-1]["LATE"] == "repaired"
        day(9 * DAY)
        assert states[-1] == {"LOST": "final", "NEXT": "repaired", "LATE": "repaired", "ODD": "repaired"}
        settled = asked("LOST", "binance"), asked("LOST", "polygon")
        assert sum(settled) <= 7, "the schedule, not every run"
        day(12 * DAY)
        assert (asked("LOST", "binance"), asked("LOST", "polygon")) == settled, "what is final is left alone"
        forget()

    (lost,) = warehouse.query("select * from marts.bar_gaps where symbol = 'LOST' and timeframe = '5m'")
    assert (lost["verdict"], lost["answered_by"], lost["missing_bars"]) == ("outage", "binance, polygon", 18)
    assert (
        lost["looks"] >= 3 and lost["last_look_at"] - lost["first_look_at"] >= 3 * DAY and lost["next_look_at"] is None
    )
    assert f"{lost['looks']} looks from 2026-11-20" in lost["evidence"]
    for symbol, source in (("NEXT", "polygon"), ("LATE", "binance"), ("FILE", "binance"), ("ODD", "polygon")):
        bars = warehouse.query(
            "select timestamp, close, source from marts.market_data_v2 where symbol = %s and timeframe = '5m'"
            " and timestamp >= %s and timestamp < %s order by timestamp",
            symbol, FROM, TO,
        )  # fmt: skip
        assert [(bar["close"], bar["source"]) for bar in bars] == [
            (Decimal(close(FROM + n * HOUR / 12)), source) for n in range(18)
        ]
    # The hour at 12:00 had three of its parts.
    reasons = warehouse.query(
        "select distinct bars.symbol, corrections.reason from marts.data_corrections as corrections"
        " inner join marts.market_data_v2 as bars on bars.id = corrections.original_record_id"
        " where bars.timeframe = '1h' and bars.timestamp = %s",
        FROM.replace(minute=0),
    )
    assert {(row["symbol"], row["reason"]) for row in reasons} == {
        ("LATE", "late_data"),
        ("NEXT", "source_changed"),
        ("ODD", "source_changed"),
    }
