"""What Yahoo documents of its answers; see extract/providers/shapes.py."""

from __future__ import annotations

from extract.providers.shapes import UNREAD, Shape, fields

SHAPES: dict[str, Shape] = {
    "bars": Shape(
        fields(dict.fromkeys(("open", "high", "low", "close", "volume"), "array")),
        ("chart", "result", "0", "indicators", "quote", "0"),
    ),
}
META = fields(
    {"symbol": "text", "exchangeTimezoneName": "text", "dataGranularity": "text"}
) + fields({"currency": "text", "gmtoffset": "whole number", "instrumentType": "text"}, UNREAD)  # fmt: skip
