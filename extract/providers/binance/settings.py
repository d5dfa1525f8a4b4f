"""Binance's limits, hosts and reaches. Sources: its API documentation, exchangeInfo of 2026-07 (see README.md)."""

from __future__ import annotations

from datetime import timedelta

from extract.calendar.timeframes import native

SPOT_WEIGHT_PER_MINUTE = 6000
FUTURES_WEIGHT_PER_MINUTE = 2400
# Not counted by weight but by requests; the numbers are per five minutes, here per minute.
FUNDING_REQUESTS_PER_MINUTE = 100
STATISTICS_REQUESTS_PER_MINUTE = 200

INTERVALS = native("binance")
SPOT_KLINES = ("/api/v3/klines", 1000, 2)  # path, rows a request, weight
FUTURES_KLINES = ("/fapi/v1/klines", 1000, 5)
KLINE_FIELDS = 12

FUNDING = "/fapi/v1/fundingRate"
FUNDING_ROWS = 1000

# The longest interval of a contract, and what its stamps tremble by.
FUNDING_INTERVAL = timedelta(hours=8, minutes=5)
# Of one task; the longest has 2 by the documented caps.
MOST_PAGES = 100

OPEN_INTEREST_NOW = "/fapi/v1/openInterest"
# endpoint -> (path, field that every row has)
STATISTICS = {
    "open_interest": ("/futures/data/openInterestHist", "sumOpenInterest"),
    "long_short_ratio": ("/futures/data/globalLongShortAccountRatio", "longAccount"),
    "taker_ratio": ("/futures/data/takerlongshortRatio", "buySellRatio"),
}
STATISTICS_ROWS = 500
STATISTICS_PERIOD = "5m"
# For how long after its time a sample may be used.
STATISTICS_USABLE = timedelta(hours=1)
# Some minutes short of the 30 days: the limit moves on while the request travels.
STATISTICS_REACH = timedelta(days=30, minutes=-30)

# Unavailable for legal reasons: the answer of a host that does not serve this country.
GEO_BLOCKED = 451

# Files for anything older; the file of a day appears on the next day.
ARCHIVE_AGE = timedelta(days=2)
# A file takes two requests (itself and its checksum): below this many rows REST is the shorter way.
ARCHIVE_FILE_ROWS = 100
# Binance replaces some files, most of them soon after they appeared. For so long after its end a file's CHECKSUM is
# looked at again whenever the file has become half as old again, eight times in all; of those due, so many a run.
FILE_REVISED_FOR = timedelta(days=60)
FILES_A_RUN = 64
FIRST_STATISTICS_REACH = timedelta(days=30)
FIRST_FUNDING_REACH = timedelta(days=365)
# A rate is ranked among the last 90 settlements, every 8 hours at the least; a day more, in which one may be missing.
RANKED_FUNDING = timedelta(days=31)
