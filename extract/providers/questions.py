"""Whether an answer answers the question that was asked: symbol, interval, adjustment, window. All times in ms UTC.

A single stray row is dbt's to leave out; an answer that is about something else is no answer, and BadPayload says what
was asked and what came.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeGuard

from extract.calendar.timeframes import A_DAY, DAY, STEPS, floor
from extract.load.responses import BadPayload, Task

# Instants that Python can hold, and that an answer can mean: 1970 to 2200.
_LATEST = 7_258_118_400_000
# How unlikely it must be that the bars of a thin series lie on a coarser alignment by chance.
_CHANCE = 1e-9
_LOOKS = 16


def instant(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def number(value: object) -> int | None:
    """Milliseconds as a provider writes them, as a number or as text; None where that is no instant."""
    if isinstance(value, str) and value.isascii() and value.strip().isdigit():
        value = int(value) if len(value) < 20 else None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _LATEST:
        return None
    return value


def times_of(values: Sequence[Any]) -> list[int]:
    """Those of the values that are instants. Raises BadPayload where there are rows and not one of them is stamped."""
    try:
        # Nearly always they all are, and 50,000 of them are quickly compared.
        if all(type(value) is int for value in (values[0], values[-1])) and 0 <= min(values) <= max(values) <= _LATEST:
            return values if isinstance(values, list) else list(values)
    except (TypeError, IndexError):
        pass
    times = [found for value in values if (found := number(value)) is not None]
    if values and not times:
        raise BadPayload(
            f"none of its {len(values)} rows has a time stamp that can be read, e.g. {str(values[0])[:50]!r}"
        )
    return times


def of_bars(stamps: Sequence[Any], prices: Sequence[object]) -> Sequence[Any]:
    """The stamps of the rows that have a price: what is newer than the newest bar stays open, and rows without one (Yahoo
    lists the minutes that it has not got yet) are no bars.

    Raises BadPayload where there are rows and not one price: such an answer says nothing.
    """
    # Only the ends say how far an answer reaches, and nearly always they have their price.
    if not stamps or (is_positive(prices[0]) and is_positive(prices[-1])):
        return stamps
    found = [stamp for stamp, price in zip(stamps, prices, strict=True) if is_positive(price)]
    if not found:
        raise BadPayload(f"none of its {len(stamps)} rows has a price")
    return found


def is_positive(value: object) -> TypeGuard[int | float | str]:
    """Whether a value, as a number or as text, is a finite number above zero."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return False
    try:
        return 0 < float(value) < float("inf")
    except (ValueError, OverflowError):
        return False


def about(asked: str | None, named: Iterable[object], what: str = "symbol") -> None:
    """The rows must be about what was asked; a row that names nothing is not compared with the answer."""
    names = [name for name in named if isinstance(name, str) and name]
    if asked is None or not names:
        return
    others = [name for name in names if name.casefold() != asked.casefold()]
    if len(others) * 2 > len(names):
        raise BadPayload(f"asked for {what} {asked}, got {others[0][:50]!r}")


def inside(task: Task, times: list[int], shift: timedelta = timedelta(), end: datetime | None = None) -> list[int]:
    """The times that lie in the task's window (or up to `end`), moved by `shift` before they are compared.

    Raises BadPayload where rows came and none of them is inside. Where some are, they are right, and the strays are refused
    one by one in staging: a server that rounds its windows outward is no drift.
    """
    if not times:
        return times
    first, last = ((one - shift).timestamp() * 1000 for one in (task.start, end or task.end))
    earliest, latest = min(times), max(times)
    if first <= earliest and latest < last:
        return times
    found = [time for time in times if first <= time < last]
    if not found:
        raise BadPayload(
            f"asked for {task.start:%Y-%m-%d %H:%M} to {task.end:%Y-%m-%d %H:%M}, got {len(times)} rows from"
            f" {instant(earliest):%Y-%m-%d %H:%M} to {instant(latest):%Y-%m-%d %H:%M}, none of them inside"
        )
    return found


def ends(times: list[int], shift: timedelta = timedelta()) -> tuple[datetime | None, datetime | None]:
    """When the first and the last row begin."""
    if not times:
        return None, None
    return instant(min(times)) + shift, instant(max(times)) + shift


def lengths(task: Task, rows: Sequence[Any], length: Callable[[Any], int | None]) -> None:
    """Each row says how long its bar is (ms): most must be as long as was asked."""
    assert task.timeframe is not None
    asked = STEPS[task.timeframe] // timedelta(milliseconds=1)
    places = {0, len(rows) // 2, len(rows) - 1} if rows else set()
    if all(length(rows[place]) in (asked, None) for place in places):
        return
    found = [one for row in rows if (one := length(row)) is not None]
    others = [one for one in found if one != asked]
    if len(others) * 2 > len(found):
        raise BadPayload(f"asked for {task.timeframe} bars, got bars of {timedelta(milliseconds=others[0])}")


def spacing(task: Task, times: list[int]) -> None:
    """Bars that do not say how long they are: they must lie as far apart as was asked, and not always farther."""
    assert task.timeframe is not None
    if task.timeframe == DAY:
        _at_midnight(task, times)
    if len(times) < 2:
        return
    step = STEPS[task.timeframe] // timedelta(milliseconds=1)
    if step < 3_600_000 * 4:
        _on_grid(task, times, step)
    else:
        _apart(task, times, step)


def _at_midnight(task: Task, times: list[int]) -> None:
    zone = task.market.zone if task.asset_class else UTC
    looks = times[:: max(1, len(times) // _LOOKS)]
    off = [at for time in looks if floor(at := instant(time), DAY, zone) != at]
    if len(off) * 3 >= len(looks) and off:
        raise BadPayload(
            f"asked for {DAY} bars, got bars that begin at {off[0]:%H:%M} UTC, no midnight of the market's"
        )


def _on_grid(task: Task, times: list[int], step: int) -> None:
    looks = times[:: max(1, len(times) // _LOOKS)]
    if any(time % step for time in looks) and sum(time % step != 0 for time in times) * 3 >= len(times):
        raise BadPayload(f"asked for {task.timeframe} bars, got bars that begin at other times than those do")
    for name, longer in STEPS.items():
        coarse = longer // timedelta(milliseconds=1)
        if coarse > step and coarse % step == 0 and longer <= A_DAY:
            enough = math.log(_CHANCE) / math.log(step / coarse)
            if len(times) >= enough and len({time % coarse for time in looks}) <= 2 and _are(times, coarse, task):
                raise BadPayload(f"asked for {task.timeframe} bars, got {name} bars")


def _are(times: list[int], step: int, task: Task) -> bool:
    """Whether these are bars of that length: one after the other, on its alignment. A thin stock that trades in the closing
    auction alone has bars at one time of day, too, but no hour after another, and none at midnight."""
    remainders = {time % step for time in times}
    if step == A_DAY // timedelta(milliseconds=1):
        return all(floor(at := instant(time), DAY, task.market.zone) == at for time in times)
    ordered = sorted(set(times))
    gaps = [later - earlier for earlier, later in zip(ordered, ordered[1:], strict=False)]
    return len(remainders) == 1 and sum(gap == step for gap in gaps) * 2 > len(gaps)


def _apart(task: Task, times: list[int], step: int) -> None:
    ordered = sorted(set(times))
    gaps = [later - earlier for earlier, later in zip(ordered, ordered[1:], strict=False)]
    # A day may have 23 hours, and four of its hours three.
    short = [gap for gap in gaps if gap < step * 0.7]
    if len(short) * 3 >= len(gaps) and gaps:
        raise BadPayload(
            f"asked for {task.timeframe} bars, got bars that begin {timedelta(milliseconds=short[0])} apart"
        )
    # A whole year of days that are a week apart, not one of them two days after another.
    if task.timeframe == DAY and len(gaps) >= 26 and min(gaps) > 4 * step:
        raise BadPayload(f"asked for {DAY} bars, got bars that begin a week apart or more")
