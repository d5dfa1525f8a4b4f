"""Bars: exact text, exact aggregates, windows across clock changes, splits, generators."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.simulator import datasets, encode, files
from scripts.simulator.bars import (
    DAY,
    HOUR,
    MINUTE,
    NEW_YORK,
    Bars,
    Interval,
    aggregate,
    local_midnight,
    partial,
    split_adjusted,
    to_local,
    window_starts,
)
from scripts.simulator.instruments import Grid
from scripts.simulator.synthetic import SyntheticMarket

COIN = SyntheticMarket("TEST", 100.0, 5000.0)
MARCH = 1_362_096_000_000  # 2013-03-01
ALWAYS = 2**52


def utc(text: str) -> int:
    return int(dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC).timestamp() * 1000)


@given(st.lists(st.integers(-(10**17), 10**17), min_size=1, max_size=20), st.integers(0, 10))
def test_encoded_numbers_are_the_decimals_themselves(values: list[int], places: int) -> None:
    column = np.array(values)
    fixed = encode.encode_rows([encode.Decimal(column, places), b"\n"], len(values))
    trimmed = encode.encode_rows([encode.Decimal(column, places, trim=True), b"\n"], len(values))
    exact = [Decimal(value).scaleb(-places) for value in values]
    assert fixed.data.decode().split() == [f"{number:.{places}f}" for number in exact]
    shown = trimmed.data.decode().split()
    assert [Decimal(text) for text in shown] == exact
    assert not any("." in text and text[-1] in "0." for text in shown)


def test_rows_of_an_encoded_page_are_cut_at_their_ends() -> None:
    text = encode.encode_rows([encode.Decimal(np.array([1, 22, 333])), b","], 3)
    assert [text.rows(0, 3), text.rows(1, 2), text.rows(2, 2)] == [b"1,22,333,", b"22,", b""]


def test_hours_and_days_are_exact_aggregates_of_five_minutes() -> None:
    fine = COIN.bars(MARCH, MARCH + DAY)
    hours = aggregate(fine, fine.time // HOUR * HOUR)
    assert len(fine) == 288 and len(hours) == 24
    for i, start in enumerate(hours.time.tolist()):
        part = fine.between(start, start + HOUR)
        assert (hours.open[i], hours.close[i]) == (part.open[0], part.close[-1])
        assert (hours.high[i], hours.low[i]) == (part.high.max(), part.low.min())
        for name in ("volume", "quote", "trades", "taker_base", "taker_quote"):
            assert hours.columns()[name][i] == part.columns()[name].sum()


def test_recorded_minutes_aggregate_to_the_exchanges_own_days(shared_data: Path) -> None:
    bitcoin = datasets.shared(shared_data).spot["BTCUSDT"]
    start = utc("2020-01-01")
    minutes = bitcoin.bars(Interval(24, "hour"), start, start + 3 * DAY, ALWAYS, Grid())
    days = bitcoin.bars(Interval(1, "day"), start, start + 3 * DAY, ALWAYS, Grid())
    assert minutes is not None and days is not None and len(days) == 3
    for name in ("open", "high", "low", "close", "volume"):
        assert minutes.columns()[name].tolist() == days.columns()[name].tolist()


def test_generated_bars_are_possible_and_do_not_depend_on_who_asked_before() -> None:
    again = SyntheticMarket("TEST", 100.0, 5000.0)
    late = again.bars(MARCH + 3 * DAY, MARCH + 4 * DAY)
    bars = COIN.bars(MARCH, MARCH + 4 * DAY)
    for name, column in late.columns().items():
        assert column.tolist() == bars.columns()[name][-288:].tolist()
    assert (bars.open[1:] == bars.close[:-1]).all()
    assert (bars.high >= np.maximum(bars.open, bars.close)).all()
    assert (bars.low <= np.minimum(bars.open, bars.close)).all()
    assert (bars.low > 0).all() and (bars.volume > 0).all()
    assert bars.taker_base is not None and ((bars.taker_base >= 0) & (bars.taker_base <= bars.volume)).all()
    assert np.diff(bars.time).tolist() == [5 * MINUTE] * (len(bars) - 1)


def test_venues_of_a_coin_differ_as_real_ones_do() -> None:
    demo = datasets.demo()
    days = [
        market.bars(Interval(1, "day"), MARCH - 300 * DAY, MARCH, ALWAYS, Grid())
        for market in (demo.spot["BTCUSDT"], demo.polygon["X:BTCUSD"], demo.yahoo["BTC-USD"])
    ]
    spot, polygon, yahoo = (bars.close / 1e8 for bars in days if bars is not None)
    assert 0.0001 < np.median(np.abs(polygon / spot - 1)) < 0.001
    assert 0.0003 < np.median(np.abs(yahoo / spot - 1)) < 0.002


@pytest.mark.parametrize(
    ("at", "interval", "sundays", "start"),
    [
        ("2014-03-08T20:00", Interval(1, "day"), False, "2014-03-08T05:00"),  # the day before clocks go forward
        ("2014-03-10T20:00", Interval(1, "day"), False, "2014-03-10T04:00"),
        ("2014-03-12T20:00", Interval(1, "week"), True, "2014-03-09T05:00"),  # Polygon's weeks begin on Sunday
        ("2014-03-12T20:00", Interval(1, "week"), False, "2014-03-10T04:00"),
        ("2014-11-05T20:00", Interval(1, "month"), False, "2014-11-01T04:00"),
        ("2014-11-05T20:00", Interval(1, "quarter"), False, "2014-10-01T04:00"),
        ("2014-11-05T14:59", Interval(1, "hour"), False, "2014-11-05T14:00"),
        ("2014-11-05T14:59", Interval(4, "hour"), False, "2014-11-05T13:00"),  # 08:00 in New York
    ],
)
def test_windows_start_where_new_york_starts_them(at: str, interval: Interval, sundays: bool, start: str) -> None:
    got = window_starts(np.array([utc(at)]), interval, NEW_YORK, sunday_weeks=sundays)
    assert int(got[0]) == utc(start)


def test_days_begin_at_local_midnight_on_both_sides_of_a_clock_change() -> None:
    days = [dt.date(2013, 3, 8), dt.date(2013, 3, 11), dt.date(2013, 11, 1), dt.date(2013, 11, 4)]
    starts = np.array([local_midnight(day, NEW_YORK) for day in days])
    assert [int(s) % DAY // HOUR for s in starts] == [5, 4, 4, 5]
    assert (to_local(starts, NEW_YORK) % DAY == 0).all()


def test_a_split_scales_earlier_bars_only_and_rounds_once() -> None:
    values = np.array([1000, 1001, 700])
    bars = Bars(np.array([1, 2, 3]), values, values, values, values, np.array([10, 20, 30]), 4, 0)
    once = split_adjusted(bars, [(3, Fraction(7))])
    assert once.close.tolist() == [143, 143, 700] and once.volume.tolist() == [70, 140, 30]
    # Two splits that cancel leave the oldest bar as it was: factors multiply before anything is rounded.
    twice = split_adjusted(bars, [(2, Fraction(3)), (3, Fraction(1, 3))])
    assert twice.close.tolist() == [1000, 3003, 700]


def test_a_running_bar_stays_inside_the_whole_one() -> None:
    bars = COIN.bars(MARCH, MARCH + HOUR)
    half = partial(bars, 0.5)
    assert (half.open == bars.open).all() and (half.volume < bars.volume).all()
    assert (half.high <= bars.high).all() and (half.low >= bars.low).all()
    assert (half.high >= np.maximum(half.open, half.close)).all() and (
        half.low <= np.minimum(half.open, half.close)
    ).all()


def test_bokeh_stocks_have_their_real_splits() -> None:
    known = {stock.symbol: stock for stock in files.bokeh_stocks()}
    splits = {symbol: [(str(s.effective), s.new) for s in stock.splits] for symbol, stock in known.items()}
    assert splits == {
        "AAPL": [("2000-06-21", 2), ("2005-02-28", 2)], "FB": [], "GOOG": [], "IBM": [], "MSFT": [("2003-02-18", 2)],
    }  # fmt: skip
    assert len(known["IBM"].dividends) == 52  # 13 years, four a year


def test_lean_factor_files_give_apples_splits_and_dividends(shared_data: Path) -> None:
    apple = datasets.shared(shared_data).polygon["AAPL"]
    assert [(str(s.effective), s.new) for s in apple.splits] == [
        ("2000-06-21", 2), ("2005-02-28", 2), ("2014-06-09", 7), ("2020-08-31", 4),
    ]  # fmt: skip
    assert {str(d.ex_date): str(d.amount) for d in apple.dividends}["2020-11-06"] == "0.205"
    assert len(apple.dividends) == 35
