"""Bars: which source wins, what counts as a revision, what a session is, and how finer bars become coarser ones.

Most of these are scenarios: each has a symbol of its own and all are played in one warehouse, step by step, because a
build costs two seconds however little it builds. A scenario yields where it wants a build.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from decimal import Decimal as D
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from scripts.site.reference_formulas import STEP
from tests import payloads
from tests.oracle.bars import Bar, resample, sessions, slots
from tests.warehouse import Answer, MakeWarehouse, Warehouse, bar_answer, crypto, stock

NEW_YORK = ZoneInfo("America/New_York")
BARS = "+int_bars"
BAR_TABLE = """
    select series.timeframe, bars.*, bars.opened_at as timestamp
    from intermediate.int_bars as bars
    inner join intermediate.int_series as series on series.series_id = bars.series_id
    where series.symbol = %s
    order by series.step_minutes, bars.opened_at
"""


def bar(opened: datetime, close: object = 101, volume: object = 10, taker: object = 4) -> Bar:
    """A good bar that opens at 100."""
    last = Decimal(str(close))
    return Bar(
        opened, Decimal(100), max(last, Decimal(100)) + 1, min(last, Decimal(100)) - 1, last,
        Decimal(str(volume)), Decimal(str(taker)),
    )  # fmt: skip


def run_of(first: datetime, count: int, timeframe: str) -> list[Bar]:
    """Good bars one after the other, all different."""
    return [bar(first + n * STEP[timeframe], 100 + n % 7 + Decimal(n) / 1000, 10 + n) for n in range(count)]


def stock_bars(timeframe: str, first: date, last: date, *, clock: bool = False) -> list[Bar]:
    """Good bars of XNYS sessions: from the open, or on the clock's hours as Polygon has them."""
    opens: list[datetime] = []
    for session in sessions("XNYS", first, last):
        if timeframe == "1d":
            opens.append(datetime.combine(session.session_date, time(), NEW_YORK).astimezone(UTC))
        elif clock:
            start = session.opens_at.replace(minute=0)
            opens += [start + n * STEP[timeframe] for n in range(-(-(session.closes_at - start) // STEP[timeframe]))]
        else:
            opens += slots(session, STEP[timeframe])
    return [bar(opened, 100 + n % 7 + Decimal(n) / 1000, 10 + n) for n, opened in enumerate(opens)]


def bars_of(warehouse: Warehouse, symbol: str, timeframe: str) -> dict[datetime, dict[str, Any]]:
    return {row["opened_at"]: row for row in warehouse.query(BAR_TABLE, symbol) if row["timeframe"] == timeframe}


MARCH = datetime(2025, 3, 3, tzinfo=UTC)

# ---------------------------------------------------------------- scenarios

Play = Iterator[None]


@dataclass
class Scenario:
    """A registry row and what is done with its symbol."""

    asset: dict[str, str]
    play: Callable[[Warehouse, str], Play]


SCENARIOS: dict[str, Scenario] = {}


def scenario(
    kind: Callable[..., dict[str, str]], timeframes: str, *, each: Sequence[Any] = (), **cells: str
) -> Callable[[Callable[..., Play]], Callable[..., Play]]:
    """Register the function as a scenario of an asset of that kind, or as one per value of `each`."""

    def register(play: Callable[..., Play]) -> Callable[..., Play]:
        plays = {f"{play.__name__}-{case}": _with_case(play, case) for case in each} or {play.__name__: play}
        for name, one in plays.items():
            SCENARIOS[name] = Scenario(kind(f"S{len(SCENARIOS)}", timeframes, **cells), one)
        return play

    return register


def _with_case(play: Callable[..., Play], case: Any) -> Callable[[Warehouse, str], Play]:
    return lambda warehouse, symbol: play(warehouse, symbol, case)


@pytest.fixture(scope="module")
def outcomes(make_warehouse: MakeWarehouse) -> dict[str, Exception | None]:
    """All scenarios played together: the error that ended each, or None."""
    warehouse = make_warehouse("warehouse")
    warehouse.assets([one.asset for one in SCENARIOS.values()])
    playing = {name: one.play(warehouse, one.asset["symbol"]) for name, one in SCENARIOS.items()}
    ended: dict[str, Exception | None] = {}
    while playing:
        for name, play in list(playing.items()):
            try:
                next(play)
            except StopIteration:
                ended[name] = None
            except Exception as error:
                ended[name] = error
        playing = {name: play for name, play in playing.items() if name not in ended}
        if playing:
            warehouse.build(BARS)
    return ended


# ---------------------------------------------------------------- which source wins


@scenario(crypto, "1h")
def first_valid_source_in_order_wins_each_bar(warehouse: Warehouse, symbol: str) -> Play:
    """binance polygon yahoo: binance has a hole and an impossible bar, polygon fills the hole, yahoo the rest."""
    hours = run_of(MARCH, 6, "1h")
    broken = replace(hours[2], high=Decimal(1))
    warehouse.load_bars("binance", symbol, "1h", [hours[0], broken, hours[3]])
    warehouse.load_bars("polygon", symbol, "1h", [hours[1], replace(hours[2], close=Decimal(0)), hours[3]])
    warehouse.load_bars("yahoo", symbol, "1h", hours, time_zone="UTC")
    yield
    found = bars_of(warehouse, symbol, "1h")
    assert [found[one.timestamp]["source"] for one in hours] == [
        "binance", "polygon", "yahoo", "binance", "yahoo", "yahoo",
    ]  # fmt: skip
    assert all(row["is_valid"] for row in found.values())


@scenario(crypto, "1h")
def bar_that_every_source_has_wrong_stays_flagged(warehouse: Warehouse, symbol: str) -> Play:
    opened = MARCH
    warehouse.load_bars("polygon", symbol, "1h", [replace(bar(opened), volume=Decimal(-1))])
    warehouse.load_bars("binance", symbol, "1h", [replace(bar(opened), high=Decimal(1))])
    yield
    (row,) = bars_of(warehouse, symbol, "1h").values()
    assert (row["source"], row["is_valid"], row["high"]) == ("binance", False, Decimal(1))
    assert "high below low" in row["failed_checks"]


@scenario(crypto, "1h", source_priority="polygon")
def source_outside_the_order_is_never_used(warehouse: Warehouse, symbol: str) -> Play:
    warehouse.load_bars("binance", symbol, "1h", run_of(MARCH, 3, "1h"))
    warehouse.load_bars("polygon", symbol, "1h", run_of(MARCH, 1, "1h"))
    yield
    assert [row["source"] for row in bars_of(warehouse, symbol, "1h").values()] == ["polygon"]


def test_order_of_the_settings_holds_where_the_asset_has_none(warehouse: Warehouse) -> None:
    warehouse.assets([crypto("BTC", "1h", source_priority="")])
    for source in ("polygon", "binance"):
        warehouse.load_bars(source, "BTC", "1h", run_of(MARCH, 1, "1h"))
    warehouse.build(BARS)
    assert [row["source"] for row in bars_of(warehouse, "BTC", "1h").values()] == ["polygon"]
    warehouse.environment["FALLBACK_SOURCE_PRIORITY"] = "binance,polygon"
    warehouse.build(BARS, full_refresh=True)
    assert [row["source"] for row in bars_of(warehouse, "BTC", "1h").values()] == ["binance"]


@scenario(crypto, "5m 1h")
def native_bar_wins_over_a_resampled_one_unless_it_is_invalid(warehouse: Warehouse, symbol: str) -> Play:
    fine = run_of(MARCH, 36, "5m")
    hours = [bar(MARCH + n * STEP["1h"], 105, 777) for n in range(2)]
    warehouse.load_bars("binance", symbol, "5m", fine)
    warehouse.load_bars("binance", symbol, "1h", [hours[0], replace(hours[1], low=Decimal(1000))])
    yield
    found = bars_of(warehouse, symbol, "1h")
    assert found[hours[0].timestamp]["volume"] == 777
    assert found[hours[0].timestamp]["base_timeframe"] is None
    assert found[hours[1].timestamp]["base_timeframe"] == "5m"
    assert found[hours[1].timestamp]["is_valid"]
    assert found[MARCH + 2 * STEP["1h"]]["base_timeframe"] == "5m"


# ---------------------------------------------------------------- revisions


@scenario(crypto, "1h")
def a_b_a_is_three_revisions_and_repeating_is_none(warehouse: Warehouse, symbol: str) -> Play:
    a, b = bar(MARCH, 101), bar(MARCH, 102)
    revisions = []
    for said in (a, a, b, b, a, a):
        warehouse.load_bars("binance", symbol, "1h", [said, bar(MARCH + STEP["1h"])])
        yield
        row = bars_of(warehouse, symbol, "1h")[MARCH]
        revisions.append((row["revision"], int(row["close"])))
    assert revisions == [(1, 101), (1, 101), (2, 102), (2, 102), (3, 101), (3, 101)]


@scenario(crypto, "1h")
def a_b_a_is_three_revisions_when_it_comes_at_once(warehouse: Warehouse, symbol: str) -> Play:
    for close in (101, 102, 102, 101):
        warehouse.load_bars("binance", symbol, "1h", [bar(MARCH, close)])
    yield
    row = bars_of(warehouse, symbol, "1h")[MARCH]
    assert (row["revision"], row["close"]) == (3, 101)


@scenario(crypto, "1h", source_priority="binance")
def bar_passed_over_between_neighbours_is_withdrawn_and_may_come_back(warehouse: Warehouse, symbol: str) -> Play:
    hours = run_of(MARCH, 5, "1h")
    warehouse.load_bars("binance", symbol, "1h", hours)
    yield
    warehouse.load_bars("binance", symbol, "1h", [*hours[:2], *hours[3:]])
    yield
    row = bars_of(warehouse, symbol, "1h")[hours[2].timestamp]
    assert (row["is_valid"], row["failed_checks"], row["revision"]) == (False, "withdrawn by binance", 2)
    assert row["close"] == hours[2].close, "what it was stays readable"
    warehouse.load_bars("binance", symbol, "1h", hours)
    yield
    row = bars_of(warehouse, symbol, "1h")[hours[2].timestamp]
    assert (row["is_valid"], row["revision"]) == (True, 3)


@scenario(crypto, "1h")
def bars_at_the_edges_of_a_smaller_answer_are_not_withdrawn(warehouse: Warehouse, symbol: str) -> Play:
    hours = run_of(MARCH, 6, "1h")
    warehouse.load_bars("binance", symbol, "1h", hours)
    warehouse.load_bars("binance", symbol, "1h", hours[2:4])
    yield
    assert [row["is_valid"] for row in bars_of(warehouse, symbol, "1h").values()] == [True] * 6


@scenario(crypto, "1h")
def withdrawn_bar_is_replaced_by_the_next_source(warehouse: Warehouse, symbol: str) -> Play:
    hours = run_of(MARCH, 3, "1h")
    warehouse.load_bars("binance", symbol, "1h", hours)
    warehouse.load_bars("polygon", symbol, "1h", hours)
    yield
    warehouse.load_bars("binance", symbol, "1h", [hours[0], hours[2]])
    yield
    row = bars_of(warehouse, symbol, "1h")[hours[1].timestamp]
    assert (row["source"], row["is_valid"], row["revision"]) == ("polygon", True, 2)


@scenario(crypto, "1h")
def load_without_its_commit_line_is_not_read(warehouse: Warehouse, symbol: str) -> Play:
    load_id = warehouse.load("binance", bar_answer("binance", symbol, "1h", run_of(MARCH, 2, "1h")), uncommitted=True)
    yield
    assert bars_of(warehouse, symbol, "1h") == {}
    warehouse.commit("binance", load_id)
    yield
    assert len(bars_of(warehouse, symbol, "1h")) == 2


@scenario(crypto, "1h", each=["failed", "quarantined", "unchanged"])
def only_good_answers_are_read(warehouse: Warehouse, symbol: str, status: str) -> Play:
    answer = bar_answer("binance", symbol, "1h", run_of(MARCH, 2, "1h"))
    warehouse.load("binance", replace(answer, status=status, payload=None))
    yield
    assert bars_of(warehouse, symbol, "1h") == {}


# ---------------------------------------------------------------- the order of sources before native or resampled


@scenario(crypto, "5m 1d")
def bars_of_the_first_source_s_finer_ones_win_over_a_later_source_s_own(warehouse: Warehouse, symbol: str) -> Play:
    """Yahoo's day is there first. Binance's minutes win when they come, lose while they are incomplete, win again."""
    fine = run_of(MARCH, 289, "5m")
    warehouse.load_bars("yahoo", symbol, "1d", [bar(MARCH, 107)], time_zone="UTC")
    yield
    row = bars_of(warehouse, symbol, "1d")[MARCH]
    assert (row["source"], row["base_timeframe"], row["revision"]) == ("yahoo", None, 1)
    warehouse.load_bars("binance", symbol, "5m", fine[:100] + fine[150:])
    yield
    row = bars_of(warehouse, symbol, "1d")[MARCH]
    assert (row["source"], row["revision"]) == ("yahoo", 1), "a day of 238 of 288 bars is none yet"
    warehouse.load_bars("binance", symbol, "5m", fine[100:150])
    yield
    row = bars_of(warehouse, symbol, "1d")[MARCH]
    assert (row["source"], row["base_timeframe"], row["revision"]) == ("binance", "5m", 2)
    assert row["volume"] == sum(one.volume for one in fine[:288])
    broken = [replace(one, high=one.low - 1) for one in fine[:20]]
    warehouse.load_bars("binance", symbol, "5m", broken)
    yield
    row = bars_of(warehouse, symbol, "1d")[MARCH]
    assert (row["source"], row["is_valid"], row["revision"]) == ("yahoo", True, 3)
    warehouse.load_bars("binance", symbol, "5m", fine[:20])
    yield
    row = bars_of(warehouse, symbol, "1d")[MARCH]
    assert (row["source"], row["is_valid"], row["revision"]) == ("binance", True, 4)


@scenario(crypto, "5m 1d")
def day_that_comes_after_the_first_source_s_minutes_changes_nothing(warehouse: Warehouse, symbol: str) -> Play:
    warehouse.load_bars("binance", symbol, "5m", run_of(MARCH, 289, "5m"))
    warehouse.load_bars("yahoo", symbol, "1d", [bar(MARCH, 107)], time_zone="UTC")
    yield
    row = bars_of(warehouse, symbol, "1d")[MARCH]
    assert (row["source"], row["revision"]) == ("binance", 1)


@scenario(crypto, "5m 1d")
def day_of_the_first_source_wins_over_a_later_source_s_minutes(warehouse: Warehouse, symbol: str) -> Play:
    warehouse.load_bars("polygon", symbol, "5m", run_of(MARCH, 289, "5m"))
    yield
    assert bars_of(warehouse, symbol, "1d")[MARCH]["source"] == "polygon"
    warehouse.load_bars("binance", symbol, "1d", [bar(MARCH, 107)])
    yield
    row = bars_of(warehouse, symbol, "1d")[MARCH]
    assert (row["source"], row["base_timeframe"], row["revision"]) == ("binance", None, 2)


@scenario(crypto, "5m 1d")
def yahoo_tells_no_volume_of_a_coin(warehouse: Warehouse, symbol: str) -> Play:
    """It tells dollars: its bars are valid without one, and so is what holds one of them."""
    fine = [replace(one, taker_buy_volume=None) for one in run_of(MARCH, 25, "5m")]
    warehouse.load_bars("yahoo", symbol, "1d", [bar(MARCH - STEP["1d"], 107, 10**12)], time_zone="UTC")
    warehouse.load_bars("polygon", symbol, "5m", fine[:3] + fine[4:])
    warehouse.load_bars("yahoo", symbol, "5m", fine, time_zone="UTC")
    yield
    (row,) = [row for at, row in bars_of(warehouse, symbol, "1d").items() if at < MARCH]
    assert (row["close"], row["volume"], row["is_valid"]) == (107, None, True)
    first, second = list(bars_of(warehouse, symbol, "1h").values())
    assert (first["source"], first["volume"], first["is_valid"]) == ("polygon+yahoo", None, True)
    assert second["volume"] == sum(one.volume for one in fine[12:24])


# ---------------------------------------------------------------- series with few trades


TRADED = (3, 17, 30, 31, 52, 70)


@scenario(stock, "5m", asset_class="etf")
def bars_of_a_thin_etf_are_made_of_what_was_traded(warehouse: Warehouse, symbol: str) -> Play:
    """6 of 78 slots a day. A bar that comes a week late is one more that was expected."""
    days = [stock_bars("5m", day, day) for day in (date(2025, 3, 3), date(2025, 3, 4), date(2025, 3, 5))]
    days = [[replace(one, taker_buy_volume=None) for one in day] for day in days]
    thin = [day[n] for day in days for n in TRADED]
    asked = (days[0][0].timestamp, days[2][-1].timestamp + STEP["5m"])
    warehouse.load_bars("polygon", symbol, "5m", thin, window=asked)
    yield
    quiet = {one.timestamp for day in days for one in day}
    # Asked after the close: the last day does not wait for the next trade.
    until = asked[1]
    assert_resampled_as_the_oracle_says(warehouse, symbol, "5m", thin, "XNYS", until, quiet)
    found = bars_of(warehouse, symbol, "1d")
    assert [
        (row["is_valid"], row["bars_present"], row["bars_expected"], row["revision"]) for row in found.values()
    ] == [(True, 6, 6, 1)] * 3
    late = days[0][40]
    warehouse.load_bars("polygon", symbol, "5m", [late])
    yield
    found = bars_of(warehouse, symbol, "1d")
    assert [(row["bars_present"], row["bars_expected"], row["revision"]) for row in found.values()] == [
        (7, 7, 2),
        (6, 6, 1),
        (6, 6, 1),
    ]
    assert_resampled_as_the_oracle_says(
        warehouse, symbol, "5m", sorted([*thin, late], key=lambda one: one.timestamp), "XNYS", until, quiet
    )
    # An answer that passes over it takes it back.
    warehouse.load_bars("polygon", symbol, "5m", thin[:6], window=asked)
    yield
    (day, *_) = bars_of(warehouse, symbol, "1d").values()
    assert (day["is_valid"], day["bars_present"], day["bars_expected"], day["revision"]) == (True, 6, 6, 3)
    assert day["volume"] == sum(one.volume for one in thin[:6])


@scenario(stock, "5m", asset_class="etf")
def the_only_bar_of_a_day_makes_the_day(warehouse: Warehouse, symbol: str) -> Play:
    """Taken back, it leaves the day flagged, with the values that it had."""
    days = [stock_bars("5m", day, day) for day in (date(2025, 3, 3), date(2025, 3, 4), date(2025, 3, 5))]
    thin = [replace(day[40], taker_buy_volume=None) for day in days]
    asked = (days[0][0].timestamp, days[2][-1].timestamp + STEP["5m"])
    warehouse.load_bars("polygon", symbol, "5m", thin, window=asked)
    yield
    found = list(bars_of(warehouse, symbol, "1d").values())
    assert [(row["is_valid"], row["close"], row["bars_expected"]) for row in found] == [
        (True, one.close, 1) for one in thin
    ]
    warehouse.load_bars("polygon", symbol, "5m", [thin[0], thin[2]], window=asked)
    yield
    found = list(bars_of(warehouse, symbol, "1d").values())
    assert [(row["is_valid"], row["close"], row["revision"]) for row in found] == [
        (True, thin[0].close, 1),
        (False, thin[1].close, 2),
        (True, thin[2].close, 1),
    ]
    assert found[1]["failed_checks"] == "withdrawn by polygon"


@scenario(stock, "5m")
def first_day_of_an_ipo_begins_with_its_first_trade(warehouse: Warehouse, symbol: str) -> Play:
    every = stock_bars("5m", date(2025, 3, 3), date(2025, 3, 4))
    said = [replace(one, taker_buy_volume=None) for one in every[37:]]
    warehouse.load_bars(
        "yahoo", symbol, "5m", said, window=(every[0].timestamp - timedelta(days=30), every[-1].timestamp + STEP["5m"])
    )
    yield
    days = bars_of(warehouse, symbol, "1d")
    assert [(row["is_valid"], row["bars_expected"]) for row in days.values()] == [(True, 41), (True, 78)]


@scenario(stock, "5m")
def what_was_never_asked_for_is_expected(warehouse: Warehouse, symbol: str) -> Play:
    """Asked from noon on; later from the open: there is nothing more, so the day is whole without a new bar."""
    every = [replace(one, taker_buy_volume=None) for one in stock_bars("5m", date(2025, 3, 3), date(2025, 3, 4))]
    said = every[37:]
    warehouse.load_bars("polygon", symbol, "5m", said)
    yield
    (first, second) = bars_of(warehouse, symbol, "1d").values()
    assert (first["failed_checks"], second["is_valid"]) == ("incomplete: 41 of 78 5m bars", True)
    asked = (every[0].timestamp, every[77].timestamp + STEP["5m"])
    warehouse.load_bars("polygon", symbol, "5m", said[:41], window=asked)
    yield
    (first, _) = bars_of(warehouse, symbol, "1d").values()
    assert (first["is_valid"], first["bars_expected"], first["revision"]) == (True, 41, 2)


@scenario(stock, "5m")
def answer_that_stops_early_says_nothing_of_what_is_behind(warehouse: Warehouse, symbol: str) -> Play:
    """Cut in the middle of the first of two days: only what lies before its last row had no trades."""
    every = [replace(one, taker_buy_volume=None) for one in stock_bars("5m", date(2025, 3, 3), date(2025, 3, 5))]
    asked = (every[0].timestamp, every[-1].timestamp + STEP["5m"])
    cut = bar_answer("polygon", symbol, "5m", every[:10] + every[12:30], window=asked)
    cut.values["last_row_at"] = every[29].timestamp
    warehouse.load("polygon", cut)
    warehouse.load_bars("polygon", symbol, "5m", every[156:], window=(every[156].timestamp, asked[1]))
    yield
    (first, *_) = bars_of(warehouse, symbol, "1d").values()
    assert first["failed_checks"] == "incomplete: 28 of 76 5m bars"


def day_of(warehouse: Warehouse, symbol: str, timeframe: str = "1d") -> tuple[Any, ...]:
    """Verdict, base bars present and expected, and revision of the first session, or of its hour that holds slot 30."""
    rows = list(bars_of(warehouse, symbol, timeframe).values())
    row = rows[0] if timeframe == "1d" else rows[2]
    return row["failed_checks"], row["bars_present"], row["bars_expected"], row["revision"]


@scenario(stock, "5m")
def hole_of_two_hours_is_expected_and_quiet_hours_are_not(warehouse: Warehouse, symbol: str) -> Play:
    """A liquid stock: a bar that comes late in the middle of the hole divides it; taken back, the hole is one again."""
    every = [replace(one, taker_buy_volume=None) for one in stock_bars("5m", date(2025, 3, 3), date(2025, 3, 4))]
    holed = every[:30] + every[54:]
    asked = (every[0].timestamp, every[-1].timestamp + STEP["5m"])
    warehouse.load_bars("polygon", symbol, "5m", holed, window=asked)
    yield
    assert day_of(warehouse, symbol) == ("incomplete: 54 of 78 5m bars", 54, 78, 1)
    assert day_of(warehouse, symbol, "1h") == ("incomplete: 6 of 12 5m bars", 6, 12, 1)
    warehouse.load_bars("polygon", symbol, "5m", [every[42]])
    yield
    assert day_of(warehouse, symbol) == (None, 55, 55, 2)
    assert day_of(warehouse, symbol, "1h") == (None, 6, 6, 2), "of a bar beyond its own"
    warehouse.load_bars("polygon", symbol, "5m", holed, window=asked)
    yield
    assert day_of(warehouse, symbol) == ("incomplete: 54 of 78 5m bars", 54, 78, 3)
    assert day_of(warehouse, symbol, "1h") == ("incomplete: 6 of 12 5m bars", 6, 12, 3)
    warehouse.load_bars("polygon", symbol, "5m", every)
    yield
    assert day_of(warehouse, symbol) == (None, 78, 78, 4)


@scenario(stock, "5m")
def lost_afternoon_is_no_thin_trade(warehouse: Warehouse, symbol: str) -> Play:
    """Most of the day is missing, as of a thin ETF; but what is there is one block."""
    every = [replace(one, taker_buy_volume=None) for one in stock_bars("5m", date(2025, 3, 3), date(2025, 3, 4))]
    asked = (every[0].timestamp, every[-1].timestamp + STEP["5m"])
    warehouse.load_bars("polygon", symbol, "5m", every[:25] + every[77:], window=asked)
    yield
    assert day_of(warehouse, symbol) == ("incomplete: 26 of 78 5m bars", 26, 78, 1)


@scenario(stock, "5m")
def base_bar_that_was_rejected_is_none_without_trades(warehouse: Warehouse, symbol: str) -> Play:
    """First nobody had it, then a source sent an impossible row on it, then a good one."""
    every = [replace(one, taker_buy_volume=None) for one in stock_bars("5m", date(2025, 3, 3), date(2025, 3, 4))]
    asked = (every[0].timestamp, every[-1].timestamp + STEP["5m"])
    warehouse.load_bars("polygon", symbol, "5m", every[:30] + every[31:], window=asked)
    yield
    assert day_of(warehouse, symbol, "1h") == (None, 11, 11, 1)
    impossible = replace(every[30], high=Decimal(2_000_000_000))
    warehouse.load_bars("polygon", symbol, "5m", [every[29], impossible, every[31]])
    yield
    assert day_of(warehouse, symbol, "1h") == ("incomplete: 11 of 12 5m bars, 1 rejected", 11, 12, 2)
    warehouse.load_bars("polygon", symbol, "5m", every[29:32])
    yield
    assert day_of(warehouse, symbol, "1h") == (None, 12, 12, 3)


@scenario(stock, "5m")
def first_day_of_a_history_is_that_of_a_listing_until_older_bars_come(warehouse: Warehouse, symbol: str) -> Play:
    before, every = (
        stock_bars("5m", date(2025, 2, 28), date(2025, 2, 28)),
        stock_bars("5m", date(2025, 3, 3), date(2025, 3, 4)),
    )
    asked = (every[0].timestamp, every[-1].timestamp + STEP["5m"])
    warehouse.load_bars("yahoo", symbol, "5m", every[37:], window=asked)
    yield
    assert day_of(warehouse, symbol) == (None, 41, 41, 1)
    warehouse.load_bars("yahoo", symbol, "5m", before)
    yield
    (_, day, _) = bars_of(warehouse, symbol, "1d").values()
    assert (day["failed_checks"], day["revision"]) == ("incomplete: 41 of 78 5m bars", 2)


@scenario(stock, "5m")
def last_bar_of_a_day_is_waited_for_until_it_must_have_been_published(warehouse: Warehouse, symbol: str) -> Play:
    """Asked at the close, without the last bar; then, an hour later, still without it."""
    every = [replace(one, taker_buy_volume=None) for one in stock_bars("5m", date(2025, 3, 3), date(2025, 3, 3))]
    asked = (every[0].timestamp, every[-1].timestamp + STEP["5m"])
    warehouse.load_bars("polygon", symbol, "5m", every[:77], window=asked, fetched_at=asked[1])
    yield
    assert bars_of(warehouse, symbol, "1d") == {}
    warehouse.load_bars("polygon", symbol, "5m", every[:77], window=asked, fetched_at=asked[1] + timedelta(hours=1))
    yield
    assert day_of(warehouse, symbol) == (None, 77, 77, 1)


@scenario(crypto, "5m")
def hole_of_binance_is_an_outage(warehouse: Warehouse, symbol: str) -> Play:
    """It gives bars without trades, too; that Polygon has none there either proves nothing."""
    fine = run_of(MARCH, 13, "5m")
    warehouse.load_bars("binance", symbol, "5m", fine[:4] + fine[6:])
    warehouse.load_bars("polygon", symbol, "5m", fine[:4] + fine[6:])
    yield
    (row,) = bars_of(warehouse, symbol, "1h").values()
    assert row["failed_checks"] == "incomplete: 10 of 12 5m bars"


# ---------------------------------------------------------------- revisions of what was resampled


@scenario(crypto, "5m 1h")
def revision_of_a_resampled_bar_counts_its_changes(warehouse: Warehouse, symbol: str) -> Play:
    """What changes a base bar and not the bar made of it is no revision of that."""
    fine = [replace(one, high=Decimal(200), low=Decimal(50)) for one in run_of(MARCH, 14, "5m")]
    seen = []

    def look() -> None:
        row = bars_of(warehouse, symbol, "1h")[MARCH]
        seen.append((row["revision"], row["is_valid"]))

    # One bar a load, as a turn every five minutes has them: no version until the hour is over.
    for one in fine[:11]:
        warehouse.load_bars("binance", symbol, "5m", [one])
    warehouse.load_bars("binance", symbol, "5m", fine[12:])
    yield
    look()
    warehouse.load_bars("binance", symbol, "5m", [fine[11]])
    yield
    look()
    warehouse.load_bars("binance", symbol, "5m", [replace(fine[5], high=Decimal(190))])
    yield
    look()
    warehouse.load_bars("binance", symbol, "5m", [replace(fine[5], high=Decimal(210))])
    yield
    look()
    warehouse.load_bars("binance", symbol, "5m", fine[:5] + fine[6:])
    yield
    look()
    warehouse.load_bars("binance", symbol, "5m", fine)
    yield
    look()
    assert seen == [(1, False), (2, True), (2, True), (3, True), (4, False), (5, True)]


@scenario(crypto, "5m")
def a_history_that_comes_backwards_makes_no_revisions(warehouse: Warehouse, symbol: str) -> Play:
    fine = run_of(MARCH, 72, "5m")
    for first in (48, 24, 0):
        warehouse.load_bars("binance", symbol, "5m", fine[first : first + 24])
    yield
    assert {row["revision"] for row in bars_of(warehouse, symbol, "1h").values()} == {1}
    assert [row["revision"] for row in bars_of(warehouse, symbol, "4h").values()] == [2], "of two loads"


# ---------------------------------------------------------------- unfinished bars


@scenario(crypto, "1h", each=["binance", "polygon", "yahoo"])
def bar_is_final_when_it_had_closed_before_it_was_asked_for(warehouse: Warehouse, symbol: str, provider: str) -> Play:
    hours = run_of(MARCH, 3, "1h")
    extra = {"time_zone": "UTC"} if provider == "yahoo" else {}
    asked = MARCH + 3 * STEP["1h"] - timedelta(seconds=1)
    # The answer came after the bar's end: it was still made before it.
    warehouse.load_bars(
        provider, symbol, "1h", hours, requested_at=asked, fetched_at=asked + timedelta(minutes=1), **extra
    )
    yield
    assert list(bars_of(warehouse, symbol, "1h")) == [one.timestamp for one in hours[:2]]
    warehouse.load_bars(provider, symbol, "1h", hours, requested_at=MARCH + 3 * STEP["1h"], **extra)
    yield
    found = bars_of(warehouse, symbol, "1h")
    assert list(found) == [one.timestamp for one in hours]
    assert found[hours[2].timestamp]["revision"] == 1, "the unfinished bar was no version of it"


@scenario(stock, "1d")
def stock_day_is_final_at_the_close_even_of_a_half_day(warehouse: Warehouse, symbol: str) -> Play:
    """2024-11-29 closes at 13:00 New York."""
    (day,) = stock_bars("1d", date(2024, 11, 29), date(2024, 11, 29))
    closes = datetime(2024, 11, 29, 13, 0, tzinfo=NEW_YORK).astimezone(UTC)
    warehouse.load_bars("polygon", symbol, "1d", [day], fetched_at=closes - timedelta(seconds=1))
    yield
    assert bars_of(warehouse, symbol, "1d") == {}
    warehouse.load_bars("polygon", symbol, "1d", [day], fetched_at=closes)
    yield
    (row,) = bars_of(warehouse, symbol, "1d").values()
    assert (row["closed_at"], row["session_date"]) == (closes, date(2024, 11, 29))


@scenario(stock, "1w", source_priority="yahoo")
def running_week_of_yahoo_in_two_rows_is_unfinished(warehouse: Warehouse, symbol: str) -> Play:
    """After Friday's close its row still lacks Friday, which is in a row of its own; then the two are one."""
    weeks = [
        datetime(2025, 2, 24, tzinfo=NEW_YORK).astimezone(UTC),
        datetime(2025, 3, 3, tzinfo=NEW_YORK).astimezone(UTC),
    ]
    friday = datetime(2025, 3, 7, 16, 0, 1, tzinfo=NEW_YORK).astimezone(UTC)
    rows = [bar(weeks[0], 102), bar(weeks[1], 103), bar(friday, 104)]
    evening = friday + timedelta(hours=2)
    warehouse.load_bars("yahoo", symbol, "1w", rows, fetched_at=evening, day_starts_at=timedelta(0))
    yield
    assert list(bars_of(warehouse, symbol, "1w")) == weeks[:1]
    whole = [rows[0], replace(bar(weeks[1], 104), volume=Decimal(20))]
    warehouse.load_bars("yahoo", symbol, "1w", whole, fetched_at=friday + timedelta(days=2), day_starts_at=timedelta(0))
    yield
    found = bars_of(warehouse, symbol, "1w")
    assert [(row["close"], row["volume"], row["revision"]) for row in found.values()] == [(102, 10, 1), (104, 20, 1)]
    assert (
        warehouse.query(
            "select 1 from intermediate.int_bars_observed where reject_reason is not null and symbol = %s", symbol
        )
        == []
    )


@scenario(stock, "5m")
def delayed_answer_is_known_a_quarter_of_an_hour_less_far(warehouse: Warehouse, symbol: str) -> Play:
    five = stock_bars("5m", date(2025, 3, 3), date(2025, 3, 3))[:6]
    payload = payloads.polygon_bars(five, "5m", status="DELAYED")
    asked = five[-1].timestamp + STEP["5m"]
    warehouse.load("polygon", Answer("bars", symbol, payload, "5m", (five[0].timestamp, asked), fetched_at=asked))
    yield
    assert len(bars_of(warehouse, symbol, "5m")) == 3


# ---------------------------------------------------------------- sessions and grids


@scenario(stock, "5m")
def bars_outside_the_session_and_off_the_grid_are_no_bars(warehouse: Warehouse, symbol: str) -> Play:
    inside = stock_bars("5m", date(2024, 11, 29), date(2024, 11, 29))
    assert len(inside) == 42
    opens, closes = inside[0].timestamp, inside[-1].timestamp + STEP["5m"]
    outside = [opens - STEP["5m"], closes, closes + timedelta(hours=2), opens + timedelta(minutes=1)]
    holiday = [bar(opened - timedelta(days=1)) for opened in (opens, closes)]
    warehouse.load_bars("polygon", symbol, "5m", [*holiday, *inside, *(bar(opened) for opened in outside)])
    yield
    assert list(bars_of(warehouse, symbol, "5m")) == [one.timestamp for one in inside]


@scenario(stock, "1h")
def polygon_hours_lie_on_the_clock_and_yahoo_hours_from_the_open(warehouse: Warehouse, symbol: str) -> Play:
    """Across the change of clocks of 2025-03-09; the grid is that of the first source that has hours."""
    first, last = date(2025, 3, 7), date(2025, 3, 10)
    clock, opened = stock_bars("1h", first, last, clock=True), stock_bars("1h", first, last)
    assert (len(clock), len(opened)) == (14, 14)
    assert clock[0].timestamp == datetime(2025, 3, 7, 14, 0, tzinfo=UTC)
    assert clock[7].timestamp == datetime(2025, 3, 10, 13, 0, tzinfo=UTC)
    warehouse.load_bars("yahoo", symbol, "1h", opened)
    yield
    assert list(bars_of(warehouse, symbol, "1h")) == [one.timestamp for one in opened]
    # Polygon comes first in order: with its first hours the series moves to the clock.
    warehouse.load_bars("polygon", symbol, "1h", clock)
    yield
    found = bars_of(warehouse, symbol, "1h")
    assert list(found) == [one.timestamp for one in clock]
    assert {row["source"] for row in found.values()} == {"polygon"}
    assert found[clock[6].timestamp]["closed_at"] == datetime(2025, 3, 7, 21, 0, tzinfo=UTC)


@scenario(stock, "1d 1w")
def week_of_polygon_starts_on_monday(warehouse: Warehouse, symbol: str) -> Play:
    monday = datetime(2025, 3, 3, tzinfo=NEW_YORK).astimezone(UTC)
    warehouse.load_bars("polygon", symbol, "1w", [bar(monday, 103)])
    yield
    (row,) = bars_of(warehouse, symbol, "1w").values()
    assert row["opened_at"] == monday
    assert row["closed_at"] == datetime(2025, 3, 7, 16, tzinfo=NEW_YORK)


@scenario(stock, "1d", active_from="2025-03-05", active_to="2025-03-11")
def days_outside_active_from_and_to_are_not_the_asset_s(warehouse: Warehouse, symbol: str) -> Play:
    days = stock_bars("1d", date(2025, 3, 3), date(2025, 3, 14))
    warehouse.load_bars("polygon", symbol, "1d", days)
    yield
    found = [row["session_date"] for row in bars_of(warehouse, symbol, "1d").values()]
    assert (found[0], found[-1], len(found)) == (date(2025, 3, 5), date(2025, 3, 11), 5)


@scenario(stock, "1d", active_from="2025-03-05", active_to="2025-03-18")
def weeks_in_which_a_listing_begins_and_ends_expect_its_days_only(warehouse: Warehouse, symbol: str) -> Play:
    """Wednesday to Tuesday of the week after next: 3, 5 and 2 days; nothing comes after the last."""
    warehouse.load_bars("polygon", symbol, "1d", stock_bars("1d", date(2025, 3, 5), date(2025, 3, 17)))
    yield
    assert [row["session_date"] for row in bars_of(warehouse, symbol, "1w").values()] == [
        date(2025, 3, 3),
        date(2025, 3, 10),
    ], "the last week is not over before its last day"
    warehouse.load_bars("polygon", symbol, "1d", stock_bars("1d", date(2025, 3, 18), date(2025, 3, 18)))
    yield
    weeks = list(bars_of(warehouse, symbol, "1w").values())
    assert [row["session_date"] for row in weeks] == [date(2025, 3, 3), date(2025, 3, 10), date(2025, 3, 17)]
    assert [row["failed_checks"] for row in weeks] == [None, None, None]
    assert weeks[2]["closed_at"] == datetime(2025, 3, 18, 16, tzinfo=NEW_YORK)


@scenario(stock, "1d 1w", active_from="2025-03-05")
def native_week_in_which_a_listing_begins_is_the_asset_s(warehouse: Warehouse, symbol: str) -> Play:
    mondays = [datetime(2025, 2, 24, tzinfo=NEW_YORK), datetime(2025, 3, 3, tzinfo=NEW_YORK)]
    warehouse.load_bars("polygon", symbol, "1w", [bar(monday.astimezone(UTC), 103) for monday in mondays])
    yield
    assert list(bars_of(warehouse, symbol, "1w")) == [mondays[1].astimezone(UTC)]


@scenario(stock, "1h")
def hours_on_the_clock_make_no_days(warehouse: Warehouse, symbol: str) -> Play:
    """Polygon's hour at 09:00 holds half an hour of trade before the open: a day made of it would have its open."""
    warehouse.load_bars("polygon", symbol, "1h", stock_bars("1h", date(2025, 3, 3), date(2025, 3, 14), clock=True))
    yield
    assert len(bars_of(warehouse, symbol, "1h")) == 70
    for timeframe in ("4h", "1d", "1w"):
        assert bars_of(warehouse, symbol, timeframe) == {}


@scenario(stock, "1h")
def hours_from_the_open_make_days(warehouse: Warehouse, symbol: str) -> Play:
    warehouse.load_bars("yahoo", symbol, "1h", stock_bars("1h", date(2025, 3, 3), date(2025, 3, 14)))
    yield
    assert len(bars_of(warehouse, symbol, "1d")) == 10


# ---------------------------------------------------------------- resampling, against the oracle


def assert_resampled_as_the_oracle_says(
    warehouse: Warehouse,
    symbol: str,
    base: str,
    bars: Sequence[Bar],
    calendar: str,
    until: datetime,
    without_trades: Collection[datetime] = (),
) -> None:
    """Every coarser timeframe's complete bars, all values; incomplete ones are there and flagged."""
    for timeframe in [name for name in STEP if STEP[name] > STEP[base]]:
        wanted = resample(
            bars,
            source_step=STEP[base],
            timeframe=timeframe,
            calendar=calendar,
            until=until,
            without_trades=without_trades,
        )
        found = bars_of(warehouse, symbol, timeframe)
        assert list(found) == [one.timestamp for one in wanted], timeframe
        for one in wanted:
            row = found[one.timestamp]
            values = (row["open"], row["high"], row["low"], row["close"], row["volume"], row["taker_buy_volume"])
            assert values == (one.open, one.high, one.low, one.close, one.volume, one.taker_buy_volume), one
            assert row["closed_at"] == one.ends_at, (timeframe, one)
            assert row["session_date"] == one.session_date, (timeframe, one)
            assert row["is_valid"] == (one.completeness >= Decimal("0.95")), (timeframe, one)


@scenario(crypto, "5m")
def crypto_minutes_become_hours_days_and_weeks(warehouse: Warehouse, symbol: str) -> Play:
    """Two weeks and a bit of 5m bars from the middle of a week, holes and an impossible bar included."""
    start = datetime(2025, 3, 5, 7, 40, tzinfo=UTC)
    every = run_of(start, 288 * 14 + 100, "5m")
    said = [one for n, one in enumerate(every) if n % 97 != 5 and not 700 <= n < 740]
    said[1000] = replace(said[1000], high=Decimal(1))
    warehouse.load_bars("binance", symbol, "5m", said)
    yield
    valid = [replace(one, is_valid=one.high >= one.low) for one in said]
    until = said[-1].timestamp + STEP["5m"]
    assert_resampled_as_the_oracle_says(warehouse, symbol, "5m", valid, "24/7", until)


@scenario(stock, "5m")
def stock_minutes_become_session_bars(warehouse: Warehouse, symbol: str) -> Play:
    """Across Thanksgiving, the half day after it and a week's end; from the open, never across a night."""
    every = [replace(one, taker_buy_volume=None) for one in stock_bars("5m", date(2024, 11, 20), date(2024, 12, 5))]
    said = [one for n, one in enumerate(every) if n % 61 != 7]
    warehouse.load_bars("polygon", symbol, "5m", said)
    yield
    until = said[-1].timestamp + STEP["5m"]
    quiet = {one.timestamp for one in every}
    assert_resampled_as_the_oracle_says(warehouse, symbol, "5m", said, "XNYS", until, quiet)
    assert all(row["is_valid"] for row in bars_of(warehouse, symbol, "1h").values())


@scenario(stock, "1h", each=[date(2025, 3, 9), date(2025, 11, 2)])
def stock_hours_and_days_across_the_change_of_clocks(warehouse: Warehouse, symbol: str, change: date) -> Play:
    said = stock_bars("1h", change - timedelta(days=8), change + timedelta(days=8))
    said = [replace(one, taker_buy_volume=None) for one in said]
    warehouse.load_bars("yahoo", symbol, "1h", said)
    yield
    until = said[-1].timestamp + STEP["1h"]
    assert_resampled_as_the_oracle_says(warehouse, symbol, "1h", said, "XNYS", until)


@scenario(crypto, "5m")
def slot_is_over_only_when_a_later_bar_shows_it(warehouse: Warehouse, symbol: str) -> Play:
    five = run_of(MARCH, 13, "5m")
    warehouse.load_bars("binance", symbol, "5m", five[:11])
    yield
    assert bars_of(warehouse, symbol, "1h") == {}
    warehouse.load_bars("binance", symbol, "5m", five[12:])
    yield
    (row,) = bars_of(warehouse, symbol, "1h").values()
    assert row["failed_checks"] == "incomplete: 11 of 12 5m bars"
    warehouse.load_bars("binance", symbol, "5m", five[11:12])
    yield
    (row,) = bars_of(warehouse, symbol, "1h").values()
    assert (row["is_valid"], row["volume"]) == (True, sum(one.volume for one in five[:12]))


# ---------------------------------------------------------------- Yahoo's adjusted prices


@scenario(stock, "1d", source_priority="yahoo")
def yahoo_is_brought_back_to_as_traded_across_splits(warehouse: Warehouse, symbol: str) -> Play:
    """4:1 on 2020-08-31: answers of before and after give the same as-traded bars; a later split changes none."""
    days = stock_bars("1d", date(2020, 8, 26), date(2020, 9, 3))
    old, new = (
        Bar(days[0].timestamp, D("500.04"), D("515.2"), D("495.32"), D("506.08"), D(4_000_000)),
        Bar(days[0].timestamp, D("127.58"), D("131"), D("126"), D("129.04"), D(16_000_000)),
    )
    traded = [replace(old if n < 3 else new, timestamp=day.timestamp) for n, day in enumerate(days)]
    split = {date(2020, 8, 31): (4, 1)}

    def adjusted(bars: Iterable[Bar], ratio: int) -> list[Bar]:
        return [
            Bar(
                one.timestamp,
                one.open / ratio,
                one.high / ratio,
                one.low / ratio,
                one.close / ratio,
                one.volume * ratio,
            )
            for one in bars
        ]

    before = datetime(2020, 8, 29, tzinfo=UTC)
    warehouse.load_bars("yahoo", symbol, "1d", traded[:3], fetched_at=before)
    yield
    history = bars_of(warehouse, symbol, "1d")
    after = datetime(2020, 9, 4, tzinfo=UTC)
    said = adjusted(traded[:3], 4) + traded[3:]
    warehouse.load_bars("yahoo", symbol, "1d", said, fetched_at=after, splits=split)
    yield
    found = bars_of(warehouse, symbol, "1d")
    for one in traded:
        row = found[one.timestamp]
        assert (row["open"], row["high"], row["low"], row["close"], row["volume"]) == (
            one.open, one.high, one.low, one.close, one.volume,
        )  # fmt: skip
        assert row["split_factor"] == (1 if one in traded[:3] else 4)
        assert row["revision"] == 1
    later = datetime(2024, 6, 20, tzinfo=UTC)
    both = {**split, date(2024, 6, 10): (10, 1)}
    warehouse.load_bars("yahoo", symbol, "1d", adjusted(traded[:3], 40) + adjusted(traded[3:], 10), fetched_at=later)
    warehouse.load("polygon", Answer("splits", symbol, payloads.polygon_splits(both)))
    yield
    again = bars_of(warehouse, symbol, "1d")
    assert {at: (row["close"], row["volume"], row["split_factor"]) for at, row in again.items()} == {
        at: (row["close"], row["volume"], row["split_factor"]) for at, row in found.items()
    }
    assert all(history[at]["close"] == again[at]["close"] for at in history)


# ---------------------------------------------------------------- the machine's time zone


def test_time_zone_of_the_machine_changes_no_cell(warehouse: Warehouse) -> None:
    warehouse.assets([stock("AAPL", "5m 1h 1d"), crypto("BTC", "5m 1h")])
    first, last = date(2025, 3, 6), date(2025, 3, 11)
    warehouse.load_bars("polygon", "AAPL", "5m", stock_bars("5m", first, last))
    warehouse.load_bars("polygon", "AAPL", "1h", stock_bars("1h", first, last, clock=True))
    warehouse.load_bars("yahoo", "AAPL", "1d", stock_bars("1d", first, last), splits={date(2025, 3, 10): (2, 1)})
    warehouse.load_bars("binance", "BTC", "5m", run_of(datetime(2025, 3, 8, tzinfo=UTC), 800, "5m"))
    warehouse.load(
        "polygon",
        Answer(
            "grouped_daily",
            payload={"results": [{"T": "AAPL", "o": 1, "h": 2, "l": 1, "c": 2, "v": 5, "t": 1741377600000}]},
            window=(
                datetime(2025, 3, 7, tzinfo=NEW_YORK).astimezone(UTC),
                datetime(2025, 3, 8, tzinfo=NEW_YORK).astimezone(UTC),
            ),
        ),
    )
    cells = []
    for zone in ("UTC", "Asia/Tokyo", "America/Los_Angeles"):
        warehouse.execute("drop schema if exists intermediate, staging, seeds cascade; truncate ops.watermarks")
        warehouse.build(BARS, time_zone=zone)
        cells.append([*warehouse.query(BAR_TABLE, "AAPL"), *warehouse.query(BAR_TABLE, "BTC")])
    assert len(cells[0]) > 1000
    assert cells[1] == cells[0]
    assert cells[2] == cells[0]


@pytest.mark.parametrize("name", SCENARIOS)
def test_scenario(outcomes: dict[str, Exception | None], name: str) -> None:
    if error := outcomes[name]:
        raise error
