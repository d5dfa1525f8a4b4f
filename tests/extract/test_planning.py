"""The arithmetic of windows and bars, and which requests a plan makes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extract.calendar import calendars
from extract.calendar.timeframes import FIRST_REACH, STEPS, day_start, floor
from extract.calendar.windows import chunks, merged, missing
from extract.commands.running import prepare_warehouse, provider_classes
from extract.coverage.state import Known
from extract.load.responses import Task
from extract.plan import planner
from extract.plan.planner import Series, in_order
from extract.providers.binance import archive
from tests.extract.conftest import AAPL, BTC, Market


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


EPOCH = at("2024-01-01")
hours = st.integers(0, 60)
windows = st.lists(st.tuples(hours, hours).filter(lambda pair: pair[0] < pair[1]), max_size=6).map(
    lambda pairs: [(EPOCH + timedelta(hours=a), EPOCH + timedelta(hours=b)) for a, b in pairs]
)


def as_hours(found: list[tuple[datetime, datetime]]) -> set[datetime]:
    return {start + n * timedelta(hours=1) for start, end in found for n in range((end - start) // timedelta(hours=1))}


@given(windows, hours, hours)
def test_missing_and_covered_together_are_the_window(covered: list[tuple[datetime, datetime]], a: int, b: int) -> None:
    start, end = EPOCH + timedelta(hours=min(a, b)), EPOCH + timedelta(hours=max(a, b))
    gaps = missing(start, end, merged(covered))
    assert as_hours(gaps) == as_hours([(start, end)]) - as_hours(covered)
    assert all(begin < stop for begin, stop in gaps)


@given(windows)
def test_merging_keeps_the_time_and_leaves_disjoint_windows(given_windows: list[tuple[datetime, datetime]]) -> None:
    joined = merged(given_windows)
    assert as_hours(joined) == as_hours(given_windows)
    assert all(one[1] < two[0] for one, two in zip(joined, joined[1:], strict=False))


def test_chunks_cover_a_window_without_overlap() -> None:
    found = list(chunks(EPOCH, EPOCH + timedelta(hours=5), timedelta(hours=2)))
    assert [(b - a).seconds // 3600 for a, b in found] == [2, 2, 1] and as_hours(found) == as_hours(
        [(EPOCH, found[-1][1])]
    )


@pytest.mark.parametrize(
    ("timeframe", "asset_class", "instant", "start"),
    [
        ("5m", "crypto", "2024-03-10 12:34:56", "2024-03-10 12:30"),
        ("4h", "crypto", "2024-03-10 12:34:56", "2024-03-10 12:00"),
        ("1d", "crypto", "2024-03-10 12:34:56", "2024-03-10 00:00"),
        ("1w", "crypto", "2024-03-10 12:34:56", "2024-03-04 00:00"),
        # Daylight saving began on 2024-03-10 at 02:00 New York time.
        ("1d", "stock", "2024-03-10 12:34:56", "2024-03-10 05:00"),
        ("1d", "stock", "2024-03-11 12:34:56", "2024-03-11 04:00"),
        ("1w", "stock", "2024-03-13 12:34:56", "2024-03-11 04:00"),
    ],
)
def test_bars_begin_where_they_should(timeframe: str, asset_class: str, instant: str, start: str) -> None:
    assert floor(at(instant), timeframe, calendars.of(None, asset_class).zone) == at(start)


@pytest.mark.parametrize(
    ("timeframe", "asset_class", "now", "end"),
    [
        ("1h", "crypto", "2024-03-12 10:59:59", "2024-03-12 10:00"),
        ("1d", "crypto", "2024-03-12 10:59:59", "2024-03-12 00:00"),
        ("1d", "stock", "2024-03-12 19:59:59", "2024-03-12 04:00"),  # a second before the close
        ("1d", "stock", "2024-03-12 20:00:00", "2024-03-13 04:00"),
        ("1d", "stock", "2024-03-16 20:00:00", "2024-03-16 04:00"),  # a Saturday
        ("1w", "stock", "2024-03-15 19:00:00", "2024-03-11 04:00"),
        ("1w", "stock", "2024-03-15 20:00:00", "2024-03-18 04:00"),
        ("1d", "stock", "2024-11-29 18:00:00", "2024-11-30 05:00"),  # a half day, until 13:00
        ("1d", "stock", "2024-03-29 21:00:00", "2024-03-29 04:00"),  # Good Friday
        ("1w", "stock", "2024-03-28 20:00:00", "2024-04-01 04:00"),  # the week's last session was on Thursday
    ],
)
def test_the_newest_closed_bar(timeframe: str, asset_class: str, now: str, end: str) -> None:
    assert calendars.of(None, asset_class).closed_until(at(now), timeframe) == at(end)


def test_a_local_day_may_have_23_or_25_hours() -> None:
    zone = calendars.of(None, "stock").zone
    for noon, hours in ((at("2024-03-10 12:00"), 23), (at("2024-11-03 12:00"), 25)):
        assert day_start(noon, zone, 1) - day_start(noon, zone) == timedelta(hours=hours)


@pytest.mark.parametrize(
    ("start", "end", "trades"),
    [
        ("2024-03-16 04:00", "2024-03-18 04:00", False),  # a weekend
        ("2024-03-16 04:00", "2024-03-18 09:00", True),
        ("2024-03-13 01:00", "2024-03-13 08:00", False),  # a night
        ("2024-03-13 01:00", "2024-03-13 08:05", True),
        ("2024-03-13 15:00", "2024-03-13 15:05", True),
    ],
)
def test_stocks_are_not_asked_for_while_they_rest(start: str, end: str, trades: bool) -> None:
    assert calendars.of(None, "stock").may_trade_between(at(start), at(end)) is trades
    assert calendars.of(None, "crypto").may_trade_between(at(start), at(end))


def test_what_falls_out_of_reach_goes_first() -> None:
    task = Task("yahoo", "bars", EPOCH, EPOCH + timedelta(hours=1))
    soon = Task("yahoo", "bars", EPOCH, EPOCH + timedelta(hours=2), expires_in=timedelta(hours=1))
    later = Task("yahoo", "bars", EPOCH, EPOCH + timedelta(hours=3), expires_in=timedelta(days=9))
    assert in_order([task, later, soon]) == [soon, later, task]


def test_of_equals_the_one_that_lacks_more_goes_first() -> None:
    """Who had to stand back for want of budget yesterday comes first today."""
    end = EPOCH + timedelta(days=9)
    fresh = Task("polygon", "bars", EPOCH + timedelta(days=2), end, "AAPL")
    behind = Task("polygon", "bars", EPOCH, end, "MSFT")
    assert in_order([fresh, behind]) == [behind, fresh]


def test_archive_months_and_days() -> None:
    months = list(archive.months(at("2023-12-15"), at("2024-03-10")))
    assert months == [(at("2024-01-01"), at("2024-02-01")), (at("2024-02-01"), at("2024-03-01"))]
    assert len(list(archive.days(at("2024-02-28 01:00"), at("2024-03-02 23:00")))) == 2
    # The first Monday of April 2024 was the 1st, of March the 4th.
    assert not archive.month_is_published(at("2024-02-01"), at("2024-03-04 23:59"))
    assert archive.month_is_published(at("2024-02-01"), at("2024-03-05"))
    assert archive.month_is_published(at("2024-03-01"), at("2024-04-02"))


def series(market: Market, row: dict[str, str], timeframe: str) -> tuple[Series, dict[str, object]]:
    from extract.symbols import registry

    market.assets(row)
    prepare_warehouse()
    providers = {name: make() for name, make in provider_classes().items()}
    (found,) = planner.series_of(registry.load(), providers, [timeframe])
    return found, providers  # type: ignore[return-value]


def test_sources_are_those_that_have_the_symbol_in_order(market: Market) -> None:
    assert series(market, BTC, "1h")[0].sources == ("binance", "polygon", "yahoo")
    assert series(market, BTC, "4h")[0].sources == ("binance", "polygon"), "Yahoo has no 4h bars"
    assert series(market, {**BTC, "binance": "", "source_priority": ""}, "1h")[0].sources == ("polygon", "yahoo")
    assert series(market, AAPL, "1d")[0].sources == ("polygon", "yahoo")
    assert series(market, AAPL, "1h")[0].sources == ("polygon",), "their hours do not lie on one grid"


def test_scarce_requests_join_new_bars_and_old_ones(market: Market) -> None:
    market.set(POLYGON_REQUESTS_PER_MINUTE="5")
    one, providers = series(market, BTC, "5m")
    now = at("2013-03-02 02:00")
    known = Known([(at("2013-01-31"), at("2013-03-02 01:00"))], asked_until=at("2013-03-02 01:00"))
    tasks = planner.plan_new(one, providers["polygon"], known, now).tasks  # type: ignore[arg-type]
    assert [(task.start, task.end) for task in tasks] == [(at("2013-02-28"), now)]
    tasks = planner.plan_new(one, providers["binance"], known, now).tasks  # type: ignore[arg-type]
    assert [(task.start, task.end) for task in tasks] == [
        (at("2013-02-28"), at("2013-03-02")),
        (at("2013-03-02"), now),
    ]


def test_a_hole_is_asked_for_again(market: Market) -> None:
    one, providers = series(market, BTC, "1h")
    covered = [(at("2013-02-10"), at("2013-02-15")), (at("2013-02-17"), at("2013-03-02 01:00"))]
    known = Known(covered, asked_until=at("2013-03-02 01:00"))
    tasks = planner.plan_new(one, providers["binance"], known, at("2013-03-02 02:00")).tasks  # type: ignore[arg-type]
    assert (at("2013-02-15"), at("2013-02-17")) in [(task.start, task.end) for task in tasks]


def test_nothing_is_asked_outside_the_active_dates(market: Market) -> None:
    row = {**AAPL, "active_from": "2013-02-01", "active_to": "2013-02-15"}
    one, providers = series(market, row, "1d")
    tasks = planner.plan_new(one, providers["polygon"], Known(), at("2013-03-02 02:00")).tasks  # type: ignore[arg-type]
    assert [(task.start, task.end) for task in tasks] == [(at("2013-02-01 05:00"), at("2013-02-16 05:00"))]


def test_yahoo_is_not_asked_beyond_its_reach(market: Market) -> None:
    one, providers = series(market, {**BTC, "source_priority": "yahoo"}, "5m")
    now = at("2013-03-02 02:00")
    window = [(at("2012-12-01"), at("2013-03-01"))]
    planned = planner.plan_windows(one, providers["yahoo"], window, now)  # type: ignore[arg-type]
    assert planned.tasks[0].start > now - timedelta(days=60) and planned.tasks[0].expires_in is not None
    assert planned.beyond_reach == [(window[0][0], now - timedelta(days=60, minutes=-10))]
    problem = planner.reach_problem(one, providers["yahoo"], now)  # type: ignore[arg-type]
    assert problem == "yahoo BTC 5m: it serves 5m bars only from 2013-01-01 02:10 on"


def test_first_reaches_are_those_promised() -> None:
    assert {name: reach.days for name, reach in FIRST_REACH.items()} == {
        "5m": 30, "15m": 60, "30m": 60, "1h": 365, "4h": 365, "1d": 730, "1w": 730
    }  # fmt: skip


def test_every_timeframe_of_the_contract_has_a_step() -> None:
    assert list(STEPS) == ["5m", "15m", "30m", "1h", "4h", "1d", "1w"]
