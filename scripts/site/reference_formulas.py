"""The features of one series in plain Python: the reference that the SQL features must equal.

Data flow: final bars of one (symbol, asset_class, timeframe) + as-of frames -> features() -> compare() with the warehouse.

Slow on purpose: every window is sliced and summed again for every bar, prices and volumes are decimals of 60 digits, and
nothing is carried from bar to bar but Wilder's recursion. A shortcut here could repeat a mistake of the SQL.

All instants are timezone-aware. Prices are as traded; formulas run on the continuous price `price * split_factor` and the
continuous volume `volume / split_factor`, and results in price or volume units are given in the basis of their own bar.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal, localcontext
from itertools import pairwise
from typing import Any

import pandas as pd

from extract.calendar import timeframes

DIGITS = 60
"""Price (19 digits) * split factor * volume (23 digits) stays exact; only divisions round, at the 60th digit."""

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
STEP = timeframes.STEPS

UNIVERSAL = (
    "return_1h",
    "return_1d",
    "log_return",
    "volatility_20",
    "volatility_50",
    "true_range",
    "atr",
    "hlc3",
    "sma_20",
    "sma_50",
    "vwap_20",
    "trend_direction",
    "market_structure",
    "rolling_volume_20",
)
CRYPTO = (
    "delta",
    "buy_sell_ratio",
    "liquidation_intensity",
    "volume_spike_score",
    "long_short_ratio",
    "funding_rate_percentile",
    "exchange_inflow",
    "open_interest_change",
)
FEATURES = UNIVERSAL + CRYPTO
"""What there is a formula for. Which features there are, and their types, the contract of market_data_v2 says;
test_feature_definitions.py holds this list against it."""

RAW = (
    "funding_rate",
    "open_interest",
    "liquidations_long",
    "liquidations_short",
)
"""Crypto facts attached to each bar, in base units (funding_rate: a fraction per funding interval)."""

EXACT = frozenset({"rolling_volume_20", "delta", "exchange_inflow", *RAW})
"""Returned as Decimal (None = NULL): sums that float64 cannot hold to the last of 8 decimals. All other numbers are float64."""

TEXTS = frozenset({"trend_direction", "market_structure"})


@dataclass(frozen=True)
class Bars:
    """The valid bars of one series in time order; prices are continuous, volume and taker_buy as traded."""

    timestamp: list[pd.Timestamp]
    close_time: list[pd.Timestamp]
    session: list[date]
    open: list[Decimal]
    high: list[Decimal]
    low: list[Decimal]
    close: list[Decimal]
    # None: the source reports none in the unit of the asset.
    volume: list[Decimal | None]
    taker_buy: list[Decimal | None]
    split_factor: list[Decimal]

    def __len__(self) -> int:
        return len(self.timestamp)

    def volumes_in_basis_of(self, i: int, window: range) -> list[Decimal] | None:
        """The volumes of the window's bars in the share basis of bar i: V_j / G_j * G_i; None if one of them has none."""
        volumes = [
            None if (v := self.volume[j]) is None else v * self.split_factor[i] / self.split_factor[j] for j in window
        ]
        known = [v for v in volumes if v is not None]
        return known if len(known) == len(volumes) else None

    def hlc_sum(self, i: int) -> Decimal:
        """3 * hlc3, continuous; kept undivided where values are only compared, so that ties are exact."""
        return self.high[i] + self.low[i] + self.close[i]


# ---------------------------------------------------------------- the 14 universal features


def return_1h(bars: Bars, step: timedelta) -> list[Decimal | None]:
    """(C_i - O_s) / O_s, s = the bar that opened exactly one hour before bar i closes; on 1h bars s = i.

    NULL when step > 1 h or bar s is absent (a gap, an invalid bar, the first 55 minutes of a session).
    """
    if step > HOUR:
        return [None] * len(bars)
    position = {opened: i for i, opened in enumerate(bars.timestamp)}
    out: list[Decimal | None] = []
    for i in range(len(bars)):
        # A 1h bar cut short by the session's end (15:30 to 16:00) still measures itself.
        s = i if step == HOUR else position.get(bars.close_time[i] - HOUR)
        out.append(None if s is None else (bars.close[i] - bars.open[s]) / bars.open[s])
    return out


def return_1d(bars: Bars, timeframe: str) -> list[Decimal | None]:
    """1d bars: C_i / C_{i-1} - 1. Intraday: C_i / (last close of the previous session) - 1.

    The previous session is the latest earlier session_date that has a valid bar. NULL on 1w bars and without such a session.
    """
    out: list[Decimal | None] = []
    for i in range(len(bars)):
        if timeframe == timeframes.WEEK:
            p = -1
        elif timeframe == timeframes.DAY:
            p = i - 1
        else:
            p = next((j for j in range(i - 1, -1, -1) if bars.session[j] < bars.session[i]), -1)
        out.append(None if p < 0 else bars.close[i] / bars.close[p] - 1)
    return out


def log_return(bars: Bars) -> list[float | None]:
    """ln(C_i / C_{i-1}); NULL on the first bar, and beyond +-21: no market moves by a factor of 1e9 in one bar."""
    # log1p of the exact difference: log() of a rounded ratio near 1 loses the digits that matter.
    found = [None if i == 0 else math.log1p(float(bars.close[i] / bars.close[i - 1] - 1)) for i in range(len(bars))]
    return [None if value is None or abs(value) >= 21 else value for value in found]


def volatility(bars: Bars, n: int) -> list[float | None]:
    """Sample standard deviation (n - 1) of the last n log returns, per bar, not annualised; NULL with fewer returns."""
    returns = log_return(bars)
    out: list[float | None] = []
    for i in range(len(bars)):
        window = [r for r in returns[max(0, i - n + 1) : i + 1] if r is not None]
        if len(window) < n:
            out.append(None)
            continue
        mean = math.fsum(window) / n
        out.append(math.sqrt(math.fsum((r - mean) ** 2 for r in window) / (n - 1)))
    return out


def continuous_true_range(bars: Bars) -> list[Decimal | None]:
    """max(H_i, C_{i-1}) - min(L_i, C_{i-1}) in continuous prices; NULL on the first bar."""
    return [
        None if i == 0 else max(bars.high[i], bars.close[i - 1]) - min(bars.low[i], bars.close[i - 1])
        for i in range(len(bars))
    ]


def true_range(bars: Bars) -> list[Decimal | None]:
    """max(H_i, C_{i-1}) - min(L_i, C_{i-1}), in the basis of bar i; NULL on the first bar."""
    ranges = continuous_true_range(bars)
    return [None if r is None else r / g for r, g in zip(ranges, bars.split_factor, strict=True)]


def wilder_atr(bars: Bars, n: int = 14) -> list[Decimal | None]:
    """Wilder's ATR(n) in continuous prices: mean of the first n true ranges, then ((n - 1) * ATR + TR) / n."""
    out: list[Decimal | None] = []
    seen: list[Decimal] = []
    for tr in continuous_true_range(bars):
        if tr is not None:
            seen.append(tr)
        if len(seen) < n:
            out.append(None)
        elif len(seen) == n:
            out.append(sum(seen, Decimal(0)) / n)
        else:
            previous = out[-1]
            assert previous is not None and tr is not None
            out.append(((n - 1) * previous + tr) / n)
    return out


def atr(bars: Bars, n: int = 14) -> list[Decimal | None]:
    """Wilder's ATR(n) over the whole continuous series, in the basis of bar i; NULL with fewer than n true ranges.

    test_features_real.py holds it against TA-Lib, which is not needed here: users without it check their own bars too.
    """
    return [None if v is None else v / g for v, g in zip(wilder_atr(bars, n), bars.split_factor, strict=True)]


def hlc3(bars: Bars) -> list[Decimal | None]:
    """(H + L + C) / 3, never NULL."""
    return [bars.hlc_sum(i) / (3 * bars.split_factor[i]) for i in range(len(bars))]


def sma(bars: Bars, n: int) -> list[Decimal | None]:
    """Mean of the last n closes, in the basis of bar i; NULL with fewer bars."""
    return [
        None if i + 1 < n else sum(bars.close[i - n + 1 : i + 1], Decimal(0)) / n / bars.split_factor[i]
        for i in range(len(bars))
    ]


def vwap(bars: Bars, n: int = 20) -> list[Decimal | None]:
    """sum(hlc3 * V) / sum(V) over n bars, in the basis of bar i; NULL with fewer bars, without one of the volumes, or when
    sum(V) = 0."""
    out: list[Decimal | None] = []
    for i in range(len(bars)):
        window = range(i - n + 1, i + 1)
        volumes = bars.volumes_in_basis_of(i, window) if window.start >= 0 else None
        if volumes is None:
            out.append(None)
            continue
        total = sum(volumes, Decimal(0))
        traded = sum((bars.hlc_sum(j) * v for j, v in zip(window, volumes, strict=True)), Decimal(0))
        out.append(None if total == 0 else traded / total / (3 * bars.split_factor[i]))
    return out


def trend_direction(bars: Bars) -> list[str | None]:
    """'up' if C > sma_20 > sma_50, 'down' if C < sma_20 < sma_50, else 'neutral'; NULL with fewer than 50 bars."""
    out: list[str | None] = []
    for i in range(len(bars)):
        if i + 1 < 50:
            out.append(None)
            continue
        c = bars.close[i]
        sma_20 = sum(bars.close[i - 19 : i + 1], Decimal(0)) / 20
        sma_50 = sum(bars.close[i - 49 : i + 1], Decimal(0)) / 50
        out.append("up" if c > sma_20 > sma_50 else "down" if c < sma_20 < sma_50 else "neutral")
    return out


def market_structure(bars: Bars) -> list[str | None]:
    """hlc3 of the last 10 bars against the 10 before; NULL with fewer than 20 bars.

    'bullish' if both maximum and minimum are higher, 'bearish' if both are lower, else 'range' (a tie is not higher).
    """
    out: list[str | None] = []
    for i in range(len(bars)):
        if i + 1 < 20:
            out.append(None)
            continue
        before = [bars.hlc_sum(j) for j in range(i - 19, i - 9)]
        last = [bars.hlc_sum(j) for j in range(i - 9, i + 1)]
        if max(last) > max(before) and min(last) > min(before):
            out.append("bullish")
        elif max(last) < max(before) and min(last) < min(before):
            out.append("bearish")
        else:
            out.append("range")
    return out


def rolling_volume(bars: Bars, n: int = 20) -> list[Decimal | None]:
    """Sum of the volumes of n bars, in the share basis of bar i; NULL with fewer bars, or without one of the volumes."""
    out: list[Decimal | None] = []
    for i in range(len(bars)):
        volumes = bars.volumes_in_basis_of(i, range(i - n + 1, i + 1)) if i + 1 >= n else None
        out.append(None if volumes is None else sum(volumes, Decimal(0)))
    return out


# ---------------------------------------------------------------- the 8 crypto features


def delta(bars: Bars) -> list[Decimal | None]:
    """Taker buy volume - taker sell volume, sell = volume - buy, so 2 * buy - volume; NULL without taker volume."""
    return [
        None if buy is None or v is None else buy - (v - buy)
        for buy, v in zip(bars.taker_buy, bars.volume, strict=True)
    ]


def buy_sell_ratio(bars: Bars) -> list[Decimal | None]:
    """buy / (buy + sell) = buy / volume, a share in [0, 1]; NULL without taker volume or when volume = 0."""
    return [None if buy is None or not v else buy / v for buy, v in zip(bars.taker_buy, bars.volume, strict=True)]


def liquidation_intensity(
    bars: Bars, longs: Sequence[Decimal | None], shorts: Sequence[Decimal | None]
) -> list[Decimal | None]:
    """(liquidations_long + liquidations_short) / volume; NULL where no feed covered the bar, or volume = 0."""
    return [
        None if long is None or short is None or not v else (long + short) / v
        for long, short, v in zip(longs, shorts, bars.volume, strict=True)
    ]


def volume_spike_score(bars: Bars, n: int = 20) -> list[float | None]:
    """(V_i - mean) / sample standard deviation of the previous n volumes, bar i left out.

    NULL with fewer than n + 1 bars, without one of their volumes, or when the n volumes before are all equal.
    """
    out: list[float | None] = []
    for i in range(len(bars)):
        window = bars.volumes_in_basis_of(i, range(max(0, i - n), i))
        own = bars.volume[i]
        if window is None or own is None or len(window) < n or max(window) == min(window):
            out.append(None)
            continue
        mean = sum(window, Decimal(0)) / n
        variance = sum(((v - mean) ** 2 for v in window), Decimal(0)) / (n - 1)
        out.append(float((own - mean) / variance.sqrt()))
    return out


def open_interest_change(open_interest: Sequence[Decimal | None]) -> list[Decimal | None]:
    """OI_i / OI_{i-1} - 1, the OI of the valid bars in order; NULL when either is missing."""
    out: list[Decimal | None] = []
    for i, now in enumerate(open_interest):
        before = open_interest[i - 1] if i else None
        out.append(None if now is None or before is None else now / before - 1)
    return out


# ---------------------------------------------------------------- what was known when a bar closed


def latest_sample(
    samples: Sequence[tuple[pd.Timestamp, Decimal, timedelta | None]], at: pd.Timestamp, period: timedelta
) -> Decimal | None:
    """The last sample at or before `at`, not older than max(2 periods, 1 h); `samples` in time order, some with a period of
    their own."""
    position = bisect_right(samples, at, key=lambda sample: sample[0]) - 1
    if position < 0:
        return None
    sampled_at, value, own_period = samples[position]
    return value if at - sampled_at <= max(2 * (own_period or period), HOUR) else None


def taken_at(label: datetime | str, period: timedelta, file_day: date | None = None) -> pd.Timestamp:
    """When a sample was taken, of its label: floored to the period (labels of files are a second or two late), and since
    2026-06-25, when labels became the starts of periods, a period later. In a file (`file_day`) its day decides."""
    floored = _instant(label).floor(period)
    starts = (file_day or floored.date()) >= date(2026, 6, 25)
    return floored + period if starts else floored


def open_interest_at(
    closes: Sequence[pd.Timestamp], frame: pd.DataFrame | None, period: timedelta, coins: Decimal = Decimal(1)
) -> list[Decimal | None]:
    """Open interest at each close: latest_sample() times the coins that a contract is on; what is not above 0 is an error of
    the source and gives NULL, not an older sample."""
    samples = _samples(frame, "sampled_at", lambda row: _decimal(row["value"]))
    found = [latest_sample(samples, close, period) for close in closes]
    return [None if value is None or value <= 0 else value * coins for value in found]


def long_short_ratio_at(
    closes: Sequence[pd.Timestamp], frame: pd.DataFrame | None, period: timedelta
) -> list[Decimal | None]:
    """longAccount / (longAccount + shortAccount) of latest_sample(), a share in [0, 1]; NULL without such a sample."""

    def share(row: Mapping[str, Any]) -> Decimal | None:
        long, short = _decimal(row["long_account"]), _decimal(row["short_account"])
        return None if long is None or short is None or long + short == 0 else long / (long + short)

    samples = _samples(frame, "sampled_at", share)
    return [latest_sample(samples, close, period) for close in closes]


@dataclass(frozen=True)
class Settlement:
    """A rate as settled, at a whole second, and for how many hours it was."""

    at: pd.Timestamp
    rate: Decimal
    hours: Decimal

    @property
    def per_hour(self) -> Decimal:
        return self.rate / self.hours

    def is_current(self, close: pd.Timestamp) -> bool:
        """No more than two of its intervals have passed since it settled: a rate of two weeks ago is no current rate."""
        return close - self.at <= pd.Timedelta(hours=float(2 * self.hours))


def settlements(frame: pd.DataFrame | None) -> list[Settlement]:
    """Funding in time order, settled_at floored to the second.

    Binance's fundingTime jitters by up to 47 ms after the settlement: unfloored, a bar that closes with it would miss it.
    """
    out = []
    for row in [] if frame is None else frame.to_dict("records"):
        rate = _decimal(row["rate"])
        if rate is not None:
            out.append(Settlement(_instant(row["settled_at"]).floor("s"), rate, _required(row["interval_hours"])))
    out.sort(key=lambda settlement: settlement.at)
    _must_increase([settlement.at for settlement in out], "funding settlements")
    return out


def settled_by(close: pd.Timestamp, known: list[Settlement]) -> list[Settlement]:
    """The last 90 settlements at or before the close; none where the latest is no current rate."""
    count = bisect_right(known, close, key=lambda settlement: settlement.at)
    return known[max(0, count - 90) : count] if count and known[count - 1].is_current(close) else []


def funding_rate_at(closes: Sequence[pd.Timestamp], frame: pd.DataFrame | None) -> list[Decimal | None]:
    """The latest rate settled at or before each close, as settled (not divided by its interval); None once it is not
    current."""
    known = settlements(frame)
    windows = [settled_by(close, known) for close in closes]
    return [window[-1].rate if window else None for window in windows]


def funding_rate_percentile_at(closes: Sequence[pd.Timestamp], frame: pd.DataFrame | None) -> list[float | None]:
    """Mid-rank in percent of the latest settled hourly rate among the last 90 settlements, itself included.

    100 * (count(<) + 0.5 * count(=)) / n; NULL when n < 30, or once the rate is not current. Rates are per hour, so 4 h
    and 8 h settlements compare.
    """
    known = settlements(frame)
    out: list[float | None] = []
    for close in closes:
        window = [settlement.per_hour for settlement in settled_by(close, known)]
        if len(window) < 30:
            out.append(None)
            continue
        below = sum(rate < window[-1] for rate in window)
        equal = sum(rate == window[-1] for rate in window)
        out.append(100 * (below + 0.5 * equal) / len(window))
    return out


def exchange_inflow_at(closes: Sequence[pd.Timestamp], frame: pd.DataFrame | None) -> list[Decimal | None]:
    """Native units of the last UTC day that had ended and was published when the bar closed, in the revision known then;
    None if that day had ended more than a week before.

    `frame`: day (UTC date), published_at, value; several rows of one day are its revisions.
    """
    if frame is None:
        return [None] * len(closes)
    known: list[tuple[pd.Timestamp, pd.Timestamp, Decimal]] = []
    for row in frame.to_dict("records"):
        value = _decimal(row["value"])
        if value is not None:
            ends_at = pd.Timestamp(pd.Timestamp(row["day"]).date(), tz="UTC") + DAY
            known.append((ends_at, _instant(row["published_at"]), value))
    out: list[Decimal | None] = []
    for close in closes:
        candidates = [row for row in known if row[0] <= close and row[1] <= close]
        latest = max(candidates, key=lambda row: row[:2], default=None)
        out.append(latest[2] if latest and close - latest[0] <= 7 * DAY else None)
    return out


def liquidations_at(
    windows: Sequence[tuple[pd.Timestamp, pd.Timestamp]], events: pd.DataFrame | None, watched: pd.DataFrame | None
) -> list[tuple[Decimal | None, Decimal | None]]:
    """(long, short) liquidated quantity of each [open, close), base units; a SELL order liquidates a long.

    `events`: traded_at, side, quantity. `watched`: start, end of the half-open times a feed was watched. A bar that the union
    of those times does not cover whole has (None, None): unknown, never 0. A covered bar without events has (0, 0).
    """
    covered: list[tuple[pd.Timestamp, pd.Timestamp]] = []
    rows = [] if watched is None else watched.to_dict("records")
    for start, end in sorted((_instant(row["start"]), _instant(row["end"])) for row in rows):
        if covered and start <= covered[-1][1]:
            covered[-1] = (covered[-1][0], max(covered[-1][1], end))
        else:
            covered.append((start, end))
    orders = [] if events is None else events.to_dict("records")
    trades = sorted(
        ((_instant(row["traded_at"]), str(row["side"]), _required(row["quantity"])) for row in orders),
        key=lambda trade: trade[0],
    )
    if unknown := {side for _, side, _ in trades} - {"BUY", "SELL"}:
        raise ValueError(f"liquidation side must be BUY or SELL, not {sorted(unknown)}")
    out: list[tuple[Decimal | None, Decimal | None]] = []
    for opened, closed in windows:
        if not any(start <= opened and closed <= end for start, end in covered):
            out.append((None, None))
            continue
        first, last = (bisect_left(trades, at, key=lambda trade: trade[0]) for at in (opened, closed))
        inside = [(side, quantity) for _, side, quantity in trades[first:last]]
        out.append(
            (
                sum((quantity for side, quantity in inside if side == "SELL"), Decimal(0)),
                sum((quantity for side, quantity in inside if side == "BUY"), Decimal(0)),
            )
        )
    return out


# ---------------------------------------------------------------- all of them


def features(
    bars: pd.DataFrame,
    *,
    timeframe: str,
    asset_class: str,
    funding: pd.DataFrame | None = None,
    open_interest: pd.DataFrame | None = None,
    long_short: pd.DataFrame | None = None,
    liquidations: pd.DataFrame | None = None,
    watched: pd.DataFrame | None = None,
    inflow: pd.DataFrame | None = None,
    sample_period: timedelta = timedelta(minutes=5),
    contract_coins: Decimal = Decimal(1),
) -> pd.DataFrame:
    """All features and the 4 crypto facts of one series: same length and index as `bars`, plus its `timestamp`.

    bars: final bars in time order: timestamp (open, UTC), close_time (default timestamp + step), session_date (default the
        UTC date), open, high, low, close, volume (Decimal, str or int), taker_buy_volume (default NULL), split_factor
        (default 1), is_valid (default true).
    funding: settled_at, rate, interval_hours. open_interest: sampled_at, value. long_short: sampled_at, long_account,
        short_account. liquidations: traded_at, side, quantity. watched: start, end. inflow: day, published_at, value.
    sample_period: the period of the open interest and long/short samples that have no column `period` (a timedelta).
    contract_coins: how many coins of the bars a contract is on; open interest and liquidations are given in contracts.

    Text is object (None = NULL), the columns of EXACT are Decimal (None = NULL), all others float64 (NaN = NULL). An invalid
    bar has no feature and is in no window; the crypto facts are attached to it all the same.
    ValueError: unknown timeframe, timestamps that do not increase, naive times, a price, volume or factor that is no number.
    """
    if timeframe not in STEP:
        raise ValueError(f"timeframe {timeframe!r} is not one of {', '.join(STEP)}")
    with localcontext(prec=DIGITS):
        return _features(
            bars.to_dict("records"),
            bars.index,
            timeframe,
            asset_class == "crypto",
            (funding, open_interest, long_short, liquidations, watched, inflow),
            sample_period,
            contract_coins,
        )


def _features(
    rows: list[dict[Any, Any]],
    index: pd.Index,
    timeframe: str,
    crypto: bool,
    frames: tuple[pd.DataFrame | None, ...],
    sample_period: timedelta,
    contract_coins: Decimal,
) -> pd.DataFrame:
    step = STEP[timeframe]
    funding, open_interest, long_short, liquidations, watched, inflow = frames
    opens = [_instant(row["timestamp"]) for row in rows]
    _must_increase(opens, "bar timestamps")
    closes = [
        opened + step if _is_null(row.get("close_time")) else _instant(row["close_time"])
        for row, opened in zip(rows, opens, strict=True)
    ]
    valid = [i for i, row in enumerate(rows) if row.get("is_valid", True)]
    series = _bars(rows, valid, opens, closes)
    columns: dict[str, list[Any]] = {"timestamp": list(opens)}

    def put(name: str, values: Sequence[Any]) -> None:
        """Spread the values of the valid bars over all bars."""
        columns[name] = [None] * len(rows)
        for i, value in zip(valid, values, strict=True):
            columns[name][i] = value

    put("return_1h", return_1h(series, step))
    put("return_1d", return_1d(series, timeframe))
    put("log_return", log_return(series))
    put("volatility_20", volatility(series, 20))
    put("volatility_50", volatility(series, 50))
    put("true_range", true_range(series))
    put("atr", atr(series))
    put("hlc3", hlc3(series))
    put("sma_20", sma(series, 20))
    put("sma_50", sma(series, 50))
    put("vwap_20", vwap(series))
    put("trend_direction", trend_direction(series))
    put("market_structure", market_structure(series))
    put("rolling_volume_20", rolling_volume(series))
    put("volume_spike_score", volume_spike_score(series))
    for name in (*CRYPTO, *RAW):
        columns.setdefault(name, [None] * len(rows))
    if crypto:
        liquidated = liquidations_at(list(zip(opens, closes, strict=True)), liquidations, watched)
        columns["liquidations_long"] = [None if long is None else long * contract_coins for long, _ in liquidated]
        columns["liquidations_short"] = [None if short is None else short * contract_coins for _, short in liquidated]
        columns["open_interest"] = open_interest_at(closes, open_interest, sample_period, contract_coins)
        columns["funding_rate"] = funding_rate_at(closes, funding)
        put("delta", delta(series))
        put("buy_sell_ratio", buy_sell_ratio(series))
        put(
            "liquidation_intensity",
            liquidation_intensity(
                series,
                [columns["liquidations_long"][i] for i in valid],
                [columns["liquidations_short"][i] for i in valid],
            ),
        )
        put("long_short_ratio", long_short_ratio_at(series.close_time, long_short, sample_period))
        put("funding_rate_percentile", funding_rate_percentile_at(series.close_time, funding))
        put("exchange_inflow", exchange_inflow_at(series.close_time, inflow))
        put("open_interest_change", open_interest_change([columns["open_interest"][i] for i in valid]))

    out = pd.DataFrame({"timestamp": pd.Series(columns["timestamp"], dtype="datetime64[ns, UTC]")})
    for name in (*FEATURES, *RAW):
        if name in EXACT or name in TEXTS:
            out[name] = pd.Series(columns[name], dtype=object)
        else:
            out[name] = pd.Series([math.nan if v is None else float(v) for v in columns[name]], dtype="float64")
    out.index = index
    return out


def _bars(rows: list[dict[Any, Any]], valid: list[int], opens: list[pd.Timestamp], closes: list[pd.Timestamp]) -> Bars:
    kept = [rows[i] for i in valid]
    factor = [_required(row.get("split_factor", 1)) for row in kept]
    prices = {
        name: [_required(row[name]) * g for row, g in zip(kept, factor, strict=True)]
        for name in ("open", "high", "low", "close")
    }
    sessions = [
        opens[i].date() if _is_null(rows[i].get("session_date")) else pd.Timestamp(rows[i]["session_date"]).date()
        for i in valid
    ]
    return Bars(
        timestamp=[opens[i] for i in valid],
        close_time=[closes[i] for i in valid],
        session=sessions,
        open=prices["open"],
        high=prices["high"],
        low=prices["low"],
        close=prices["close"],
        volume=[None if _is_null(row["volume"]) else _required(row["volume"]) for row in kept],
        taker_buy=[_decimal(row.get("taker_buy_volume")) for row in kept],
        split_factor=factor,
    )


def _samples(
    frame: pd.DataFrame | None, time_column: str, value: Callable[[Mapping[str, Any]], Decimal | None]
) -> list[tuple[pd.Timestamp, Decimal, timedelta | None]]:
    """(time, value, period if the row has one) in time order; a row without a value is no sample."""
    rows = [] if frame is None else frame.to_dict("records")
    valued = [(_instant(row[time_column]), value(row), row.get("period")) for row in rows]
    samples = sorted(((at, v, period) for at, v, period in valued if v is not None), key=lambda sample: sample[0])
    _must_increase([at for at, _, _ in samples], "sample times")
    return samples


def _is_null(value: Any) -> bool:
    return value is None or value is pd.NaT or value is pd.NA or (isinstance(value, float) and math.isnan(value))


def _decimal(value: Any) -> Decimal | None:
    """Exact: floats go through their shortest text, so 0.1 is one tenth."""
    return None if _is_null(value) else Decimal(str(value))


def _required(value: Any) -> Decimal:
    number = _decimal(value)
    if number is None or not number.is_finite():
        raise ValueError(f"a number is needed, got {value!r}")
    return number


def _instant(value: datetime | str) -> pd.Timestamp:
    instant = pd.Timestamp(value)
    if instant.tzinfo is None:
        raise ValueError(f"{value!r} has no time zone")
    return instant.tz_convert("UTC")


def _must_increase(instants: Sequence[pd.Timestamp], what: str) -> None:
    for earlier, later in pairwise(instants):
        if not earlier < later:
            raise ValueError(f"{what} must increase: {earlier} is followed by {later}")


# ---------------------------------------------------------------- comparison with the warehouse

RELATIVE_TOLERANCE = Decimal("1e-9")


def compare(actual: pd.DataFrame, expected: pd.DataFrame, types: Mapping[str, str]) -> pd.DataFrame:
    """The error of each column of `types` (name -> SQL type, as the contract or the catalogue has it), one row per column.

    A number passes within 1e-9 relative or one unit of the column's last digit; a text passes when equal; NULL only meets NULL.
    Both frames have `timestamp` (tz-aware); rows are matched by it, and differing timestamps raise ValueError.

    Columns of the answer: bars, filled (neither side NULL), null_mismatches, value_mismatches, max_relative_error,
    max_unit_error (in units of the last digit), worst_timestamp (the first mismatch, else the largest unit error), passed.
    """
    actual, expected = (frame.sort_values("timestamp").reset_index(drop=True) for frame in (actual, expected))
    here, there = ([_instant(t) for t in frame["timestamp"]] for frame in (actual, expected))
    if here != there:
        odd = sorted(set(here) ^ set(there))
        raise ValueError(f"{len(here)} actual and {len(there)} expected bars do not match, first at {odd[:3]}")
    with localcontext(prec=DIGITS):
        report = [_compare_column(name, types[name], here, actual[name], expected[name]) for name in types]
    return pd.DataFrame(report).set_index("feature")


def _compare_column(
    name: str, sql_type: str, timestamps: list[pd.Timestamp], actual: pd.Series, expected: pd.Series
) -> dict[str, Any]:
    numeric = sql_type.startswith("numeric(")
    unit = Decimal(1).scaleb(-int(sql_type.rstrip(")").split(",")[1])) if numeric else Decimal(1)
    filled = null_mismatches = value_mismatches = 0
    worst_relative = worst_units = Decimal(0)
    first_mismatch = worst_at = None
    for at, a, e in zip(timestamps, actual, expected, strict=True):
        if _is_null(a) or _is_null(e):
            wrong = _is_null(a) != _is_null(e)
            null_mismatches += wrong
        elif numeric:
            filled += 1
            got, wanted = Decimal(str(a)), Decimal(str(e))
            if got.is_finite() and wanted.is_finite():
                error = abs(got - wanted)
                relative = error / abs(wanted) if wanted else Decimal(0) if not error else Decimal("Infinity")
            else:
                error = relative = Decimal("Infinity")
            wrong = relative > RELATIVE_TOLERANCE and error > unit
            value_mismatches += wrong
            worst_relative = max(worst_relative, relative)
            if error / unit > worst_units:
                worst_units, worst_at = error / unit, at
        else:
            filled += 1
            wrong = str(a) != str(e)
            value_mismatches += wrong
        if wrong and first_mismatch is None:
            first_mismatch = at
    return {
        "feature": name,
        "bars": len(timestamps),
        "filled": filled,
        "null_mismatches": null_mismatches,
        "value_mismatches": value_mismatches,
        "max_relative_error": float(worst_relative) if numeric else math.nan,
        "max_unit_error": float(worst_units) if numeric else math.nan,
        "worst_timestamp": first_mismatch or worst_at,
        "passed": not null_mismatches and not value_mismatches,
    }
