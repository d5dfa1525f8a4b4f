"""Coverage is what came: late, empty and short answers, holes of files, and windows that are asked for again."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extract.calendar import calendars
from extract.calendar.windows import Window, merged, missing
from extract.commands.running import prepare_warehouse, provider_classes
from extract.coverage.looks import AGAIN_AFTER, Look, resting, seen
from extract.coverage.state import Known
from extract.load.responses import Parsed, Task
from extract.plan import planner
from extract.providers.binance.holes import holes
from extract.symbols import registry
from tests.extract.conftest import AAPL, BTC, Market

ALONE = {**BTC, "source_priority": "binance"}
HOUR = timedelta(hours=1)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def opened(market: Market) -> set[datetime]:
    """The opens of all bars that Binance gave, files and API together."""
    found = market.query(
        "select distinct cast(bar ->> 0 as bigint) / 1000 as at from raw_binance.responses,"
        " jsonb_array_elements(coalesce(payload -> 'rows', payload)) as bar"
        " where endpoint = 'bars' and status = 'ok' and jsonb_typeof(coalesce(payload -> 'rows', payload)) = 'array'"
    )
    return {datetime.fromtimestamp(row["at"], UTC) for row in found}


def hours(start: str, end: str) -> set[datetime]:
    first = at(start)
    return {first + n * HOUR for n in range((at(end) - first) // HOUR)}


# ---------------------------------------------------------------- what an answer covers


def test_an_empty_first_answer_is_asked_again_in_the_next_run(market: Market) -> None:
    market.assets(ALONE)
    market.simulator.add_fault(kind="body", body="[]", provider="binance-spot", endpoint="bars")
    assert "0 rows from binance" in market.run("extract")
    market.simulator.clear_faults()
    market.at("2013-03-03T02:00:00Z")
    market.run("extract")
    assert opened(market) >= hours("2013-02-11", "2013-03-03T02:00")


def test_what_is_newer_than_the_newest_row_stays_open_whatever_was_asked_for(market: Market) -> None:
    """Binance answers with the oldest rows of a window only."""
    market.assets(ALONE)
    market.simulator.add_fault(
        kind="missing", provider="binance-spot", start="2013-02-20T00:00:00Z", end="2013-03-09T00:00:00Z"
    )
    market.run("extract")
    assert max(opened(market)) == at("2013-02-19 23:00")
    market.simulator.clear_faults()
    market.at("2013-03-02T03:00:00Z")
    market.run("extract")
    assert opened(market) >= hours("2013-02-10", "2013-03-02T03:00")


def test_bars_that_come_later_than_the_look_back_are_fetched(market: Market) -> None:
    """Nothing of four days came for nine: longer than every run re-reads."""
    market.assets(ALONE)
    market.run("extract")
    market.simulator.add_fault(
        kind="missing", provider="binance-spot", start="2013-03-02T02:00:00Z", end="2013-03-30T00:00:00Z"
    )
    for day in range(3, 12):
        market.at(f"2013-03-{day:02}T02:00:00Z")
        market.run("extract")
    assert max(opened(market)) == at("2013-03-02 01:00")
    market.simulator.clear_faults()
    market.at("2013-03-12T02:00:00Z")
    market.run("extract")
    # That it gives newer bars again makes all due that it owes.
    market.at("2013-03-12T03:00:00Z")
    market.run("extract")
    assert opened(market) >= hours("2013-02-10", "2013-03-12T03:00")


def test_a_holiday_is_not_asked_for_again_and_again(market: Market) -> None:
    """Presidents' Day, and the weekend before it."""
    market.at("2013-02-19T06:00:00Z")
    market.assets({**AAPL, "source_priority": "polygon"})
    market.set(REVISION_LOOKBACK="0", POLYGON_REQUESTS_PER_MINUTE="0")
    market.run("extract")
    market.asked()
    market.run("extract")
    assert not market.asked("bars")


# ---------------------------------------------------------------- holes of files


@pytest.mark.parametrize(
    ("timeframe", "window", "hole"),
    [
        ("5m", ("2013-02-22", "2013-02-22"), ("2013-02-22T12:00", "2013-02-22T14:00")),
        ("1h", ("2013-01-01", "2013-01-31"), ("2013-01-12T00:00", "2013-01-13T00:00")),
        ("1h", ("2013-01-01", "2013-01-31"), ("2013-01-08T00:00", "2013-02-01T00:00")),
        ("1h", ("2013-01-01", "2013-01-31"), ("2013-01-01T00:00", "2013-01-02T05:00")),
    ],
    ids=["hours-of-a-day", "a-day-of-a-month", "all-but-the-first-week", "the-beginning"],
)
def test_a_hole_in_a_file_is_asked_of_the_api_in_the_same_run(
    market: Market, timeframe: str, window: tuple[str, str], hole: tuple[str, str]
) -> None:
    market.assets({**ALONE, "timeframes": timeframe})
    market.simulator.add_fault(kind="missing", provider="binance-archive", start=f"{hole[0]}Z", end=f"{hole[1]}Z")
    market.run("extract", "--start", window[0], "--end", window[1])
    (rest,) = market.rows("binance", "origin = 'rest'")
    assert (rest["window_start"], rest["window_end"]) == (at(hole[0]), at(hole[1]))
    assert hours(window[0], window[0] + "T23:00") <= opened(market)
    assert hours(*hole) <= opened(market)


def test_many_holes_of_a_file_are_one_question(market: Market) -> None:
    """Every other hour of a month, which were 372 requests."""
    market.assets(ALONE)
    for start in sorted(hours("2013-01-01", "2013-02-01"))[::2]:
        market.simulator.add_fault(kind="missing", provider="binance-archive", start=f"{start:%Y-%m-%dT%H:%M}Z")
    market.run("extract", "--start", "2013-01-01", "--end", "2013-01-31")
    (rest,) = market.rows("binance", "origin = 'rest'")
    assert (rest["window_start"], rest["window_end"]) == (at("2013-01-01"), at("2013-01-31 23:00"))
    assert opened(market) >= hours("2013-01-01", "2013-02-01")


def test_a_file_without_a_hole_is_all_that_is_asked(market: Market) -> None:
    market.assets({**ALONE, "binance_futures": "BTCUSDT"})
    market.run("extract", "--start", "2013-01-01", "--end", "2013-01-31")
    asked = market.rows("binance", "origin = 'rest' and endpoint <> 'funding'")
    assert not asked, [(row["endpoint"], row["window_start"]) for row in asked]


@pytest.mark.parametrize(
    ("endpoint", "window", "hole", "questions"),
    [
        ("metrics", "2013-02-20", ("2013-02-20T12:00", "2013-02-20T14:00"), {"open_interest", "long_short_ratio", "taker_ratio"}),
        ("metrics", "2013-02-20", ("2013-02-20T00:00", "2013-02-20T00:10"), {"open_interest", "long_short_ratio", "taker_ratio"}),
        # REST reaches back 30 days.
        ("metrics", "2013-01-12", ("2013-01-12T12:00", "2013-01-12T14:00"), set()),
        ("funding", "2013-01-20", ("2013-01-08T10:00", "2013-01-10T10:00"), {"funding"}),
        ("funding", "2013-01-20", ("2013-01-01T00:00", "2013-01-10T10:00"), {"funding"}),
        ("funding", "2013-01-20", ("2013-01-10T00:00", "2013-01-31T23:59"), {"funding"}),
    ],
    ids=["samples", "first-samples", "samples-of-long-ago", "settlements", "first-settlements", "last-settlements"],
)  # fmt: skip
def test_a_hole_in_a_file_of_samples_or_settlements_is_asked_of_the_api(
    market: Market, endpoint: str, window: str, hole: tuple[str, str], questions: set[str]
) -> None:
    market.assets({**ALONE, "binance_futures": "BTCUSDT", "active_from": "2013-01-01"})
    market.simulator.add_fault(
        kind="missing", provider="binance-archive", endpoint=endpoint, start=f"{hole[0]}Z", end=f"{hole[1]}Z"
    )
    market.run("extract", "--start", window, "--end", window)
    first, last = at(hole[0]), at(hole[1])
    found = market.query(
        "select distinct endpoint from raw_binance.responses, jsonb_array_elements(payload) as item"
        f" where origin = 'rest' and endpoint <> 'bars' and (endpoint = 'funding') = ('{endpoint}' = 'funding')"
        " and jsonb_typeof(payload) = 'array'"
        " and cast(coalesce(item ->> 'timestamp', item ->> 'fundingTime') as bigint)"
        f" between {first.timestamp() * 1000:.0f}"
        f" and {last.timestamp() * 1000 - 1:.0f}"
    )
    assert {row["endpoint"] for row in found} == questions


@pytest.mark.parametrize("stamp", ["4102444800000", "1", "²³", "99999999999999999999", "9999-12-31 23:59:59", ""])
def test_a_stamp_of_another_time_makes_no_hole_beyond_the_file(stamp: str) -> None:
    first, last = at("2013-01-01"), at("2013-02-01")
    task = Task("binance", "funding", first, last, "BTC", "crypto", "BTCUSDT", origin="archive")
    count = (last - first) // timedelta(hours=8)
    hours = [first + n * timedelta(hours=8) for n in range(count)]
    rows = [[f"{hour.timestamp() * 1000:.0f}", "8", "0.0001"] for hour in hours]
    whole = Parsed(count + 1, "", orjson.dumps({"rows": [*rows, [stamp, "8", "0.0001"]]}).decode())
    assert holes(task, whole) == []
    torn = Parsed(count - 2, "", orjson.dumps({"rows": [*rows[:9], *rows[12:], [stamp, "8", "0.0001"]]}).decode())
    assert [(start.date(), end) for start, end in holes(task, torn)] == [(hours[8].date(), hours[12])]
    samples = replace(task, endpoint="metrics", end=first + timedelta(days=1))
    assert all(first <= start and end <= last for start, end in holes(samples, whole))


# ---------------------------------------------------------------- asked again because the user says so


def test_a_replaced_file_of_metrics_or_funding_is_loaded_when_its_window_is_asked_for(market: Market) -> None:
    market.assets({**ALONE, "symbol": "METD", "binance_futures": "BTCUSDT"})
    month = ("extract", "--symbols", "METD", "--start", "2013-01-01", "--end", "2013-01-31")
    market.run(*month)
    market.asked()
    market.run(*month)
    looked = {one["path"].rsplit("/", 1)[1] for one in market.asked() if one["provider"] == "binance-archive"}
    assert {"BTCUSDT-metrics-2013-01-12.zip.CHECKSUM", "BTCUSDT-fundingRate-2013-01.zip.CHECKSUM"} <= looked
    assert not [name for name in looked if name.endswith(".zip")], "nothing was replaced"
    for endpoint in ("metrics", "funding"):
        market.simulator.add_fault(
            kind="amended", provider="binance-archive", endpoint=endpoint,
            start="2013-01-12T00:00:00Z", end="2013-01-13T00:00:00Z",
        )  # fmt: skip
    market.run(*month)
    for endpoint, first in (("metrics", "2013-01-12"), ("funding", "2013-01-01")):
        answers = market.rows(
            "binance", f"endpoint = '{endpoint}' and window_start = '{first} 00:00Z' and status = 'ok'"
        )
        assert len({row["payload_sha"] for row in answers}) == len(answers) == 2


def test_again_reads_what_is_loaded_and_unchanged(market: Market) -> None:
    market.assets(ALONE)
    window = ("extract", "--start", "2013-01-01", "--end", "2013-01-31")
    market.run(*window)
    assert "unchanged" in market.run(*window)
    assert "BTC 1h: 744 rows from binance" in market.run(*window, "--again")
    newest = market.rows("binance", "endpoint = 'bars'")[-1]
    assert newest["status"] == "ok" and newest["payload"]["rows"]
    assert "--again needs a window" in market.run("extract", "--again", expect=78)
    assert "binance: 2 requests" in market.run(*window, "--again", "--dry-run")


# ---------------------------------------------------------------- a backfill


def test_a_backfill_looks_twice_at_what_it_got_no_rows_for(market: Market) -> None:
    market.assets(ALONE)
    market.simulator.add_fault(kind="body", body="[]", provider="binance-spot", endpoint="bars", count=1)
    market.run("backfill", "--start", "2013-02-20", "--end", "2013-02-22")
    assert opened(market) >= hours("2013-02-20", "2013-02-23")
    (series,) = orjson.loads(market.run("backfill-status", "--json"))[0]["series"]
    assert series["status"] == "completed"


def test_a_backfill_of_the_time_before_the_first_bar_is_completed(market: Market) -> None:
    market.assets(ALONE)
    market.simulator.add_fault(
        kind="missing", provider="binance-spot", start="2013-01-01T00:00:00Z", end="2013-02-22T00:00:00Z"
    )
    market.run("backfill", "--start", "2013-02-20", "--end", "2013-02-24")
    (series,) = orjson.loads(market.run("backfill-status", "--json"))[0]["series"]
    assert series["status"] == "completed"
    market.asked()
    assert "nothing to ask" in market.run("backfill", "--start", "2013-02-20", "--end", "2013-02-24")


# ---------------------------------------------------------------- the schedule, without a database


def test_a_range_without_rows_is_due_in_the_next_run_then_ever_less_often() -> None:
    start = at("2026-01-01")
    window = (start - HOUR, start)
    look = Look((window,), 1, start, start)
    (once,) = seen([window], [look])
    assert once.is_due(start + timedelta(minutes=5))
    asked, looks = [], [look]
    for minutes in range(5, 100 * 24 * 60, 5):
        now = start + timedelta(minutes=minutes)
        if not resting([], looks, now):
            asked.append(now - start)
            looks.append(Look((window,), 1, now, now))
    day = timedelta(days=1)
    assert asked == [timedelta(minutes=5), *(after if after < day else after + day for after in AGAIN_AFTER)]


@given(
    st.lists(st.tuples(st.integers(0, 20), st.integers(1, 6), st.integers(0, 900)), max_size=5),
    st.lists(st.tuples(st.integers(0, 20), st.integers(1, 6)), max_size=3),
    st.integers(0, 2000),
)
def test_what_rests_was_looked_at_and_did_not_come(
    given_looks: list[tuple[int, int, int]], given_covered: list[tuple[int, int]], hours_later: int
) -> None:
    start = at("2026-01-01")

    def window(first: int, length: int) -> Window:
        return start + first * HOUR, start + (first + length) * HOUR

    looks = [Look((window(a, b),), 1, start + c * HOUR, start + c * HOUR) for a, b, c in given_looks]
    covered = merged(window(a, b) for a, b in given_covered)
    rests = resting(covered, looks, start + hours_later * HOUR)
    looked = merged(one for look in looks for one in look.windows)
    for begin, end in rests:
        assert not missing(begin, end, looked), "only what was looked at"
        assert missing(begin, end, covered) == [(begin, end)], "and did not come"


def test_a_dead_series_costs_the_look_back_and_a_bounded_number_of_looks(market: Market) -> None:
    """A coin that stopped, with four runs a day for 60 days."""
    market.assets(ALONE)
    prepare_warehouse()
    providers = {name: make() for name, make in provider_classes().items()}
    (series,) = planner.series_of(registry.load(), providers, ["1h"])
    stopped = at("2026-01-01")
    covered, looks = [(stopped - timedelta(days=40), stopped)], list[Look]()
    looks_at_the_first_day = 0
    for n in range(1, 60 * 4):
        now = stopped + n * 6 * HOUR
        known = Known(covered, looks, now - 6 * HOUR)
        tasks = planner.plan_new(series, providers["binance"], known, now).tasks
        vain = merged((max(task.start, stopped), task.end) for task in tasks if task.end > stopped)
        if now - stopped > timedelta(days=4):
            looks_at_the_first_day += any(task.start <= stopped < task.end for task in tasks)
        assert sum((task.end - task.start for task in tasks), start=timedelta()) <= timedelta(days=20), "by and by"
        looks.append(Look(tuple(vain), 1, now, now))
    assert looks_at_the_first_day == 2, "7 and 30 days: what is left of the schedule"
    assert resting(covered, looks, at("2027-01-01"))[0][0] == stopped, "in the end it rests for good"


def test_a_bar_is_expected_only_in_a_session() -> None:
    new_york, coins = calendars.of(None, "stock"), calendars.of("24/7", "crypto")
    # Good Friday 2024, and the weekend after it.
    assert not new_york.expects(at("2024-03-28 20:00"), at("2024-04-01 13:30"), "5m")
    assert new_york.expects(at("2024-03-28 20:00"), at("2024-04-01 13:31"), "5m")
    assert not new_york.expects(at("2024-03-29 04:00"), at("2024-04-01 03:00"), "1d")
    assert new_york.expects(at("2024-03-28 03:00"), at("2024-03-28 05:00"), "1d")
    assert new_york.expects(at("2024-03-25 04:00"), at("2024-03-25 05:00"), "1w")
    assert not new_york.expects(at("2024-03-26 04:00"), at("2024-04-01 04:00"), "1w")
    assert coins.expects(at("2024-03-30"), at("2024-03-30 00:05"), "5m")
    assert not coins.expects(at("2024-03-30"), at("2024-03-30"), "5m")
