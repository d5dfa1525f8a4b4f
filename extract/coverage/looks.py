"""How often a range is looked at for which no rows came: the schedule of coverage.md, without a database.

A range that was answered without rows is asked again in the next run, then 1 hour, 6 hours, 1, 3, 7 and 30 days after the
first look (from a day on: at the midnight after it); then it rests for good. A look in between counts as the one before
it, so that a run every five minutes makes no more requests of it than a run a day.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from extract.calendar.windows import Window, merged, missing

AGAIN_AFTER = tuple(timedelta(hours=hours) for hours in (1, 6, 24, 3 * 24, 7 * 24, 30 * 24))


@dataclass(frozen=True)
class Look:
    """The ranges that a source answered for without rows: in `times` runs, at first and at last at these instants."""

    windows: tuple[Window, ...]
    times: int
    first_at: datetime
    last_at: datetime


@dataclass(frozen=True)
class Seen:
    """All looks at one range, put together."""

    window: Window
    times: int = 0
    first_at: datetime | None = None
    last_at: datetime | None = None

    @property
    def next_at(self) -> datetime | None:
        """When to look again; None = never."""
        if self.first_at is None or self.last_at is None or self.times < 2:
            return self.last_at or datetime.min.replace(tzinfo=self.window[0].tzinfo)
        return next((at for after in AGAIN_AFTER if (at := _due(self.first_at, after)) > self.last_at), None)

    def is_due(self, now: datetime) -> bool:
        return self.next_at is not None and self.next_at <= now


def _due(first_at: datetime, after: timedelta) -> datetime:
    """Looks of a day and more later at midnight, so that what was missed on one day is asked for in one request."""
    at = first_at + after
    if after < timedelta(days=1):
        return at
    return at.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)


def seen(windows: Iterable[Window], looks: Sequence[Look]) -> list[Seen]:
    """The windows, divided where what is known of them differs, each part with all looks at it."""
    parts = []
    for start, end in windows:
        held = [(look, begin, stop) for look in looks for begin, stop in look.windows if begin < end and stop > start]
        bounds = sorted({start, end} | {edge for _, *edges in held for edge in edges if start < edge < end})
        for begin, stop in zip(bounds, bounds[1:], strict=False):
            mine = [look for look, first, last in held if first <= begin and last >= stop]
            if not mine:
                parts.append(Seen((begin, stop)))
                continue
            first_at, last_at = min(look.first_at for look in mine), max(look.last_at for look in mine)
            parts.append(Seen((begin, stop), sum(look.times for look in mine), first_at, last_at))
    return parts


def resting(covered: Sequence[Window], looks: Sequence[Look], now: datetime) -> list[Window]:
    """What was looked at, is not covered, and is not due: `covered` is disjoint and in order."""
    looked = merged(window for look in looks for window in look.windows)
    vain = [gap for start, end in looked for gap in missing(start, end, covered)]
    return merged(part.window for part in seen(vain, looks) if not part.is_due(now))
