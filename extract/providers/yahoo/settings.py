"""Yahoo's chart endpoint: intervals and how far back each reaches (see README.md)."""

from __future__ import annotations

from datetime import timedelta

CHART = "https://query2.finance.yahoo.com/v8/finance/chart/"
INTERVALS = {"5m": "5m", "15m": "15m", "30m": "30m", "1h": "1h", "1d": "1d", "1w": "1wk"}
# A few minutes short of Yahoo's 60 and 730 days: the limit moves on while the request travels.
REACH = {
    **{timeframe: timedelta(days=60, minutes=-10) for timeframe in ("5m", "15m", "30m")},
    "1h": timedelta(days=730, minutes=-10),
}
# Bars of a window that ends longer ago may be divided by splits that its answer does not report (dbt: int_basis_answers has
# the same). Days without a session have no answer, and no split.
EVENTS_DUE = {**dict.fromkeys(INTERVALS, timedelta(days=4)), "1w": timedelta(days=1)}
