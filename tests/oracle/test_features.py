"""The oracle itself, on numbers a person can check by hand."""

from __future__ import annotations

import math
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, ClassVar

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scripts.site.reference_formulas import (
    CRYPTO,
    EXACT,
    FEATURES,
    RAW,
    STEP,
    TEXTS,
    compare,
    features,
    taken_at,
)

START = pd.Timestamp("2024-03-04T00:00Z")
# With as many digits as any column of the mart.
TYPES = {name: "varchar(20)" if name in TEXTS else "numeric(28,10)" for name in FEATURES}


def series(closes: list[Any], step: str = "1h", start: pd.Timestamp = START, **columns: Any) -> pd.DataFrame:
    """Bars with open = high = low = close and volume 10, in a row; columns override."""
    frame = pd.DataFrame(
        {
            "timestamp": [start + i * STEP[step] for i in range(len(closes))],
            **{
                name: pd.Series([Decimal(str(c)) for c in closes], dtype=object)
                for name in ("open", "high", "low", "close")
            },
            "volume": pd.Series([Decimal(10)] * len(closes), dtype=object),
        }
    )
    for name, values in columns.items():
        frame[name] = pd.Series(values if isinstance(values, list) else [values] * len(closes), dtype=object)
    return frame


def run(frame: pd.DataFrame, step: str = "1h", asset_class: str = "crypto", **frames: Any) -> pd.DataFrame:
    return features(frame, timeframe=step, asset_class=asset_class, **frames)


def at(clock: str) -> pd.Timestamp:
    """An instant on the first day of series()."""
    return pd.Timestamp(f"2024-03-04T{clock}Z")


def nulls(values: pd.Series) -> list[bool]:
    return list(values.isna())


class TestReturns:
    def test_return_1h_spans_the_bars_of_the_last_hour(self) -> None:
        bars = series([0] * 5, "15m", open=[100, 101, 102, 103, 104], close=[101, 102, 103, 110, 202])
        out = run(bars, "15m")["return_1h"]
        assert nulls(out) == [True, True, True, False, False]
        assert out[3] == pytest.approx(0.10)  # 110 / open 100
        assert out[4] == pytest.approx(1.0)  # 202 / open 101

    def test_return_1h_is_null_when_the_bar_an_hour_ago_is_absent_or_invalid(self) -> None:
        bars = series([100] * 6, "15m")
        assert nulls(run(bars.drop(index=1), "15m")["return_1h"]) == [True, True, False, True, False]
        bars["is_valid"] = [True, False, True, True, True, True]
        assert nulls(run(bars, "15m")["return_1h"]) == [True, True, True, False, True, False]

    def test_return_1h_of_an_hourly_bar_is_its_own_even_when_the_session_cuts_it_short(self) -> None:
        bars = series(
            [0, 0], open=[100, 200], close=[101, 150], close_time=[START + STEP["1h"], START + STEP["30m"] * 3]
        )
        assert list(run(bars)["return_1h"]) == pytest.approx([0.01, -0.25])

    def test_return_1h_is_null_on_steps_above_an_hour(self) -> None:
        for step in ("4h", "1d", "1w"):
            assert run(series([1, 2, 3], step), step)["return_1h"].isna().all()

    def test_return_1d_of_days_weeks_and_crypto_hours(self) -> None:
        assert list(run(series([100, 110, 99], "1d"), "1d")["return_1d"])[1:] == pytest.approx([0.10, -0.10])
        assert run(series([100, 110, 99], "1w"), "1w")["return_1d"].isna().all()
        hours = run(series([100] * 23 + [80] + [88, 96]))["return_1d"]  # 23:00 closes the UTC day at 80
        assert hours[:24].isna().all()
        assert list(hours[24:]) == pytest.approx([0.10, 0.20])

    def test_return_1d_follows_new_york_sessions_over_a_half_day_and_a_holiday(self) -> None:
        # 2019-07-03 closed at 13:00 New York, 07-04 was a holiday.
        opens = [
            "2019-07-02T19:30Z",
            "2019-07-03T13:30Z",
            "2019-07-03T16:30Z",
            "2019-07-05T13:30Z",
            "2019-07-05T14:30Z",
        ]
        days = [date(2019, 7, 2), date(2019, 7, 3), date(2019, 7, 3), date(2019, 7, 5), date(2019, 7, 5)]
        bars = series([100, 90, 200, 220, 210], session_date=days)
        bars["timestamp"] = [pd.Timestamp(text) for text in opens]
        out = run(bars, asset_class="stock")["return_1d"]
        assert list(out)[1:] == pytest.approx([-0.10, 1.00, 0.10, 0.05])
        assert math.isnan(out[0])

    def test_return_1d_over_a_dst_weekend(self) -> None:
        # Friday 2024-03-08 opens 14:30 UTC, Monday 2024-03-11 opens 13:30 UTC.
        bars = series([100, 101, 111.1], session_date=[date(2024, 3, 8)] * 2 + [date(2024, 3, 11)])
        bars["timestamp"] = [pd.Timestamp(t) for t in ("2024-03-08T14:30Z", "2024-03-08T20:30Z", "2024-03-11T13:30Z")]
        assert run(bars, asset_class="stock")["return_1d"][2] == pytest.approx(0.10)

    def test_log_return(self) -> None:
        out = run(series([100, 200, 100]))["log_return"]
        assert math.isnan(out[0])
        assert list(out)[1:] == pytest.approx([math.log(2), -math.log(2)], rel=1e-15)

    def test_log_return_near_zero_keeps_its_digits(self) -> None:
        out = run(series(["60000.00000000", "60000.00000001"]))["log_return"]
        assert out[1] == pytest.approx(1 / 6e12, rel=1e-9)

    @pytest.mark.parametrize("n", [20, 50])
    def test_volatility_of_returns_that_alternate(self, n: int) -> None:
        out = run(series([100, 110] * 30))[f"volatility_{n}"]
        assert nulls(out) == [True] * n + [False] * (60 - n)  # n returns need n + 1 bars
        assert out[n] == pytest.approx(math.log(1.1) * math.sqrt(n / (n - 1)), rel=1e-14)


class TestRanges:
    def test_true_range_counts_gaps(self) -> None:
        out = run(series([9, 11, 10, 5], high=[10, 12, 11, 6], low=[8, 11, 9, 4]))["true_range"]
        assert math.isnan(out[0])
        assert list(out)[1:] == [3, 2, 6]  # 12 - 9 (gap up), 11 - 9, 10 - 4 (gap down)

    def test_atr_is_the_mean_of_14_ranges_and_then_wilder(self) -> None:
        bars = series([100] * 17, high=[101] * 15 + [108] + [101], low=[99] * 15 + [92] + [99])
        out = run(bars)["atr"]
        assert nulls(out) == [True] * 14 + [False] * 3
        assert list(out)[14:] == pytest.approx([2, (13 * 2 + 16) / 14, (13 * 3 + 2) / 14])

    def test_a_flat_market_has_zeros_not_nulls(self) -> None:
        out = run(series([50] * 60)).iloc[-1]
        assert [out[name] for name in ("log_return", "volatility_20", "volatility_50", "true_range", "atr")] == [0] * 5
        assert (out["trend_direction"], out["market_structure"]) == ("neutral", "range")


class TestAverages:
    def test_hlc3(self) -> None:
        assert run(series([5], high=[9], low=[1]))["hlc3"][0] == 5

    def test_sma(self) -> None:
        out = run(series(list(range(1, 61))))
        assert (nulls(out["sma_20"]), nulls(out["sma_50"])) == ([True] * 19 + [False] * 41, [True] * 49 + [False] * 11)
        assert (out["sma_20"][19], out["sma_20"][59], out["sma_50"][49]) == (10.5, 50.5, 25.5)

    def test_vwap_weighs_by_volume(self) -> None:
        out = run(series([10] * 19 + [20], volume=[1] * 19 + [Decimal(81)]))["vwap_20"]
        assert nulls(out) == [True] * 19 + [False]
        assert out[19] == pytest.approx((19 * 10 + 81 * 20) / 100)

    def test_vwap_of_no_volume_is_null_and_rolling_volume_is_zero(self) -> None:
        out = run(series([10] * 20, volume=0)).iloc[-1]
        assert math.isnan(out["vwap_20"])
        assert out["rolling_volume_20"] == 0

    def test_rolling_volume_keeps_every_digit(self) -> None:
        out = run(series([10] * 20, volume="123456789012345.12345678"))["rolling_volume_20"]
        assert list(out)[:19] == [None] * 19
        assert out[19] == Decimal("2469135780246902.46913560")

    def test_trend_direction(self) -> None:
        rising, falling = list(range(1, 61)), list(range(60, 0, -1))
        assert list(run(series(rising))["trend_direction"]) == [None] * 49 + ["up"] * 11
        assert list(run(series(falling))["trend_direction"]) == [None] * 49 + ["down"] * 11
        # The close falls through sma_20 while sma_20 is still above sma_50.
        assert run(series([*rising, 1]))["trend_direction"].iloc[-1] == "neutral"

    def test_trend_direction_ties_are_exact(self) -> None:
        # Thirty times 0.1, twenty times 0.1 in other digits: a float sum would not be level.
        assert run(series(["0.1"] * 30 + ["0.10"] * 20))["trend_direction"].iloc[-1] == "neutral"

    @pytest.mark.parametrize(("dip", "close"), [(9, 11), (11, 9)])
    def test_averages_that_are_level_are_no_trend(self, dip: int, close: int) -> None:
        out = run(series([10] * 30 + [dip] + [10] * 18 + [close])).iloc[-1]
        assert (out["sma_20"], out["sma_50"], out["trend_direction"]) == (10, 10, "neutral")

    def test_market_structure(self) -> None:
        def last(closes: list[int]) -> str:
            return str(run(series(closes))["market_structure"].iloc[-1])

        low, high = [5, 9] * 5, [6, 10] * 5
        assert last(low + high) == "bullish"
        assert last(high + low) == "bearish"
        assert last(low + [6, 9] * 5) == "range"  # the same maximum is not a higher one
        assert last(low + [4, 10] * 5) == "range"
        assert list(run(series(low + high))["market_structure"])[:19] == [None] * 19


class TestSplit:
    """Twenty-one bars of 700 and then, after a 7:1 split, bars of 100 with seven times the volume: nothing happened."""

    frame = series(
        [700] * 21 + [100] * 3,
        high=[707] * 21 + [101] * 3,
        low=[693] * 21 + [99] * 3,
        volume=[10] * 21 + [70] * 2 + [140],
        split_factor=[1] * 21 + [7] * 3,
    )

    def test_results_are_in_the_basis_of_their_own_bar(self) -> None:
        out = run(self.frame, "1d", "stock")
        before, after = out.iloc[20], out.iloc[21]
        assert (before["sma_20"], after["sma_20"]) == (700, 100)
        assert (before["true_range"], after["true_range"]) == (14, 2)
        assert (before["atr"], after["atr"]) == pytest.approx((14, 2))
        assert (before["hlc3"], after["hlc3"]) == (700, 100)
        assert (before["vwap_20"], after["vwap_20"]) == (700, 100)
        assert (before["rolling_volume_20"], after["rolling_volume_20"]) == (200, 1400)
        assert (after["log_return"], after["return_1d"], after["volatility_20"]) == (0, 0, 0)
        assert (out["volume_spike_score"].isna()).all()  # the twenty volumes before are level in one basis

    def test_intraday_returns_span_the_split(self) -> None:
        bars = series(
            [700, 700, 105], "30m", split_factor=[1, 1, 7], session_date=[date(2020, 1, 1)] * 2 + [date(2020, 1, 2)]
        )
        out = run(bars, "30m", "stock")
        assert out["return_1d"][2] == pytest.approx(0.05)
        assert out["return_1h"][2] == pytest.approx(0.05)  # 105 * 7 / 700 - 1

    def test_a_later_split_changes_nothing_before_it(self) -> None:
        out, short = run(self.frame, "1d", "stock"), run(self.frame.iloc[:21], "1d", "stock")
        pd.testing.assert_frame_equal(out.iloc[:21], short)


class TestVolume:
    def test_spike_score_leaves_its_own_bar_out(self) -> None:
        out = run(series([1] * 22, volume=[8, 12] * 10 + [10 + 2 * 3, 10]), asset_class="etf")["volume_spike_score"]
        assert nulls(out) == [True] * 20 + [False] * 2
        assert out[20] == pytest.approx(6 / math.sqrt(20 * 4 / 19))  # mean 10, every deviation 2

    def test_spike_score_of_level_volumes_is_null(self) -> None:
        assert run(series([1] * 22, volume="0.1"))["volume_spike_score"].isna().all()

    def test_delta_and_share(self) -> None:
        out = run(series([1] * 3, volume=[10, 0, 10], taker_buy_volume=["7.5", 0, None]))
        assert list(out["delta"]) == [Decimal("5.0"), 0, None]
        assert out["buy_sell_ratio"][0] == 0.75
        assert nulls(out["buy_sell_ratio"]) == [False, True, True]


def funding(rates: list[str], hours: int = 8, last: str = "00:00:00") -> pd.DataFrame:
    """Settlements every `hours`, the last one at a clock time of the first day of series()."""
    times = [at(last) - timedelta(hours=hours) * i for i in reversed(range(len(rates)))]
    return pd.DataFrame({"settled_at": times, "rate": rates, "interval_hours": hours})


class TestFunding:
    def test_rate_is_the_latest_settled_at_or_before_the_close(self) -> None:
        rates = funding(["0.0001", "0.0003"], 8, "08:00:00")
        out = run(series([1] * 9), funding=rates)["funding_rate"]
        assert list(out) == [Decimal("0.0001")] * 7 + [Decimal("0.0003")] * 2  # the bar 07:00 closes at 08:00

    def test_rate_that_jitters_by_milliseconds_belongs_to_the_bar_it_closes(self) -> None:
        out = run(series([1] * 9), funding=funding(["0.0001", "0.0003"], 8, "08:00:00.047"))["funding_rate"]
        assert list(out)[6:8] == [Decimal("0.0001"), Decimal("0.0003")]

    def test_percentile_is_a_mid_rank_of_at_least_thirty(self) -> None:
        climbing = [f"0.{i:04}" for i in range(1, 31)]
        assert math.isnan(run(series([1]), funding=funding(climbing[1:]))["funding_rate_percentile"][0])
        assert run(series([1]), funding=funding(climbing))["funding_rate_percentile"][0] == pytest.approx(
            100 * 29.5 / 30
        )
        level = run(series([1]), funding=funding(["0.0001"] * 40))["funding_rate_percentile"]
        assert level[0] == 50  # all equal: the middle

    def test_percentile_looks_at_ninety_settlements(self) -> None:
        rates = funding(["0.0009"] + ["0.0001"] * 89 + ["0.0002"])
        assert run(series([1]), funding=rates)["funding_rate_percentile"][0] == pytest.approx(100 * 89.5 / 90)

    def test_rates_of_four_and_eight_hours_compare_per_hour(self) -> None:
        # The symbol went from 8 h to 4 h: 0.00005 per 4 h is the same price of time as 0.0001 per 8 h.
        eight = funding(["0.0001"] * 29).assign(settled_at=lambda f: f["settled_at"] - timedelta(days=1))
        out = run(series([1]), funding=pd.concat([eight, funding(["0.00005"], 4)]))
        assert out["funding_rate_percentile"][0] == 50
        assert out["funding_rate"][0] == Decimal("0.00005")

    def test_no_funding_is_null(self) -> None:
        out = run(series([1] * 3))
        assert out["funding_rate"].isna().all() and out["funding_rate_percentile"].isna().all()

    def test_a_rate_is_current_for_two_of_its_intervals(self) -> None:
        out = run(series([1] * 4), funding=funding(["0.0001"] * 40, 1, "01:00:00"))
        assert list(out["funding_rate"]) == [Decimal("0.0001")] * 3 + [None]  # the bar 02:00 closes at 03:00
        assert nulls(out["funding_rate_percentile"]) == [False] * 3 + [True]

    def test_no_settlement_after_the_close_is_known(self) -> None:
        late = funding(["0.0001"] * 40, 8, "01:00:01")
        known = run(series([1]), funding=late)
        assert known["funding_rate"][0] == Decimal("0.0001")
        assert run(series([1]), funding=late.tail(1))["funding_rate"][0] is None


class TestLabels:
    @pytest.mark.parametrize(
        ("label", "file_day", "taken"),
        [
            ("2026-06-24T23:50:02Z", None, "2026-06-24T23:50Z"),
            ("2026-06-25T00:00Z", date(2026, 6, 24), "2026-06-25T00:00Z"),
            ("2026-06-25T00:00Z", date(2026, 6, 25), "2026-06-25T00:05Z"),
            ("2026-06-25T00:00:01Z", None, "2026-06-25T00:05Z"),
        ],
    )
    def test_since_the_change_a_label_is_the_start(self, label: str, file_day: date | None, taken: str) -> None:
        assert taken_at(label, timedelta(minutes=5), file_day) == pd.Timestamp(taken)


class TestContractsOnManyCoins:
    def test_contracts_are_multiplied_out_and_their_change_is_the_same(self) -> None:
        interest = pd.DataFrame({"sampled_at": [at("01:00:00"), at("02:00:00")], "value": ["5", "6"]})
        events = pd.DataFrame({"traded_at": [at("00:30:00")], "side": ["SELL"], "quantity": ["2"]})
        watched = pd.DataFrame({"start": [at("00:00:00")], "end": [at("02:00:00")]})
        out = run(
            series([1] * 2, volume=1000),
            open_interest=interest, liquidations=events, watched=watched, contract_coins=Decimal(1000),
        )  # fmt: skip
        assert list(out["open_interest"]) == [5000, 6000] and out["open_interest_change"][1] == pytest.approx(0.2)
        assert list(out["liquidations_long"]) == [2000, 0] and list(out["liquidation_intensity"]) == [2, 0]

    def test_an_open_interest_below_zero_is_none(self) -> None:
        interest = pd.DataFrame({"sampled_at": [at("01:00:00")], "value": ["-5"]})
        assert run(series([1]), open_interest=interest)["open_interest"][0] is None


class TestLiquidations:
    events = pd.DataFrame(
        {
            "traded_at": [at("00:00:00"), at("00:59:59.999"), at("01:00:00")],
            "side": ["SELL", "BUY", "SELL"],
            "quantity": ["1.5", "0.5", "4"],
        }
    )

    def watched(self, *spans: tuple[str, str]) -> pd.DataFrame:
        return pd.DataFrame([(at(a), at(b)) for a, b in spans], columns=["start", "end"])

    def test_a_sell_order_liquidates_a_long(self) -> None:
        out = run(series([1] * 2), liquidations=self.events, watched=self.watched(("00:00", "02:00")))
        assert list(out["liquidations_long"]) == [Decimal("1.5"), Decimal(4)]
        assert list(out["liquidations_short"]) == [Decimal("0.5"), Decimal(0)]
        assert list(out["liquidation_intensity"]) == [0.2, 0.4]

    def test_watched_with_none_is_zero_and_not_watched_is_null(self) -> None:
        out = run(series([1] * 3), watched=self.watched(("01:00", "01:30"), ("01:30", "02:30")))
        assert list(out["liquidations_long"]) == [None, 0, None]  # the third bar is watched for half its time only
        assert nulls(out["liquidation_intensity"]) == [True, False, True]
        assert out["liquidation_intensity"][1] == 0

    def test_events_without_coverage_give_no_number(self) -> None:
        out = run(series([1] * 2), liquidations=self.events)
        assert out[["liquidations_long", "liquidations_short", "liquidation_intensity"]].isna().all(axis=None)

    def test_a_bar_without_volume_has_no_intensity(self) -> None:
        out = run(series([1], volume=0), liquidations=self.events, watched=self.watched(("00:00", "02:00")))
        assert out["liquidations_long"][0] == Decimal("1.5")
        assert math.isnan(out["liquidation_intensity"][0])

    def test_unknown_side_is_an_error(self) -> None:
        with pytest.raises(ValueError, match="BUY or SELL"):
            run(series([1]), liquidations=self.events.assign(side="LONG"), watched=self.watched(("00:00", "02:00")))


class TestSamples:
    def test_open_interest_change(self) -> None:
        samples = pd.DataFrame({"sampled_at": [at("01:00"), at("02:00"), at("02:05")], "value": ["100", "110", "999"]})
        out = run(series([1] * 4), open_interest=samples)
        # Closes 01:00, 02:00, 03:00 (the sample of 02:05 is 55 min old), 04:00 (older than an hour).
        assert list(out["open_interest"]) == [100, 110, 999, None]
        assert nulls(out["open_interest_change"]) == [True, False, False, True]
        assert out["open_interest_change"][1] == pytest.approx(0.10)

    def test_age_of_a_sample_is_inclusive_and_grows_with_its_period(self) -> None:
        samples = pd.DataFrame({"sampled_at": [at("01:00")], "value": [100]})
        assert list(run(series([1] * 3), open_interest=samples)["open_interest"]) == [100, 100, None]
        slow = run(series([1] * 4), open_interest=samples, sample_period=STEP["1h"])["open_interest"]
        assert list(slow) == [100, 100, 100, None]

    def test_stored_zero_is_no_open_interest(self) -> None:
        samples = pd.DataFrame(
            {"sampled_at": [at("01:00"), at("01:55"), at("02:00"), at("03:00")], "value": [100, 90, 0, 120]}
        )
        out = run(series([1] * 3), open_interest=samples)
        assert list(out["open_interest"]) == [100, None, 120]  # not the older 90
        assert out["open_interest_change"].isna().all()

    def test_long_short_ratio(self) -> None:
        samples = pd.DataFrame(
            {"sampled_at": [at("01:00"), at("01:30")], "long_account": ["0.6", None], "short_account": ["0.2", "0.5"]}
        )
        out = run(series([1] * 4), long_short=samples)["long_short_ratio"]
        assert list(out)[:2] == [0.75, 0.75]  # a sample without a ratio is no sample; 01:00 is an hour old at 02:00
        assert nulls(out) == [False, False, True, True]


class TestInflow:
    frame = pd.DataFrame(
        {
            "day": [date(2024, 3, 2), date(2024, 3, 3), date(2024, 3, 3)],
            "published_at": [at("00:00") - timedelta(hours=12), at("02:00"), at("03:00")],
            "value": ["5", "7", "8"],
        }
    )

    def test_only_what_was_published_counts(self) -> None:
        out = run(series([1] * 3), inflow=self.frame)["exchange_inflow"]
        assert list(out) == [5, 7, 8]  # closes 01:00 (day 3 not published), 02:00, 03:00 (revised)

    def test_the_running_day_never_counts(self) -> None:
        running = self.frame.assign(day=date(2024, 3, 4))
        assert run(series([1] * 3), inflow=running)["exchange_inflow"].isna().all()

    def test_a_day_that_ended_more_than_a_week_ago_no_longer_counts(self) -> None:
        # The bars close on 4 March from 01:00 on; the 25th of February ended 7 days and an hour before, the 26th 6.
        old = self.frame.iloc[:1].assign(day=date(2024, 2, 25))
        assert list(run(series([1] * 3), inflow=old)["exchange_inflow"].isna()) == [True] * 3
        assert list(run(series([1] * 3), inflow=old.assign(day=date(2024, 2, 26)))["exchange_inflow"]) == [5] * 3


class TestSeries:
    def test_an_invalid_bar_has_no_feature_and_its_neighbours_skip_it(self) -> None:
        bars = series([100, 110, 10**6, 121] + [130] * 60, taker_buy_volume=[4] * 64)
        bars["is_valid"] = [True, True, False] + [True] * 61
        out = run(bars)
        assert out.loc[2, list(FEATURES)].isna().all()
        without = run(bars.drop(index=2))
        skip = ["return_1h"]  # measured by the clock, not by neighbours
        pd.testing.assert_frame_equal(out.drop(index=2).drop(columns=skip), without.drop(columns=skip))
        assert out["log_return"][3] == pytest.approx(math.log(1.1))

    def test_an_invalid_bar_may_have_no_prices_and_keeps_its_facts(self) -> None:
        bars = series([100, 100], close=[100, None], volume=[10, None], is_valid=[True, False])
        assert list(run(bars, funding=funding(["0.0001"]))["funding_rate"]) == [Decimal("0.0001")] * 2

    def test_open_interest_change_skips_an_invalid_bar(self) -> None:
        samples = pd.DataFrame({"sampled_at": [at("01:00"), at("02:00"), at("03:00")], "value": [100, 500, 150]})
        out = run(series([1] * 3, is_valid=[True, False, True]), open_interest=samples)
        assert out["open_interest_change"][2] == pytest.approx(0.5)

    def test_other_classes_have_no_crypto_feature(self) -> None:
        bars = series([1] * 40, taker_buy_volume=[4] * 40, volume=[5, 6] * 20)
        out = run(bars, asset_class="stock", funding=funding(["0.0001"] * 40))
        crypto = [name for name in (*CRYPTO, *RAW) if name != "volume_spike_score"]
        assert out[crypto].isna().all(axis=None)
        assert out["volume_spike_score"].notna().any()

    def test_shape_and_types(self) -> None:
        out = run(series([1, 2]))
        assert list(out) == ["timestamp", *FEATURES, *RAW]
        texts = {"trend_direction", "market_structure"}
        assert {name for name in out if out[name].dtype == object} == EXACT | texts
        assert len(run(series([]))) == 0

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"timestamp": [START, START]}, "must increase"),
            ({"timestamp": [pd.Timestamp("2024-03-04"), pd.Timestamp("2024-03-05")]}, "no time zone"),
            ({"close": [1, None]}, "a number is needed"),
            ({"volume": [1, Decimal("NaN")]}, "a number is needed"),
        ],
    )
    def test_bad_input_is_refused(self, change: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            run(series([1, 2]).assign(**change))

    def test_unknown_timeframe_is_refused(self) -> None:
        with pytest.raises(ValueError, match="2h"):
            features(series([1]), timeframe="2h", asset_class="crypto")

    @settings(max_examples=25, deadline=None)
    @given(
        closes=st.lists(st.integers(1, 10**6), min_size=2, max_size=70),
        volumes=st.lists(st.integers(0, 5), min_size=70, max_size=70),
        cut=st.integers(1, 70),
        factor=st.sampled_from(["1", "7", "0.1"]),
    )
    def test_no_feature_knows_the_future_nor_a_constant_split_factor(
        self, closes: list[int], volumes: list[int], cut: int, factor: str
    ) -> None:
        bars = series(closes, volume=volumes[: len(closes)])
        whole = run(bars)
        pd.testing.assert_frame_equal(whole.iloc[:cut], run(bars.iloc[:cut]), check_exact=True)
        assert compare(run(bars.assign(split_factor=factor)), whole, TYPES)["passed"].all()


class TestCompare:
    types: ClassVar = {"sma_20": "numeric(19,10)", "trend_direction": "varchar(10)"}

    def frames(self, value: Any, text: Any) -> tuple[pd.DataFrame, pd.DataFrame]:
        expected = pd.DataFrame({"timestamp": [START], "sma_20": [100.0], "trend_direction": ["up"]})
        return expected.assign(sma_20=pd.Series([value], dtype=object), trend_direction=[text]), expected

    @pytest.mark.parametrize("value", ["100.0000000000", "100.0000001", 100.0, Decimal("99.9999999001")])
    def test_good_passes(self, value: Any) -> None:
        assert compare(*self.frames(value, "up"), self.types)["passed"].all()

    @pytest.mark.parametrize(
        ("value", "text", "failing"),
        [
            ("100.0000001001", "up", "sma_20"),
            (None, "up", "sma_20"),
            (math.nan, "up", "sma_20"),
            (Decimal("NaN"), "up", "sma_20"),
            (Decimal("Infinity"), "up", "sma_20"),
            (100, "down", "trend_direction"),
            (100, None, "trend_direction"),
        ],
    )
    def test_bad_fails(self, value: Any, text: Any, failing: str) -> None:
        report = compare(*self.frames(value, text), self.types)
        assert list(report.index[~report["passed"]]) == [failing]
        assert report.loc[failing, "worst_timestamp"] == START

    def test_one_unit_of_the_last_digit_passes_and_two_fail(self) -> None:
        expected = pd.DataFrame({"timestamp": [START], "log_return": [0.0]})
        for text, good in (("0.00000001", True), ("-0.00000001", True), ("0.00000002", False)):
            report = compare(expected.assign(log_return=[Decimal(text)]), expected, {"log_return": "numeric(11,8)"})
            assert report.loc["log_return", "passed"] == good
            assert report.loc["log_return", "max_unit_error"] == abs(float(text)) * 1e8

    def test_a_value_where_null_is_due_fails(self) -> None:
        expected = pd.DataFrame({"timestamp": [START], "delta": pd.Series([None], dtype=object)})
        report = compare(expected.assign(delta=[Decimal(0)]), expected, {"delta": "numeric(28,8)"})
        assert list(report.loc["delta", ["null_mismatches", "value_mismatches", "passed"]]) == [1, 0, False]

    def test_rows_are_matched_by_timestamp(self) -> None:
        expected = run(series([1, 2, 3]))
        assert compare(expected.iloc[::-1], expected, TYPES)["passed"].all()
        with pytest.raises(ValueError, match="2 actual and 3 expected"):
            compare(expected.iloc[1:], expected, TYPES)
