"""What Binance documents of its answers; see extract/providers/shapes.py."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from extract.providers.binance.settings import FUNDING_ROWS, SPOT_KLINES, STATISTICS_ROWS
from extract.providers.shapes import MILLISECONDS, REJECTED, Field, Shape, fields

_KLINE_KINDS = (
    "whole number", "text", "text", "text", "text", "text", "whole number", "text", "whole number", "text", "text", "text",
)  # fmt: skip
_KLINES = tuple(Field(str(place), kind, harm=REJECTED) for place, kind in enumerate(_KLINE_KINDS))
_STATISTICS = fields({"timestamp": "whole number"})
_WEIGHT = ("x-mbx-used-weight-1m",)

SHAPES: dict[str, Shape] = {
    "spot klines": Shape(_KLINES, ordered_by="0", unit=MILLISECONDS, cap=SPOT_KLINES[1], headers=_WEIGHT),
    "futures klines": Shape(_KLINES, ordered_by="0", unit=MILLISECONDS, cap=1000, headers=_WEIGHT),
    "funding": Shape(
        fields({"symbol": "text", "fundingTime": "whole number", "fundingRate": "text"}),
        ordered_by="fundingTime",
        unit=MILLISECONDS,
        cap=FUNDING_ROWS,
        others=frozenset({"markPrice", "rateType"}),
    ),
    "open_interest_now": Shape(
        fields({"openInterest": "text", "symbol": "text", "time": "whole number"}), unit=MILLISECONDS
    ),
    "open_interest": Shape(
        _STATISTICS + fields({"symbol": "text", "sumOpenInterest": "text", "sumOpenInterestValue": "text"}),
        ordered_by="timestamp",
        unit=MILLISECONDS,
        cap=STATISTICS_ROWS,
        others=frozenset({"CMCCirculatingSupply"}),
    ),
    "long_short_ratio": Shape(
        _STATISTICS
        + fields({"symbol": "text", "longShortRatio": "text", "longAccount": "text", "shortAccount": "text"}),
        ordered_by="timestamp",
        unit=MILLISECONDS,
        cap=STATISTICS_ROWS,
    ),
    "taker_ratio": Shape(
        _STATISTICS + fields({"buySellRatio": "text", "buyVol": "text", "sellVol": "text"}),
        ordered_by="timestamp",
        unit=MILLISECONDS,
        cap=STATISTICS_ROWS,
    ),
}

# The first line of the archive's files; klines of the spot market have none.
ARCHIVE_HEADERS: dict[str, list[str] | None] = {
    "spot klines": None,
    "futures klines": [
        "open_time", "open", "high", "low", "close", "volume", "close_time", "quote_volume", "count",
        "taker_buy_volume", "taker_buy_quote_volume", "ignore",
    ],
    "metrics": [
        "create_time", "symbol", "sum_open_interest", "sum_open_interest_value", "count_toptrader_long_short_ratio",
        "sum_toptrader_long_short_ratio", "count_long_short_ratio", "sum_taker_long_short_vol_ratio",
    ],
    "funding": ["calc_time", "funding_interval_hours", "last_funding_rate"],
}  # fmt: skip
# From this day on the spot archive's times are microseconds.
SPOT_FILES_IN_MICROSECONDS_FROM = datetime(2025, 1, 1, tzinfo=UTC)
# From this instant on a sample's label is the start of its period (reported; docs/reference/providers.md), before it the end.
LABELS_ARE_STARTS_FROM = datetime(2026, 6, 25, tzinfo=UTC)
# For so long after a period's end its sample may not be there yet: starts cannot be distinguished from ends then.
PUBLISHED_WITHIN = timedelta(minutes=1)
