"""Binance spot, its market-data mirror and USD-M futures over REST, as docs/reference/providers.md records them."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson

from scripts.simulator.bars import Bars, Interval, Ints, window_end
from scripts.simulator.binance_errors import GRID, error, integer, limited
from scripts.simulator.binance_futures import funding_info, funding_rate, futures_data, open_interest_now, premium_index
from scripts.simulator.encode import Decimal, Text, encode_rows, listed
from scripts.simulator.instruments import Instrument
from scripts.simulator.world import Call, Reply, World

INTERVALS = {
    "1s": (1, "second"), "1m": (1, "minute"), "3m": (3, "minute"), "5m": (5, "minute"), "15m": (15, "minute"),
    "30m": (30, "minute"), "1h": (1, "hour"), "2h": (2, "hour"), "4h": (4, "hour"), "6h": (6, "hour"),
    "8h": (8, "hour"), "12h": (12, "hour"), "1d": (1, "day"), "3d": (3, "day"), "1w": (1, "week"), "1M": (1, "month"),
}  # fmt: skip


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
    name, limit = call.query.get("interval", ""), min(integer(call, "limit", default), most)
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
