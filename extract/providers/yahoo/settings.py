"""Yahoo's chart endpoint: intervals and how far back each reaches (see README.md)."""

from __future__ import annotations

from datetime import timedelta

from extract.calendar.timeframes import A_DAY, STEPS, WEEK, native

HOUR = timedelta(hours=1)
CHART = "https://query2.finance.yahoo.com/v8/finance/chart/"
INTERVALS = native("yahoo")
# What a fund sells its holdings for is paid out like a dividend.
EVENTS = "div,splits,capitalGains"
# A few minutes short of Yahoo's 60 and 730 days: the limit moves on while the request travels.
REACH = {
    timeframe: timedelta(days=60 if STEPS[timeframe] < HOUR else 730, minutes=-10)
    for timeframe in INTERVALS
    if STEPS[timeframe] < A_DAY
}
# Bars of a window that ends longer ago may be divided by splits that its answer does not report (dbt: int_basis_answers has
# the same). Days without a session have no answer, and no split.
EVENTS_DUE = {**dict.fromkeys(STEPS, timedelta(days=4)), WEEK: timedelta(days=1)}
