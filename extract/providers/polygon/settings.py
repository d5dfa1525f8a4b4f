"""Polygon's limits and paths. Sources: its OpenAPI file and knowledge base (see README.md)."""

from __future__ import annotations

from datetime import timedelta

from extract.calendar.timeframes import native

# timeframe -> (multiplier, timespan)
SPANS = {
    timeframe: (int(multiplier), span)
    for timeframe, name in native("polygon").items()
    for multiplier, span in [name.split()]
}
# The market of /locale/us: its days come in one answer, and its clock stamps the bars of stocks.
CALENDAR = "XNYS"
# `limit` counts base bars (minutes for minute and hour bars, days above), not results.
PAGE_LIMIT = 50_000
REFERENCE_PAGE_LIMIT = 1_000
# 20 years of a coin's minutes are 211 pages.
MOST_PAGES = 300
# Minutes in which a day can have base bars: extended hours 04:00-20:00 for stocks.
STOCK_MINUTES_A_DAY = 960
# Requests a minute below which one costs more than the bars that it brings twice.
SCARCE_BELOW = 60
# An unknown ticker answers 200 without results: in a window of this length somebody must have traded a known one.
NEVER_EMPTY = timedelta(days=7)
# How old the listing data of a ticker may be.
TICKERS_AGE = timedelta(days=7)
# Splits and dividends are announced ahead; and an answer is asked for again for so long, for late announcements.
ANNOUNCED_AHEAD = timedelta(days=30)
ANNOUNCED_LATE = timedelta(days=7)
# From so many symbols on, one question about the whole market is less than one for each.
MARKET_WIDE_FROM = 3
CRYPTO_MINUTES_A_DAY = 1440
