"""Binance spot, its market-data mirror and USD-M futures over REST, as docs/reference/providers.md records them."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson

from scripts.simulator.bars import DAY, HOUR, MINUTE, Bars, Interval, Ints, window_end
from scripts.simulator.derivatives import LABELS_START_FROM, Derivatives
from scripts.simulator.encode import Decimal, Text, encode_rows, listed
from scripts.simulator.faults import spoil_samples
from scripts.simulator.instruments import Grid, Instrument
from scripts.simulator.world import Call, Reply, World

GRID = Grid()
INTERVALS = {
    "1s": (1, "second"), "1m": (1, "minute"), "3m": (3, "minute"), "5m": (5, "minute"), "15m": (15, "minute"),
    "30m": (30, "minute"), "1h": (1, "hour"), "2h": (2, "hour"), "4h": (4, "hour"), "6h": (6, "hour"),
    "8h": (8, "hour"), "12h": (12, "hour"), "1d": (1, "day"), "3d": (3, "day"), "1w": (1, "week"), "1M": (1, "month"),
}  # fmt: skip
BLOCKED = (
    "Service unavailable from a restricted location according to 'b. Eligibility' in https://www.binance.com/en/terms. "
    "Please contact customer service if you believe you received this message in error."
)


def error(status: int, message: str | None = None, code: int | None = None, retry_after: int | None = None) -> Reply:
    """`{"code":..,"msg":..}`; 429 and 418 carry Retry-After in seconds."""
    codes = {
        400: (-1100, "Illegal characters found in a parameter."),
        401: (-2014, "API-key format invalid."),
        403: (-1002, "You are not authorized to execute this request."),
        404: (-1000, "Not found."),
        418: (-1003, "Way too much request weight used; IP banned until 9999999999999. "
              "Please use WebSocket Streams for live updates to avoid bans."),
        429: (-1003, "Too much request weight used; current limit is 6000 request weight per 1 MINUTE. "
              "Please use WebSocket Streams for live updates to avoid polling the API."),
        451: (0, BLOCKED),
    }  # fmt: skip
    known_code, known_text = codes.get(status, (-1000, "An unknown error occurred while processing the request."))
    reply = Reply.json(status, {"code": known_code if code is None else code, "msg": message or known_text})
    if status in (418, 429) or retry_after is not None:
        reply.headers["Retry-After"] = str(60 if retry_after is None else retry_after)
    return reply


def limited(world: World, call: Call, weight: int, reply: Reply) -> Reply:
    """The answer with its weight headers, or 429 when the minute's budget is over."""
    if call.endpoint in ("funding", "funding_info"):
        budget = world.funding_budget
    elif call.path.startswith("/futures/data"):
        budget = world.ratio_budget
    else:
        budget = world.weights[call.provider]
    if not budget.spend(weight):
        reply = error(418 if budget.banned else 429, retry_after=budget.seconds_left())
    if budget.seconds == 60:  # the funding and futures/data pools have no x-mbx-* header
        used = str(budget.used if budget.limit else weight)
        reply.headers |= {"x-mbx-used-weight": used, "x-mbx-used-weight-1m": used}
    return reply


def market(world: World, call: Call) -> dict[str, Instrument]:
    return world.dataset.futures if call.provider == "binance-futures" else world.dataset.spot


def close_times(bars: Bars, interval: Interval) -> Ints:
    """The last millisecond of each bar's window."""
    if interval.milliseconds is not None:
        return bars.time + interval.milliseconds - 1
    return np.array([window_end(int(t), interval, "UTC") - 1 for t in bars.time], np.int64)


def kline_cells(
    instrument: Instrument, bars: Bars, interval: Interval, quote: bytes, micro: bool
) -> list[bytes | Decimal]:
    """The first eleven fields of a kline, comma separated; decimals stand between ``quote`` marks.

    Times in microseconds close at ...999999. Columns that a recording lacks are zero.
    """
    none = np.zeros(len(bars), np.int64)
    places, drop = instrument.price_decimals, bars.price_scale - instrument.price_decimals
    factor, rest = (1000, 999) if micro else (1, 0)

    def price(column: Ints) -> Decimal:
        return Decimal(column // 10**drop if drop > 0 else column, min(places, bars.price_scale))

    def optional(column: Ints | None) -> Ints:
        return none if column is None else column

    decimals = [
        price(bars.open),
        price(bars.high),
        price(bars.low),
        price(bars.close),
        Decimal(bars.volume, bars.volume_scale),
    ]
    cells: list[bytes | Decimal] = [Decimal(bars.time * factor)]
    for decimal in decimals:
        cells += [b"," + quote, decimal, quote]
    cells += [b",", Decimal(close_times(bars, interval) * factor + rest)]
    cells += [b"," + quote, Decimal(optional(bars.quote), bars.quote_scale), quote]
    cells += [b",", Decimal(optional(bars.trades))]
    cells += [b"," + quote, Decimal(optional(bars.taker_base), bars.volume_scale), quote]
    cells += [b"," + quote, Decimal(optional(bars.taker_quote), bars.quote_scale), quote]
    return cells


def klines(world: World, call: Call) -> Reply:
    """GET /api/v3/klines, uiKlines, /fapi/v1/klines: ascending; the last row may be the candle that is still open."""
    futures = call.provider == "binance-futures"
    default, most = (500, 1500) if futures else (500, 1000)
    name, limit = call.query.get("interval", ""), min(_integer(call, "limit", default), most)
    weight = (1 if limit < 100 else 2 if limit < 500 else 5 if limit <= 1000 else 10) if futures else 2
    if missing := next((p for p in ("symbol", "interval") if not call.query.get(p)), None):
        text = f"Mandatory parameter '{missing}' was not sent, was empty/null, or malformed."
        return limited(world, call, weight, error(400, text, -1102))
    instrument = market(world, call).get(call.query["symbol"])
    if instrument is None:
        return limited(world, call, weight, error(400, "Invalid symbol.", -1121))
    if name not in INTERVALS:
        return limited(world, call, weight, error(400, "Invalid interval.", -1120))
    interval = Interval(*INTERVALS[name])
    micro = not futures and call.headers.get("X-MBX-TIME-UNIT", "").upper() == "MICROSECOND"

    def milliseconds(parameter: str) -> int | None:
        value = call.query.get(parameter)
        return None if not value else int(value) // 1000 if len(value) >= 16 else int(value)

    start, end = milliseconds("startTime"), milliseconds("endTime")

    def encoder(instrument: Instrument, bars: Bars) -> Text:
        return encode_rows([b"[", *kline_cells(instrument, bars, interval, b'"', micro), b',"0"],'], len(bars))

    _, rows = world.rows(
        call, instrument, interval, GRID, f"kline:{micro}", encoder,
        0 if start is None else start, (2**53 if end is None else end) + 1, limit, newest=start is None,
    )  # fmt: skip
    return limited(world, call, weight, Reply(200, b"".join([b"[", *listed(rows), b"]"])))


def _integer(call: Call, name: str, default: int) -> int:
    text = call.query.get(name, "")
    return int(text) if text.lstrip("-").isdigit() else default


def ping(world: World, call: Call) -> Reply:
    return limited(world, call, 1, Reply(200, b"{}"))


def server_time(world: World, call: Call) -> Reply:
    return limited(world, call, 1, Reply.json(200, {"serverTime": world.clock()}))


def exchange_info(world: World, call: Call) -> Reply:
    """GET exchangeInfo, by `symbol` or `symbols` on spot; an unknown symbol is -1121."""
    known = market(world, call)
    futures = call.provider == "binance-futures"
    asked = [call.query["symbol"]] if "symbol" in call.query else orjson.loads(call.query.get("symbols", "[]"))
    if any(symbol not in known for symbol in asked) and not futures:
        return limited(world, call, 20, error(400, "Invalid symbol.", -1121))
    limits = [
        {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 2400 if futures else 6000}
    ]
    if not futures:
        limits.append({"rateLimitType": "RAW_REQUESTS", "interval": "MINUTE", "intervalNum": 5, "limit": 300_000})
    symbols = [_symbol(known[s], futures) for s in (asked if asked and not futures else known)]
    body = {
        "timezone": "UTC",
        "serverTime": world.clock(),
        "rateLimits": limits,
        "exchangeFilters": [],
        "symbols": symbols,
    }
    return limited(world, call, 1 if futures else 20, Reply.json(200, body))


def _symbol(instrument: Instrument, futures: bool) -> dict[str, Any]:
    base = instrument.symbol.removesuffix("USDT")
    row: dict[str, Any] = {"symbol": instrument.symbol, "status": "TRADING", "baseAsset": base, "quoteAsset": "USDT"}
    if futures:
        row |= {"pair": instrument.symbol, "contractType": "PERPETUAL", "underlyingType": "COIN", "marginAsset": "USDT"}
        row |= {"pricePrecision": instrument.price_decimals, "onboardDate": instrument.first}
    else:
        row |= {"baseAssetPrecision": 8, "quotePrecision": 8, "quoteAssetPrecision": 8, "isSpotTradingAllowed": True}
        row |= {"permissions": [], "permissionSets": [["SPOT"]], "orderTypes": ["LIMIT", "MARKET"]}
    if instrument.synthetic:
        row["description"] = instrument.name
    return row | {"filters": []}


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
    limit = min(_integer(call, "limit", 100), 1000)
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
    clock, limit = world.clock(), min(_integer(call, "limit", 30), 500)
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
SPOT_ROUTES = [
    (r"/api/v3/(?:uiK|k)lines", "bars", klines),
    (r"/api/v3/ping", "ping", ping),
    (r"/api/v3/time", "time", server_time),
    (r"/api/v3/exchangeInfo", "exchange_info", exchange_info),
]
FUTURES_ROUTES = [
    (r"/fapi/v1/klines", "bars", klines),
    (r"/fapi/v1/ping", "ping", ping),
    (r"/fapi/v1/time", "time", server_time),
    (r"/fapi/v1/exchangeInfo", "exchange_info", exchange_info),
    (r"/fapi/v1/fundingRate", "funding", funding_rate),
    (r"/fapi/v1/fundingInfo", "funding_info", funding_info),
    (r"/fapi/v1/premiumIndex", "premium_index", premium_index),
    (r"/fapi/v1/openInterest", "open_interest_now", open_interest_now),
    (r"/futures/data/openInterestHist", "open_interest", futures_data),
    (
        r"/futures/data/(?:globalLongShortAccount|topLongShortAccount|topLongShortPosition)Ratio",
        "long_short_ratio",
        futures_data,
    ),
    (r"/futures/data/takerlongshortRatio", "taker_ratio", futures_data),
]
