"""What Coin Metrics documents of its answers; see extract/providers/shapes.py."""

from __future__ import annotations

from extract.providers.coinmetrics.settings import METRIC
from extract.providers.shapes import Shape, fields

SHAPES: dict[str, Shape] = {
    "exchange_inflow": Shape(
        fields({"asset": "text", "time": "text", METRIC: "text"}),
        ("data",),
        ordered_by="time",
        headers=("X-RateLimit-Remaining",),
        others=frozenset({"next_page_token", "next_page_url"}),
    ),
}
