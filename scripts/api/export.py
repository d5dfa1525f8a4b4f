"""Bars as CSV or Parquet, streamed: Postgres writes CSV with exact numbers, Arrow turns it into Parquet, a piece at a
time. Nobody holds the whole range in memory."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from typing import Any

from scripts.api.queries import NUMBERS

# Postgres hands over one chunk a row; sent singly they cost more than they carry.
CSV_PIECE = 1 << 16
# A row group of Parquet; about 5,000 bars with all columns.
PARQUET_PIECE = 2 << 20

_SCALES = {
    "open": (19, 10), "high": (19, 10), "low": (19, 10), "close": (19, 10), "atr": (19, 10), "true_range": (19, 10),
    "hlc3": (19, 10), "sma_20": (19, 10), "sma_50": (19, 10), "vwap_20": (19, 10), "split_factor": (38, 24),
    "volume": (28, 8), "open_interest": (28, 8), "liquidations_long": (28, 8), "liquidations_short": (28, 8),
    "taker_buy_volume": (28, 8), "taker_sell_volume": (28, 8), "rolling_volume_20": (28, 8), "delta": (28, 8),
    "exchange_inflow": (28, 8), "liquidation_intensity": (19, 8), "volume_spike_score": (19, 8),
    "funding_rate_percentile": (5, 2), "quality_score": (3, 2), "data_completeness": (3, 2),
}  # fmt: skip


async def pieces(chunks: AsyncIterator[bytes], size: int) -> AsyncIterator[bytes]:
    """The chunks, joined to about `size` bytes; a piece ends where a row does."""
    parts: list[bytes] = []
    held = 0
    async for chunk in chunks:
        parts.append(chunk)
        held += len(chunk)
        if held >= size:
            yield b"".join(parts)
            parts, held = [], 0
    if parts:
        yield b"".join(parts)


async def parquet(chunks: AsyncIterator[bytes], columns: tuple[str, ...]) -> AsyncIterator[bytes]:
    """CSV without a header, as Parquet: decimals as wide as the table's, times in UTC."""
    # In threads: the first import of Arrow takes seconds, and compressing takes the event loop's time.
    writer = await asyncio.to_thread(_Writer, columns)
    async for piece in pieces(chunks, PARQUET_PIECE):
        yield await asyncio.to_thread(writer.add, piece)
    yield await asyncio.to_thread(writer.end)


class _Writer:
    def __init__(self, columns: tuple[str, ...]) -> None:
        import pyarrow as arrow
        import pyarrow.parquet

        self._buffer = io.BytesIO()
        self._schema = arrow.schema([(column, _type(arrow, column)) for column in columns])
        self._writer = pyarrow.parquet.ParquetWriter(self._buffer, self._schema, compression="zstd")

    def add(self, piece: bytes) -> bytes:
        from pyarrow import csv

        table = csv.read_csv(
            io.BytesIO(piece),
            read_options=csv.ReadOptions(column_names=self._schema.names),
            parse_options=csv.ParseOptions(newlines_in_values=True),
            convert_options=csv.ConvertOptions(
                column_types=self._schema,
                null_values=[""],
                true_values=["t"],
                false_values=["f"],
                # Postgres writes an absent value as nothing, an empty text as "".
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
                timestamp_parsers=["%Y-%m-%d %H:%M:%S%z", csv.ISO8601],
            ),
        )
        self._writer.write_table(table)
        return self._taken()

    def end(self) -> bytes:
        self._writer.close()
        return self._taken()

    def _taken(self) -> bytes:
        written = self._buffer.getvalue()
        self._buffer.seek(0)
        self._buffer.truncate()
        return written


def _type(arrow: Any, column: str) -> Any:
    if column in NUMBERS:
        return arrow.decimal128(*_SCALES.get(column, (11, 8)))
    if column in ("timestamp", "fetched_at", "computed_at", "updated_at"):
        return arrow.timestamp("us", tz="UTC")
    return {
        "id": arrow.int64(), "amended_from": arrow.int64(), "revision": arrow.int32(),
        "is_validated": arrow.bool_(), "gap_detected": arrow.bool_(), "volume_anomaly": arrow.bool_(),
        "session_date": arrow.date32(),
    }.get(column, arrow.string())  # fmt: skip
