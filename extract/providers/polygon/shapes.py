"""What Polygon documents of its answers; see extract/providers/shapes.py."""

from __future__ import annotations

from extract.providers.shapes import MILLISECONDS, UNREAD, Field, Shape, fields, optional

_AROUND = (Field("status", "text"), Field("request_id", "text", harm=UNREAD))
_AGGREGATES = (
    fields(dict.fromkeys("tohlcv", "number")) + optional(("vw", "n"), "number") + optional(("otc",), "boolean")
)

SHAPES: dict[str, Shape] = {
    "bars": Shape(
        _AGGREGATES,
        ("results",),
        (
            *_AROUND,
            Field("ticker", "text"),
            Field("adjusted", "boolean"),
            *fields({"queryCount": "whole number", "resultsCount": "whole number"}, UNREAD),
        ),
        ordered_by="t",
        unit=MILLISECONDS,
        others=frozenset({"count", "next_url"}),
    ),
    "grouped_daily": Shape(
        (*_AGGREGATES, Field("T", "text")),
        ("results",),
        (*_AROUND, Field("adjusted", "boolean")),
        unit=MILLISECONDS,
        others=frozenset({"count", "queryCount", "resultsCount"}),
    ),
    "splits": Shape(
        fields({"execution_date": "text", "ticker": "text", "split_from": "number", "split_to": "number"}),
        ("results",),
        _AROUND,
        ordered_by="execution_date",
        others=frozenset({"id", "next_url", "adjustment_type", "historical_adjustment_factor"}),
    ),
    "dividends": Shape(
        fields({"ex_dividend_date": "text", "ticker": "text", "cash_amount": "number"})
        + optional(("id", "currency", "dividend_type", "declaration_date", "pay_date", "record_date"), "text")
        + optional(("frequency",), "whole number"),
        ("results",),
        _AROUND,
        ordered_by="ex_dividend_date",
        others=frozenset(
            {"next_url", "distribution_type", "split_adjusted_cash_amount", "historical_adjustment_factor"}
        ),
    ),
    "tickers": Shape(
        fields({"ticker": "text", "active": "boolean"}),
        ("results",),
        _AROUND,
        others=frozenset(
            {
                "name",
                "market",
                "locale",
                "primary_exchange",
                "type",
                "currency_name",
                "cik",
                "composite_figi",
                "share_class_figi",
                "last_updated_utc",
                "delisted_utc",
                "count",
                "next_url",
                "currency_symbol",
                "base_currency_name",
                "base_currency_symbol",
            }
        ),
    ),
    "market_status": Shape(
        fields({"market": "text", "serverTime": "text"}, UNREAD),
        others=frozenset({"earlyHours", "afterHours", "exchanges", "currencies", "indicesGroups"}),
    ),
    "market_holidays": Shape(
        fields({"date": "text", "exchange": "text", "name": "text", "status": "text"}, UNREAD),
        others=frozenset({"open", "close"}),
    ),
}
