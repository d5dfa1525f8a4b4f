"""Rows of scaled integers to text, vectorised: a page costs array operations, not a Python loop over its rows.

Every cell is laid out in a fixed width of bytes with NUL as padding; one boolean index then squeezes the padding out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from scripts.simulator.bars import Ints

Bytes = npt.NDArray[np.uint8]


@dataclasses.dataclass(frozen=True)
class Decimal:
    """A column of integers to print as decimals with ``scale`` places; ``trim`` drops zeros at the end (0.5)."""

    values: Ints
    scale: int = 0
    trim: bool = False


@dataclasses.dataclass(frozen=True)
class Text:
    """Encoded rows in one buffer; row i ends at ``ends[i]``."""

    data: bytes
    ends: Ints

    def rows(self, first: int, last: int) -> memoryview:
        """The text of rows [first, last), not copied."""
        if first >= last:
            return memoryview(b"")
        return memoryview(self.data)[int(self.ends[first - 1]) if first else 0 : int(self.ends[last - 1])]


def listed(pieces: Sequence[memoryview]) -> list[memoryview]:
    """Pieces of rows without the comma behind the last row."""
    kept = [piece for piece in pieces if len(piece)]
    return [*kept[:-1], kept[-1][:-1]] if kept else []


def encode_rows(parts: Sequence[bytes | Decimal], count: int) -> Text:
    """Rows made of the parts in order: literal bytes and decimals."""
    cells = [
        np.broadcast_to(np.frombuffer(part, np.uint8)[:, None], (len(part), count))
        if isinstance(part, bytes)
        else _digits(part)
        for part in parts
    ]
    page = np.ascontiguousarray(np.concatenate(cells).T)
    kept = page != 0
    return Text(page[kept].tobytes(), np.cumsum(kept.sum(axis=1)))


def _digits(column: Decimal) -> Bytes:
    values = np.abs(column.values)
    width = max(len(str(int(values.max(initial=0)))), column.scale + 1)
    point = 1 if column.scale else 0
    out = np.zeros((1 + width + point, len(values)), np.uint8)  # one place a row: contiguous writes
    out[0] = np.where(column.values < 0, ord("-"), 0)
    rest = values
    seen = np.zeros(len(values), bool)  # a digit other than 0 was met in the fraction
    for place in range(width):  # from the last digit to the first
        higher = rest // 10
        digit = rest - higher * 10
        if place < column.scale:
            if column.trim:
                seen |= digit != 0
                out[width + point - place] = np.where(seen, digit + 48, 0)
            else:
                out[width + point - place] = digit + 48
        else:
            if place == column.scale and point:
                out[width - place + 1] = np.where(seen, ord("."), 0) if column.trim else ord(".")
            shown = (rest != 0) | (place == column.scale)
            out[width - place] = np.where(shown, digit + 48, 0)
        rest = higher
    return out
