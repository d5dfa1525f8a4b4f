"""Polygon's limits and paths. Sources: its OpenAPI file and knowledge base (see README.md)."""

from __future__ import annotations

# timeframe -> (multiplier, timespan)
SPANS = {
    "5m": (5, "minute"),
    "15m": (15, "minute"),
    "30m": (30, "minute"),
    "1h": (1, "hour"),
    "4h": (4, "hour"),
    "1d": (1, "day"),
    "1w": (1, "week"),
}
# `limit` counts base bars (minutes for minute and hour bars, days above), not results.
PAGE_LIMIT = 50_000
REFERENCE_PAGE_LIMIT = 1_000
# Minutes in which a day can have base bars: extended hours 04:00-20:00 for stocks.
STOCK_MINUTES_A_DAY = 960
CRYPTO_MINUTES_A_DAY = 1440
