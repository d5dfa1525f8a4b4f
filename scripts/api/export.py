"""Bars as CSV or Parquet, streamed: Postgres writes CSV with exact numbers, Arrow turns it into Parquet, a piece at a
time. Nobody holds the whole range in memory."""

from __future__ import annotations

import asyncio
import io
import re
from collections.abc import AsyncIterator
from typing import Any

from scripts.api.bar_queries import Column

# Postgres hands over one chunk a row; sent singly they cost more than they carry.
CSV_PIECE = 1 << 16
# A row group of Parquet; about 5,000 bars with all columns.
PARQUET_PIECE = 2 << 20


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


async def parquet(chunks: AsyncIterator[bytes], columns: tuple[Column, ...]) -> AsyncIterator[bytes]:
    """CSV without a header, as Parquet: decimals as wide as the table's, times in UTC."""
    # In threads: the first import of Arrow takes seconds, and compressing takes the event loop's time.
    writer = await asyncio.to_thread(_Writer, columns)
    async for piece in pieces(chunks, PARQUET_PIECE):
        yield await asyncio.to_thread(writer.add, piece)
    yield await asyncio.to_thread(writer.end)


class _Writer:
    def __init__(self, columns: tuple[Column, ...]) -> None:
        import pyarrow as arrow
        import pyarrow.parquet

        self._buffer = io.BytesIO()
        self._schema = arrow.schema([(column.name, _type(arrow, column.data_type)) for column in columns])
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


def _type(arrow: Any, data_type: str) -> Any:
    """The Arrow type that holds all values of a Postgres type."""
    if found := re.fullmatch(r"numeric\((\d+),(\d+)\)", data_type):
        return arrow.decimal128(int(found[1]), int(found[2]))
    return {
        "bigint": arrow.int64(), "integer": arrow.int32(), "boolean": arrow.bool_(), "date": arrow.date32(),
        "timestamp with time zone": arrow.timestamp("us", tz="UTC"),
    }.get(data_type, arrow.string())  # fmt: skip
