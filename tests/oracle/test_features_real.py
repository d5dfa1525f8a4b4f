"""The oracle on recorded markets: AAPL 1998-2021 through four splits, BTCUSDT hourly with taker volumes."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import talib

from scripts.site.reference_formulas import compare, features
from tests.oracle.real_data import binance_hourly, lean_daily, lean_splits


@pytest.fixture(scope="module")
def aapl(shared_data: Path) -> pd.DataFrame:
    return lean_daily(shared_data, "aapl")


@pytest.fixture(scope="module")
def aapl_features(aapl: pd.DataFrame) -> pd.DataFrame:
    return features(aapl, timeframe="1d", asset_class="stock")


def test_aapl_split_four_times(shared_data: Path) -> None:
    assert lean_splits(shared_data, "aapl") == {
        date(2000, 6, 20): 2,
        date(2005, 2, 25): 2,
        date(2014, 6, 6): 7,
        date(2020, 8, 28): 4,
    }


def test_log_return_is_continuous_across_the_splits(aapl: pd.DataFrame, aapl_features: pd.DataFrame) -> None:
    by_day = pd.Series(aapl_features["log_return"].to_numpy(), index=aapl["session_date"])
    assert by_day[date(2014, 6, 9)] == pytest.approx(np.log(93.70 * 7 / 645.57), rel=1e-12)
    assert by_day[date(2020, 8, 31)] == pytest.approx(np.log(129.04 * 4 / 499.23), rel=1e-12)
    assert abs(by_day[date(2000, 6, 21)]) < 0.10 and abs(by_day[date(2005, 2, 28)]) < 0.02
    # Without the factor, the 7:1 split would be a return of -1.93: it would be seen.
    raw = features(aapl.drop(columns="split_factor"), timeframe="1d", asset_class="stock")["log_return"]
    assert raw[list(aapl["session_date"]).index(date(2014, 6, 9))] < -1.9


def test_features_in_the_days_round_a_split_stay_in_their_own_basis(
    aapl: pd.DataFrame, aapl_features: pd.DataFrame
) -> None:
    split = list(aapl["session_date"]).index(date(2014, 6, 9))
    before, after = aapl_features.iloc[split - 1], aapl_features.iloc[split]
    for name in ("sma_20", "sma_50", "vwap_20", "atr", "hlc3"):
        assert before[name] / after[name] == pytest.approx(7, rel=0.1), name
    assert float(after["rolling_volume_20"] / before["rolling_volume_20"]) == pytest.approx(7, rel=0.1)


def test_talib_and_pandas_agree(aapl: pd.DataFrame, aapl_features: pd.DataFrame) -> None:
    factor = aapl["split_factor"].to_numpy(dtype=float)
    high, low, close = (aapl[name].to_numpy(dtype=float) * factor for name in ("high", "low", "close"))
    volume = aapl["volume"].to_numpy(dtype=float) / factor
    returns = pd.Series(np.log(close)).diff()
    typical = pd.Series((high + low + close) / 3)
    volumes = pd.Series(volume)
    expected = pd.DataFrame(
        {
            "timestamp": aapl["timestamp"],
            "log_return": returns,
            "return_1d": pd.Series(close).pct_change(),
            "volatility_20": returns.rolling(20).std(),
            "volatility_50": returns.rolling(50).std(),
            "true_range": talib.TRANGE(high, low, close) / factor,
            "atr": talib.ATR(high, low, close, timeperiod=14) / factor,
            "hlc3": typical / factor,
            "sma_20": talib.SMA(close, timeperiod=20) / factor,
            "sma_50": talib.SMA(close, timeperiod=50) / factor,
            "vwap_20": (typical * volumes).rolling(20).sum() / volumes.rolling(20).sum() / factor,
            "rolling_volume_20": volumes.rolling(20).sum() * factor,
            "volume_spike_score": (volumes - volumes.rolling(20).mean().shift()) / volumes.rolling(20).std().shift(),
        }
    )
    types = {name: "numeric(28,10)" for name in expected if name != "timestamp"}
    report = compare(expected, aapl_features, types)
    assert report["passed"].all(), report[~report["passed"]].to_string()
    assert (report["filled"] >= len(aapl) - 50).all()


def test_binance_hours(shared_data: Path) -> None:
    bars = binance_hourly(shared_data)
    out = features(bars, timeframe="1h", asset_class="crypto")
    first = out.iloc[0]
    assert first["return_1h"] == pytest.approx(58548.70 / 58605.40 - 1)
    assert first["delta"] == 2 * Decimal("2341.332") - Decimal("5536.729")
    assert first["buy_sell_ratio"] == pytest.approx(2341.332 / 5536.729)
    assert out["return_1d"].isna().sum() == 24
    assert out["buy_sell_ratio"].between(0, 1).all()
    assert out["volatility_50"].notna().sum() == 744 - 50
