"""Arithmetic on half-open windows [start, end) of time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta

Window = tuple[datetime, datetime]


def merged(windows: Iterable[Window]) -> list[Window]:
    """The same time as disjoint windows in order; touching ones become one."""
    joined: list[Window] = []
    for start, end in sorted(windows):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((start, end))
    return joined


def missing(start: datetime, end: datetime, covered: Sequence[Window]) -> list[Window]:
    """The parts of [start, end) that no covered window holds; `covered` is disjoint and in order."""
    gaps = []
    for covered_start, covered_end in covered:
        if covered_start >= end:
            break
        if covered_start > start:
            gaps.append((start, covered_start))
        start = max(start, covered_end)
    if start < end:
        gaps.append((start, end))
    return gaps


def common(one: Iterable[Window], other: Sequence[Window]) -> list[Window]:
    """The time that both sets of windows hold."""
    return merged((max(a, c), min(b, d)) for a, b in one for c, d in other if max(a, c) < min(b, d))


def chunks(start: datetime, end: datetime, step: timedelta) -> Iterator[Window]:
    """[start, end) in pieces of at most `step`."""
    while start < end:
        stop = min(start + step, end)
        yield start, stop
        start = stop
