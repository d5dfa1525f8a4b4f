"""What Binance's futures have but for klines: funding, open interest, long/short ratios, the premium index."""

from __future__ import annotations

from typing import Any

import numpy as np

from scripts.simulator.bars import DAY, HOUR, MINUTE, Interval, Ints
from scripts.simulator.binance_errors import GRID, error, integer, limited
from scripts.simulator.derivatives import LABELS_START_FROM, Derivatives
from scripts.simulator.faults import spoil_samples
from scripts.simulator.instruments import Instrument
from scripts.simulator.world import Call, Reply, World


def _perpetual(world: World, call: Call) -> tuple[Instrument | None, Derivatives | None]:
    instrument = world.dataset.futures.get(call.query.get("symbol", ""))
    return instrument, instrument.derivatives if instrument else None


def _asked(call: Call) -> tuple[int | None, int | None]:
    """startTime and endTime in ms, None where not sent."""
    start, end = (call.query.get(name) for name in ("startTime", "endTime"))
    return int(start) if start else None, int(end) if end else None


def funding_rate(world: World, call: Call) -> Reply:
    """GET /fapi/v1/fundingRate: ascending; from startTime on, or the newest ones."""
    instrument, derivatives = _perpetual(world, call)
    if instrument is None:
        return limited(world, call, 1, error(400, "Invalid symbol.", -1121))
    limit = min(integer(call, "limit", 100), 1000)
    start, end = _asked(call)
    last = min(world.clock(), end if end is not None else world.clock()) + 1
    rows: list[dict[str, Any]] = []
    if derivatives:
        first = start if start is not None else last - limit * derivatives.interval_hours * HOUR
        samples = [(r["fundingTime"], {"symbol": instrument.symbol, **r}) for r in derivatives.funding(first, last)]
        rows = [row for _, row in spoil_samples(samples, call.bar_faults, world.clock())]
    return limited(world, call, 1, Reply.json(200, rows[:limit] if start is not None else rows[-limit:]))


def funding_info(world: World, call: Call) -> Reply:
    """GET /fapi/v1/fundingInfo: the funding interval of each symbol."""
    rows = [
        {
            "symbol": symbol,
            "adjustedFundingRateCap": "0.02000000",
            "adjustedFundingRateFloor": "-0.02000000",
            "fundingIntervalHours": instrument.derivatives.interval_hours,
            "disclaimer": False,
            "updateTime": instrument.first,
        }
        for symbol, instrument in world.dataset.futures.items()
        if instrument.derivatives
    ]
    return limited(world, call, 1, Reply.json(200, rows))


def premium_index(world: World, call: Call) -> Reply:
    """GET /fapi/v1/premiumIndex: an object with `symbol`, a list without."""
    if "symbol" in call.query and call.query["symbol"] not in world.dataset.futures:
        return limited(world, call, 1, error(400, "Invalid symbol.", -1121))
    asked = [call.query["symbol"]] if "symbol" in call.query else list(world.dataset.futures)
    rows = []
    for symbol in asked:
        instrument = world.dataset.futures[symbol]
        if instrument.derivatives is None:
            continue
        step = instrument.derivatives.interval_hours * HOUR
        bars = instrument.bars(
            Interval(5, "minute"), world.clock() - 10 * MINUTE, world.clock() + 1, world.clock(), GRID
        )
        settled = instrument.derivatives.funding(world.clock() - 2 * step, world.clock() + 1)
        if bars is None or not len(bars) or not settled:
            continue
        mark = f"{int(bars.close[-1]) / 10**bars.price_scale:.8f}"
        rows.append(
            {
                "symbol": symbol, "markPrice": mark, "indexPrice": mark, "estimatedSettlePrice": mark,
                "lastFundingRate": settled[-1]["fundingRate"], "interestRate": "0.00010000",
                "nextFundingTime": (world.clock() // step + 1) * step, "time": world.clock(),
            }
        )  # fmt: skip
    one = "symbol" in call.query
    return limited(world, call, 1 if one else 10, Reply.json(200, rows[0] if one and rows else {} if one else rows))


def open_interest_now(world: World, call: Call) -> Reply:
    """GET /fapi/v1/openInterest: contracts at this moment."""
    instrument, derivatives = _perpetual(world, call)
    if instrument is None or derivatives is None:
        return limited(world, call, 1, error(400, "Invalid symbol.", -1121))
    value = int(derivatives.samples("open_interest", np.array([world.clock() // 300_000 * 300_000]))[0])
    body = {"openInterest": f"{value // 1000}.{value % 1000:03d}", "symbol": instrument.symbol, "time": world.clock()}
    return limited(world, call, 1, Reply.json(200, body))


def futures_data(world: World, call: Call) -> Reply:
    """GET /futures/data/..: samples of the last 30 days, ascending; an older startTime is refused."""
    instrument, derivatives = _perpetual(world, call)
    if instrument is None:
        return limited(world, call, 1, error(400, "Invalid symbol.", -1121))
    period = PERIODS.get(call.query.get("period", ""))
    if period is None:
        return limited(world, call, 1, error(400, "Data sent for parameter 'period' is not valid.", -1130))
    clock, limit = world.clock(), min(integer(call, "limit", 30), 500)
    start, end = _asked(call)
    oldest = clock - 30 * DAY
    if start is not None and start < oldest:
        return limited(world, call, 1, error(400, "parameter 'startTime' is invalid.", -1130))
    name = call.path.rsplit("/", 1)[1]
    # A ratio of volumes exists when its period is over; the others are taken at the stamp, or since 2026-06-25 then, too.
    starts = name == "takerlongshortRatio" or clock - period >= LABELS_START_FROM
    newest = clock - period if starts else min(clock, LABELS_START_FROM - 1)
    last = min(end if end is not None else newest, newest) // period * period
    first = -(-max(start if start is not None else oldest, oldest, instrument.first) // period) * period
    if derivatives is None or last < first:
        return limited(world, call, 1, Reply.json(200, []))
    times = np.arange(first, last + 1, period, dtype=np.int64)
    times = times[:limit] if start is not None else times[-limit:]
    rows = _samples(instrument, derivatives, name, times, period, clock)
    spoiled = spoil_samples(list(zip(times.tolist(), rows, strict=True)), call.bar_faults, clock)
    return limited(world, call, 1, Reply.json(200, [row for _, row in spoiled]))


def _samples(
    instrument: Instrument, derivatives: Derivatives, name: str, times: Ints, period: int, clock: int
) -> list[dict[str, Any]]:
    symbol = instrument.symbol
    taken = np.where(times >= LABELS_START_FROM, times + period, times)
    # Values stand on the candles' prices, the taker ratio on the volumes of the period that starts at the stamp.
    bars = instrument.bars(Interval(5, "minute"), int(times[0]), int(times[-1]) + period, clock, GRID)
    assert bars is not None and bars.taker_base is not None
    if name == "openInterestHist":
        contracts = derivatives.samples("open_interest", taken)
        at = np.searchsorted(bars.time, taken)
        prices = (
            bars.open[np.minimum(at, max(len(bars) - 1, 0))] / 10**bars.price_scale
            if len(bars)
            else np.zeros(len(times))
        )
        return [
            {
                "symbol": symbol,
                "sumOpenInterest": f"{amount // 1000}.{amount % 1000:03d}00000",
                "sumOpenInterestValue": f"{amount / 1000 * price:.8f}",
                "timestamp": stamp,
            }
            for amount, price, stamp in zip(contracts.tolist(), prices.tolist(), times.tolist(), strict=True)
        ]
    if name == "takerlongshortRatio":
        owner = bars.time // period * period
        rows = []
        for stamp in times.tolist():
            here = owner == stamp
            buy = int(bars.taker_base[here].sum()) / 10**bars.volume_scale
            sell = int((bars.volume - bars.taker_base)[here].sum()) / 10**bars.volume_scale
            ratio = f"{buy / sell:.4f}" if sell else "0.0000"
            rows.append({"buySellRatio": ratio, "buyVol": f"{buy:.4f}", "sellVol": f"{sell:.4f}", "timestamp": stamp})
        return rows
    shares = derivatives.samples(
        {"topLongShortAccountRatio": "top_accounts", "topLongShortPositionRatio": "top_positions"}.get(name, "global"),
        taken,
    )
    return [
        {
            "symbol": symbol,
            "longShortRatio": f"{share / (10_000 - share):.4f}",
            "longAccount": f"{share / 10_000:.4f}",
            "shortAccount": f"{1 - share / 10_000:.4f}",
            "timestamp": stamp,
        }
        for share, stamp in zip(shares.tolist(), times.tolist(), strict=True)
    ]


PERIODS = {
    "5m": 5 * MINUTE, "15m": 15 * MINUTE, "30m": 30 * MINUTE, "1h": HOUR, "2h": 2 * HOUR, "4h": 4 * HOUR,
    "6h": 6 * HOUR, "12h": 12 * HOUR, "1d": DAY,
}  # fmt: skip
