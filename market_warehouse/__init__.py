"""Bars as DataFrames: `from market_warehouse import bars`.

    bars(["AAPL", "BTC"], "1d", start="2024-01-01", columns="close,sma_20", adjusted=True, as_of="2024-06-01")

`symbols()` lists what there is, from when to when.

Data flow: the warehouse's database (or its HTTP API) -> Arrow -> pandas, polars or Arrow. It only reads.
"""

from __future__ import annotations

from market_warehouse.errors import BadQuestion, UnknownSymbol, WarehouseUnavailable
from market_warehouse.frames import bars, symbols

__all__ = ["BadQuestion", "UnknownSymbol", "WarehouseUnavailable", "bars", "symbols"]
