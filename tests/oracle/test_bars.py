"""The bar references: sessions, resampling, revisions, the winning source."""

from __future__ import annotations

import csv
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest

from scripts.site.reference_formulas import STEP
from tests.oracle.bars import Bar, Observation, bucket, choose, resample, revisions, sessions, slots
from tests.oracle.real_data import binance_daily_2020, binance_minutes

FIVE = STEP["5m"]


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def bars_of(calendar: str, first: str, last: str, step: timedelta = FIVE) -> list[Bar]:
    """A bar in every slot; the n-th has open n, high n + 2, low n - 1, close n + 1, volume 1, taker 0.5."""
    opens = [
        slot
        for session in sessions(calendar, date.fromisoformat(first), date.fromisoformat(last))
        for slot in slots(session, step)
    ]
    return [
        Bar(at, Decimal(n), Decimal(n + 2), Decimal(n - 1), Decimal(n + 1), Decimal(1), Decimal("0.5"))
        for n, at in enumerate(opens, 1)
    ]


def level(at: datetime, number: int, *, is_valid: bool = True) -> Bar:
    """A bar whose prices and volume are all one number, without taker volume."""
    n = Decimal(number)
    return Bar(at, n, n, n, n, n, is_valid=is_valid)


class TestStockSessions:
    def test_hours_start_at_the_open_and_the_last_is_cut_short(self) -> None:
        hours = resample(bars_of("XNYS", "2024-03-05", "2024-03-05"), source_step=FIVE, timeframe="1h", calendar="XNYS")
        assert [bar.timestamp for bar in hours] == [instant(f"2024-03-05T{h}:30") for h in range(14, 21)]
        assert [bar.expected for bar in hours] == [12] * 6 + [6]
        assert hours[-1].ends_at == instant("2024-03-05T21:00")
        first = hours[0]
        assert [first.open, first.high, first.low, first.close] == [1, 14, 0, 13]
        assert [first.volume, first.taker_buy_volume] == [12, 6]

    @pytest.mark.parametrize(
        ("timeframe", "count", "stub"), [("15m", 26, 3), ("30m", 13, 6), ("4h", 2, 30), ("1d", 1, 78)]
    )
    def test_other_timeframes(self, timeframe: str, count: int, stub: int) -> None:
        out = resample(
            bars_of("XNYS", "2024-03-05", "2024-03-05"), source_step=FIVE, timeframe=timeframe, calendar="XNYS"
        )
        assert [len(out), out[-1].expected, out[-1].completeness] == [count, stub, 1]

    def test_hours_make_days_that_end_with_the_session(self) -> None:
        (day,) = resample(
            bars_of("XNYS", "2024-03-05", "2024-03-05", STEP["1h"]),
            source_step=STEP["1h"],
            timeframe="1d",
            calendar="XNYS",
        )
        assert [day.present, day.expected] == [7, 7]
        assert day.ends_at == instant("2024-03-05T21:00")  # not 21:30, where the hour of 15:30 would end

    def test_half_day(self) -> None:
        day = bars_of("XNYS", "2019-07-03", "2019-07-03")
        assert len(day) == 42  # 09:30 to 13:00
        hours = resample(day, source_step=FIVE, timeframe="1h", calendar="XNYS")
        assert [bar.expected for bar in hours] == [12, 12, 12, 6]
        whole = resample(day, source_step=FIVE, timeframe="1d", calendar="XNYS")[0]
        assert whole.ends_at == instant("2019-07-03T17:00")
        assert whole.completeness == 1

    def test_days_are_stamped_at_midnight_in_new_york_on_both_sides_of_dst(self) -> None:
        days = resample(bars_of("XNYS", "2024-03-08", "2024-03-11"), source_step=FIVE, timeframe="1d", calendar="XNYS")
        assert [bar.timestamp for bar in days] == [instant("2024-03-08T05:00"), instant("2024-03-11T04:00")]
        assert [bar.session_date for bar in days] == [date(2024, 3, 8), date(2024, 3, 11)]
        opens = [session.opens_at for session in sessions("XNYS", date(2024, 3, 8), date(2024, 3, 11))]
        assert opens == [instant("2024-03-08T14:30"), instant("2024-03-11T13:30")]

    def test_week_with_a_holiday_and_a_half_day_is_stamped_monday(self) -> None:
        bars = bars_of("XNYS", "2024-11-25", "2024-12-03")
        weeks = resample(bars, source_step=FIVE, timeframe="1w", calendar="XNYS")
        assert [bar.timestamp for bar in weeks] == [instant("2024-11-25T05:00"), instant("2024-12-02T05:00")]
        assert [bar.expected for bar in weeks] == [3 * 78 + 42, 5 * 78]  # Thanksgiving closed, Friday short
        assert [bar.completeness for bar in weeks] == [1, Decimal(2 * 78) / (5 * 78)]
        assert (
            resample(bars, source_step=FIVE, timeframe="1w", calendar="XNYS", until=instant("2024-12-04T00:00"))
            == weeks[:1]
        )

    def test_a_week_whose_monday_is_a_holiday_is_still_stamped_monday(self) -> None:
        (week,) = resample(
            bars_of("XNYS", "2024-05-28", "2024-05-31"), source_step=FIVE, timeframe="1w", calendar="XNYS"
        )
        assert (week.timestamp, week.session_date, week.expected) == (
            instant("2024-05-27T04:00"),
            date(2024, 5, 27),
            4 * 78,
        )

    def test_bars_outside_the_session_off_the_grid_or_invalid_take_no_part(self) -> None:
        bars = bars_of("XNYS", "2024-03-05", "2024-03-05")
        odd = [
            level(instant(text), 999)
            for text in ("2024-03-05T14:25", "2024-03-05T21:00", "2024-03-05T15:02", "2024-03-09T15:00")
        ]
        bars[5] = level(bars[5].timestamp, 999, is_valid=False)
        (day,) = resample(bars + odd, source_step=FIVE, timeframe="1d", calendar="XNYS")
        assert [day.high, day.volume, day.present, day.expected] == [80, 77, 77, 78]

    def test_ad_hoc_closures_are_known(self) -> None:
        assert [s.session_date.day for s in sessions("XNYS", date(2001, 9, 10), date(2001, 9, 17))] == [10, 17]


class TestCryptoDays:
    def test_utc_days_and_weeks_do_not_know_dst(self) -> None:
        bars = bars_of("24/7", "2024-03-09", "2024-03-17")
        days = resample(bars, source_step=FIVE, timeframe="1d", calendar="24/7")
        assert {bar.timestamp.hour for bar in days} == {0}
        assert {bar.expected for bar in days} == {288}
        weeks = resample(bars, source_step=FIVE, timeframe="1w", calendar="24/7")
        assert [(bar.timestamp, bar.present, bar.expected) for bar in weeks] == [
            (instant("2024-03-04T00:00"), 2 * 288, 7 * 288),
            (instant("2024-03-11T00:00"), 7 * 288, 7 * 288),
        ]

    def test_four_hours_follow_the_clock(self) -> None:
        out = resample(bars_of("24/7", "2024-03-10", "2024-03-10"), source_step=FIVE, timeframe="4h", calendar="24/7")
        assert [bar.timestamp.hour for bar in out] == [0, 4, 8, 12, 16, 20]

    def test_a_missing_bar_lowers_completeness_and_a_missing_hour_has_no_bar(self) -> None:
        bars = bars_of("24/7", "2024-03-10", "2024-03-10")
        hours = resample(bars[:7] + bars[24:], source_step=FIVE, timeframe="1h", calendar="24/7")
        assert [hours[0].present, hours[0].close] == [7, 8]
        assert hours[1].timestamp == instant("2024-03-10T02:00")

    def test_taker_volume_is_null_if_a_part_has_none(self) -> None:
        bars = bars_of("24/7", "2024-03-10", "2024-03-10")
        bars[0] = level(bars[0].timestamp, 5)
        hours = resample(bars, source_step=FIVE, timeframe="1h", calendar="24/7")
        assert [hours[0].taker_buy_volume, hours[1].taker_buy_volume] == [None, 6]

    def test_unfinished_periods_are_left_out(self) -> None:
        bars = bars_of("24/7", "2024-03-10", "2024-03-10")[:24]
        for until, count in (("2024-03-10T02:00", 2), ("2024-03-10T01:59:59", 1)):
            assert len(resample(bars, source_step=FIVE, timeframe="1h", calendar="24/7", until=instant(until))) == count

    def test_two_bars_of_one_time_are_refused(self) -> None:
        bars = bars_of("24/7", "2024-03-10", "2024-03-10")
        with pytest.raises(ValueError, match="two bars"):
            resample([*bars, bars[3]], source_step=FIVE, timeframe="1h", calendar="24/7")

    def test_no_bars_no_answer(self) -> None:
        assert resample([], source_step=FIVE, timeframe="1h", calendar="XNYS") == []


class TestRealBars:
    def test_binance_minutes_make_the_days_of_the_exchange(self, shared_data: Path) -> None:
        minutes = binance_minutes(shared_data)
        days = resample(minutes, source_step=timedelta(minutes=1), timeframe="1d", calendar="24/7")
        published = binance_daily_2020(shared_data)
        assert [(b.open, b.high, b.low, b.close, b.volume) for b in days] == [
            published[date(2020, 1, d)] for d in (1, 2, 3)
        ]
        assert {bar.completeness for bar in days} == {1}

    def test_resampling_in_two_steps_is_resampling_in_one(self, shared_data: Path) -> None:
        minutes = binance_minutes(shared_data)
        direct = resample(minutes, source_step=timedelta(minutes=1), timeframe="1d", calendar="24/7")
        steps: list[Bar] = list(minutes)
        for source, timeframe in pairwise([None, "5m", "15m", "30m", "1h", "4h", "1d"]):
            step = timedelta(minutes=1) if source is None else STEP[source]
            steps = list(resample(steps, source_step=step, timeframe=str(timeframe), calendar="24/7"))
        shown = ("timestamp", "open", "high", "low", "close", "volume", "taker_buy_volume")
        for one, two in zip(direct, steps, strict=True):
            assert [getattr(one, name) for name in shown] == [getattr(two, name) for name in shown]

    def test_msft_five_minutes_make_yahoos_hours(self, shared_data: Path) -> None:
        """Yahoo lays hours out from the open as we do; its own hours differ from its 5m bars by a print here and there."""

        def read(name: str) -> list[Bar]:
            with (shared_data / f"yahoo/market_prices/{name}").open() as file:
                rows = list(csv.DictReader(file))
            bars = []
            for row in rows:
                if row["close"]:
                    o, h, low, c, volume = (Decimal(row[key]) for key in ("open", "high", "low", "close", "volume"))
                    bars.append(Bar(instant(row["date"]), o, h, low, c, volume))
            return bars

        ours = resample(read("MSFT_5T_231218_240214.csv"), source_step=FIVE, timeframe="1h", calendar="XNYS")
        theirs = {bar.timestamp: bar for bar in read("MSFT_1H_231218_240214.csv")}
        whole = [bar for bar in ours if bar.completeness == 1 and bar.timestamp in theirs]
        assert len(whole) > 200
        close = sum(abs(bar.close - theirs[bar.timestamp].close) <= Decimal("0.01") for bar in whole)
        assert close / len(whole) > 0.9


def seen(
    source: str, at: int, value: int | None, *, key: str = "bar", valid: bool = True, native: bool = True
) -> Observation:
    values = None if value is None else (Decimal(value),)
    return Observation(source, key, instant(f"2024-03-0{at}T00:00"), values, valid, native)


def test_a_bar_without_trades_is_not_expected_unless_it_is_there() -> None:
    day = bars_of("XNYS", "2024-03-05", "2024-03-05")
    told = [bar for n, bar in enumerate(day) if n % 13 == 0]
    quiet = {bar.timestamp for bar in day}
    (whole,) = resample(told, source_step=FIVE, timeframe="1d", calendar="XNYS", without_trades=quiet)
    assert (whole.present, whole.expected, whole.completeness) == (6, 6, Decimal(1))
    (whole,) = resample(
        told, source_step=FIVE, timeframe="1d", calendar="XNYS", without_trades=quiet - {day[1].timestamp}
    )
    assert (whole.present, whole.expected) == (6, 7)


class TestRevisions:
    def test_there_and_back_is_three_revisions(self) -> None:
        told = [seen("polygon", day, value) for day, value in ((4, 1), (1, 1), (2, 1), (3, 2))]
        history = revisions(told)
        assert [r.number for r in history] == [1, 2, 3]
        assert [r.observation.values for r in history] == [(Decimal(n),) for n in (1, 2, 1)]
        assert [r.observation.known_at.day for r in history] == [1, 3, 4]

    def test_the_same_values_with_another_verdict_are_a_revision(self) -> None:
        assert [r.number for r in revisions([seen("yahoo", 1, 1), seen("yahoo", 2, 1, valid=False)])] == [1, 2]

    def test_sources_and_bars_count_apart(self) -> None:
        told = [seen("polygon", 1, 1), seen("yahoo", 2, 1), seen("polygon", 3, 1, key="next")]
        assert [r.number for r in revisions(told)] == [1, 1, 1]

    def test_a_retraction_is_a_revision_only_after_a_bar(self) -> None:
        assert [r.number for r in revisions([seen("yahoo", 1, None), seen("yahoo", 2, 5), seen("yahoo", 3, None)])] == [
            1,
            2,
        ]


class TestChoose:
    order = ("polygon", "binance", "yahoo")

    def winner(self, *told: Observation, as_of: int | None = None) -> tuple[str, int] | None:
        known = choose(told, self.order, None if as_of is None else instant(f"2024-03-0{as_of}T00:00"))
        return (known["bar"].observation.source, known["bar"].number) if known else None

    def test_priority_decides(self) -> None:
        assert self.winner(seen("yahoo", 1, 1), seen("binance", 2, 2)) == ("binance", 1)

    def test_the_latest_revision_of_a_source_counts(self) -> None:
        assert self.winner(seen("polygon", 1, 1), seen("polygon", 2, 2), seen("yahoo", 3, 3)) == ("polygon", 2)

    def test_an_invalid_bar_gives_way_to_a_valid_one_of_the_next_source(self) -> None:
        assert self.winner(seen("polygon", 1, 1, valid=False), seen("yahoo", 1, 2)) == ("yahoo", 1)

    def test_without_a_valid_bar_the_first_source_is_kept(self) -> None:
        assert self.winner(seen("yahoo", 1, 2, valid=False), seen("polygon", 1, 1, valid=False)) == ("polygon", 1)

    def test_a_bar_that_turns_invalid_loses_and_wins_again_when_repaired(self) -> None:
        told = (seen("polygon", 1, 1), seen("yahoo", 1, 9), seen("polygon", 2, -1, valid=False), seen("polygon", 3, 1))
        assert [self.winner(*told, as_of=day) for day in (1, 2, 3)] == [("polygon", 1), ("yahoo", 1), ("polygon", 3)]

    def test_the_order_of_sources_decides_before_native_or_resampled(self) -> None:
        assert self.winner(seen("polygon", 1, 1, native=False), seen("yahoo", 1, 2)) == ("polygon", 1)
        assert self.winner(seen("polygon", 1, 1, native=False, valid=False), seen("yahoo", 1, 2)) == ("yahoo", 1)

    def test_of_one_source_the_native_bar_wins(self) -> None:
        told = (seen("polygon", 1, 1), seen("polygon", 2, 2, native=False))
        assert choose(told, self.order)["bar"].observation.is_native
        assert not choose((replace(told[0], is_valid=False), told[1]), self.order)["bar"].observation.is_native

    def test_a_retracted_bar_leaves_the_next_source_or_nothing(self) -> None:
        told = (seen("polygon", 1, 1), seen("polygon", 3, None), seen("yahoo", 4, 2))
        assert [self.winner(*told, as_of=day) for day in (2, 3, 4)] == [("polygon", 1), None, ("yahoo", 1)]

    def test_a_source_that_is_not_listed_never_wins(self) -> None:
        assert self.winner(seen("elsewhere", 1, 1)) is None


def test_buckets_of_a_slot() -> None:
    (session,) = sessions("XNYS", date(2024, 3, 5), date(2024, 3, 5))
    slot = instant("2024-03-05T15:05")
    assert [bucket(slot, session, t, "XNYS") for t in ("15m", "1h", "4h", "1d", "1w")] == [
        instant("2024-03-05T15:00"),
        instant("2024-03-05T14:30"),
        instant("2024-03-05T14:30"),
        instant("2024-03-05T05:00"),
        instant("2024-03-04T05:00"),
    ]
