"""The whole range that the stored types promise: prices from 1e-10 to 1e9, volumes to 1e18. Not a digit may be lost.

Doubles hold 15 digits, these numbers have up to 26, so the reference here is decimal arithmetic of 60 digits.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal, localcontext
from typing import Any

import pytest

from tests.oracle.bars import Bar
from tests.warehouse import MakeWarehouse, Warehouse, crypto

OPENED = datetime(2025, 12, 1, tzinfo=UTC)
STEP = timedelta(minutes=5)
BARS = 60
# Of each coin: its lowest price and its tick, its largest volume.
COINS = {
    "TINY": (Decimal("0.0000000001"), Decimal("0.0000000001"), Decimal("999999999999999999.12345678")),
    "HUGE": (Decimal("999999000.1234567891"), Decimal("0.0000000007"), Decimal("0.00000003")),
    "BOTH": (Decimal("999999000.9876543210"), Decimal("1.0000000003"), Decimal("999999999999999999.87654321")),
}


def walk(coin: str) -> list[Bar]:
    """Bars whose prices use every digit of the scale, some tens of ticks above the lowest."""
    lowest, tick, volume = COINS[coin]
    rng = random.Random(coin)
    bars = []
    for n in range(BARS):
        low, opened, close, high = (lowest + tick * t for t in sorted(rng.sample(range(40), 4)))
        traded = volume - Decimal(rng.randint(0, 2)).scaleb(-8)
        bars.append(Bar(OPENED + n * STEP, opened, high, low, close, traded, None))
    return bars


def expected(bars: Sequence[Bar], n: int) -> dict[str, Decimal | None]:
    """What bar `n` (from 0) must have, by the formulas of the definitions (_features.md)."""
    at, last_20 = bars[n], bars[n - 19 : n + 1]
    typical = [bar.high + bar.low + bar.close for bar in last_20]
    volume = sum((bar.volume for bar in last_20), Decimal(0))
    before = [bar.volume for bar in bars[n - 20 : n]]
    mean = sum(before, Decimal(0)) / 20
    spread = (sum(((v - mean) ** 2 for v in before), Decimal(0)) / 19).sqrt()
    ranges = [max(b.high, a.close) - min(b.low, a.close) for a, b in zip(bars, bars[1:], strict=False)]
    wilder = sum(ranges[:14], Decimal(0)) / 14
    for true_range in ranges[14:n]:
        wilder = (13 * wilder + true_range) / 14
    return {
        "true_range": ranges[n - 1],
        "hlc3": (at.high + at.low + at.close) / 3,
        "sma_20": sum((bar.close for bar in last_20), Decimal(0)) / 20,
        "sma_50": sum((bar.close for bar in bars[n - 49 : n + 1]), Decimal(0)) / 50,
        "vwap_20": sum((t * bar.volume for t, bar in zip(typical, last_20, strict=True)), Decimal(0)) / 3 / volume,
        "rolling_volume_20": volume,
        "log_return": (at.close / bars[n - 1].close).ln(),
        "volume_spike_score": (at.volume - mean) / spread if spread else None,
        "atr": wilder,
    }


# Results of exact sums may be off by the rounding of their last digit, those that pass through a double by its 15 digits.
EXACT = {"true_range": 10, "hlc3": 10, "sma_20": 10, "sma_50": 10, "vwap_20": 10, "rolling_volume_20": 8}
THROUGH_DOUBLES = {"log_return": 8, "volume_spike_score": 8, "atr": 10}


def price_of_jump(n: int) -> Decimal:
    """A factor of 1e12 at bar 25: more than a 32-bit count of 1e-8 log points holds."""
    return Decimal(2 + n % 2) * (Decimal("1e-5") if n < 25 else Decimal("1e7"))


@pytest.fixture(scope="module")
def warehouse(make_warehouse: MakeWarehouse) -> Warehouse:
    warehouse = make_warehouse("warehouse")
    warehouse.assets(
        [
            crypto(coin, "5m", binance="", yahoo="", binance_futures="", coinmetrics="")
            for coin in [*COINS, "OVER", "JUMP", "SUMS"]
        ]
    )
    for coin in COINS:
        warehouse.load_bars("polygon", coin, "5m", walk(coin))
    warehouse.load_bars(
        "polygon",
        "JUMP",
        "5m",
        [Bar(OPENED + n * STEP, *(price_of_jump(n),) * 4, Decimal(10), None) for n in range(BARS)],
    )
    # One day and one bar.
    warehouse.load_bars(
        "polygon",
        "SUMS",
        "5m",
        [Bar(OPENED + n * STEP, *(Decimal(1 + n % 2),) * 4, Decimal(10) ** 18, None) for n in range(289)],
    )
    billion, volume = Decimal(10) ** 9, Decimal(10)
    warehouse.load_bars(
        "polygon",
        "OVER",
        "5m",
        [
            Bar(OPENED, Decimal(1), billion, Decimal(1), Decimal(1), volume, None),
            Bar(OPENED + STEP, Decimal(1), Decimal(1), Decimal(1), Decimal(1), Decimal(10) ** 19, None),
            Bar(OPENED + 2 * STEP, Decimal(1), billion - 1, Decimal(1), Decimal(1), volume, None),
        ],
    )
    warehouse.build("+market_data_v2 +rejected_bars")
    return warehouse


def stored(warehouse: Warehouse, coin: str) -> list[dict[str, Any]]:
    return warehouse.query(
        "select * from marts.market_data_v2 where symbol = %s and timeframe = '5m' order by timestamp", coin
    )


@pytest.mark.parametrize("coin", COINS)
def test_no_digit_is_lost(warehouse: Warehouse, coin: str) -> None:
    bars, rows = walk(coin), stored(warehouse, coin)
    assert [(row["open"], row["high"], row["low"], row["close"], row["volume"]) for row in rows] == [
        (bar.open, bar.high, bar.low, bar.close, bar.volume) for bar in bars
    ]
    with localcontext(prec=60):
        for n in range(49, BARS):
            wanted = expected(bars, n)
            for name, digits in EXACT.items():
                rounded = wanted[name].quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP)  # type: ignore[union-attr]
                assert rows[n][name] == rounded, f"{name} of bar {n}"
            for name, digits in THROUGH_DOUBLES.items():
                exact = wanted[name]
                assert (rows[n][name] is None) == (exact is None), f"{name} of bar {n}"
                if exact is not None:
                    allowed = Decimal(1).scaleb(-digits) + abs(exact) * Decimal("1e-12")
                    assert abs(rows[n][name] - exact) <= allowed, f"{name} of bar {n}"


def test_what_does_not_fit_is_rejected_with_its_reason(warehouse: Warehouse) -> None:
    rejected = warehouse.query(
        "select timestamp, reason from marts.rejected_bars where symbol = 'OVER' order by timestamp"
    )
    assert [(row["timestamp"], row["reason"]) for row in rejected] == [
        (OPENED, "a price of 1e9 or more"),
        (OPENED + STEP, "a volume above 1e18"),
    ]
    assert [row["timestamp"] for row in stored(warehouse, "OVER")] == [OPENED + 2 * STEP]


def test_a_sum_of_volumes_that_does_not_fit_is_none(warehouse: Warehouse) -> None:
    """48 times 1e18 does, 288 times does not; all else is built."""
    rows = warehouse.query(
        "select timeframe, close, volume, is_validated, validation_notes from marts.market_data_v2"
        " where symbol = 'SUMS' and timeframe in ('4h', '1d') order by timeframe desc, timestamp"
    )
    assert [(row["volume"], row["is_validated"]) for row in rows[:-1]] == [(48 * Decimal(10) ** 18, True)] * 6
    assert (rows[-1]["timeframe"], rows[-1]["volume"], rows[-1]["close"]) == ("1d", None, 2)
    assert not rows[-1]["is_validated"] and "price or volume beyond its column" in rows[-1]["validation_notes"]
    assert stored(warehouse, "SUMS")[-1]["rolling_volume_20"] == 20 * Decimal(10) ** 18


def test_a_jump_too_large_to_count_has_no_return(warehouse: Warehouse) -> None:
    """NULL, not the largest number that fits; the windows that hold it have no volatility, later ones do."""
    rows = stored(warehouse, "JUMP")
    assert [n for n, row in enumerate(rows) if row["log_return"] is None] == [0, 25]
    assert [n for n, row in enumerate(rows) if row["volatility_20"] is None] == [*range(20), *range(25, 45)]
    assert "return outside" in rows[25]["validation_notes"] and not rows[25]["is_validated"]
    # Twenty returns of ln 1.5, up and down in turn.
    assert float(rows[45]["volatility_20"]) == pytest.approx(math.log(1.5) * math.sqrt(20 / 19), abs=1e-8)
