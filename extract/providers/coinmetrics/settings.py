"""Coin Metrics' limits and paths. Source: its API v4 documentation (see README.md)."""

from __future__ import annotations

from datetime import timedelta

PATH = "/v4/timeseries/asset-metrics"
METRIC = "FlowInExNtv"
# One page for any history; the API's own default is 100.
PAGE_SIZE = 10_000
# Community limit: this many requests in any 6 s, per address.
REQUESTS = 10
SECONDS = 6

FIRST_REACH = timedelta(days=730)
# A day's first figure appears on the next day and is revised for some more.
REVISED_FOR = timedelta(days=7)
# A window of this length without a single value is no answer: the newest days alone may still be unpublished.
NEVER_EMPTY = timedelta(days=8)
