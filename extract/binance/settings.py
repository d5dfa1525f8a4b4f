"""Binance's limits, hosts and reaches. Sources: its API documentation and exchangeInfo (see README.md)."""

from __future__ import annotations

# The keyless market-data mirror of the spot host: where a geo-blocked (451) spot request goes.
SPOT_WEIGHT_PER_MINUTE = 6000
FUTURES_WEIGHT_PER_MINUTE = 2400

SPOT_KLINES = ("/api/v3/klines", 1000, 2)  # path, rows a request, weight
FUTURES_KLINES = ("/fapi/v1/klines", 1000, 5)

KLINE_FIELDS = 12
