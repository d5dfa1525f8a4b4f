"""The gaps that dbt has found and that a request may close: `marts.bar_gaps` read back.

Data flow: marts.bar_gaps -> the open gaps that are due -> the source whose turn it is, per series.

A gap is asked of each source of its series in turn, then of the one that was asked the longest ago, as often as the
schedule says (docs/reference/coverage.md). It is asked for with the bars on both sides of it: an answer that has these and not
the missing ones is evidence, an empty one is none.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from psycopg.rows import class_row

from extract.calendar.timeframes import STEPS
from extract.calendar.windows import Window, merged
from extract.core import database
from extract.coverage import attempts
from extract.load.responses import Task
from extract.plan import planner
from extract.plan.planner import Series
from extract.providers.base import Provider

# The gaps of a series that one run asks for, those that wait the longest first.
GAPS_A_RUN = 10
# So many are looked through for these: of some nobody is to be asked now.
GAPS_LOOKED_THROUGH = 50
# So far around a gap there are bars of its market: a long weekend, and a bar where it never closes.
AROUND_STOCKS = timedelta(days=4)
# What is missing after the newest bar is late, and asked for in each run; so much later it is a gap.
LATE_FOR = timedelta(days=2)
# A source that fails on a gap is not asked for it more often.
FAILED_AGAIN_AFTER = timedelta(days=1)
NEVER = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Gap:
    """An open gap as the last build classified it."""

    symbol: str
    timeframe: str
    gap_from: datetime
    gap_to: datetime
    place: str
    # The sources that answered for it, ", " between them.
    answered_by: str | None
    # When it was classified, and when the schedule wants it looked at again.
    updated_at: datetime
    next_look_at: datetime | None


def repair_tasks(wanted: Sequence[Series], providers: dict[str, Provider], now: datetime) -> dict[str, list[Task]]:
    """Per source, what to ask for the gaps of the series; never a source beyond its reach."""
    chosen = _candidates(wanted, providers, now)
    asked = {
        source: attempts.attempts(source, [(one.gap.symbol, one.gap.timeframe, one.window) for one in chosen])
        for source in providers
    }
    windows: dict[tuple[Series, str], list[Window]] = defaultdict(list)
    taken: dict[Series, int] = defaultdict(int)
    for place, one in enumerate(chosen):
        last = {source: asked[source][place] or NEVER for source in one.sources}
        if taken[one.series] < GAPS_A_RUN and (source := turn(one.gap, last, now)):
            windows[one.series, source].append(one.window)
            taken[one.series] += 1
    tasks: dict[str, list[Task]] = defaultdict(list)
    for (series, source), found in windows.items():
        tasks[source] += planner.plan_repair(series, providers[source], merged(found), now)
    return tasks


@dataclass(frozen=True)
class _Candidate:
    """A gap of a series, the window to ask for, and the sources that reach it, best first."""

    series: Series
    gap: Gap
    window: Window
    sources: tuple[str, ...]


def _candidates(wanted: Sequence[Series], providers: dict[str, Provider], now: datetime) -> list[_Candidate]:
    gaps = _open_gaps()
    chosen = []
    for series in wanted:
        looked_through = 0
        for gap in gaps.get(series.key, []):
            window = around(series, gap)
            sources = tuple(
                source
                for source in series.sources
                if not planner.beyond_reach(series, providers[source], [window], now)
            )
            if not sources or (gap.place == "after" and gap.gap_to > now - LATE_FOR):
                continue
            chosen.append(_Candidate(series, gap, window, sources))
            looked_through += 1
            if looked_through == GAPS_LOOKED_THROUGH:
                break
    return chosen


def turn(gap: Gap, last: dict[str, datetime], now: datetime) -> str | None:
    """The source to ask for a gap; `last` says when each was last asked for it, the best source first."""
    answered = (gap.answered_by or "").split(", ")
    fresh = next((source for source, at in last.items() if at == NEVER and source not in answered), None)
    if fresh or not last:
        return fresh
    newest = max(last.values())
    due_at = gap.next_look_at or gap.updated_at
    # Whoever was asked after that has not been classified yet, or has failed.
    if due_at > now or newest > max(due_at, now - FAILED_AGAIN_AFTER):
        return None
    return min(last, key=lambda source: last[source])


def around(series: Series, gap: Gap) -> Window:
    """The window to ask for: the gap and the nearest bars on both sides."""
    margin = STEPS[series.timeframe]
    if series.asset.asset_class != "crypto":
        margin = max(margin, AROUND_STOCKS)
    return gap.gap_from - margin, gap.gap_to + margin


def _open_gaps() -> dict[tuple[str, str], list[Gap]]:
    """The open gaps per (symbol, timeframe), those that wait the longest first; none before dbt has built `bar_gaps`."""
    with database.pool().connection() as connection:
        columns = {
            name
            for (name,) in connection.execute(
                "select column_name from information_schema.columns where table_schema = 'marts' and table_name = 'bar_gaps'"
            )
        }
        if not columns:
            return {}
        # The build of an earlier version knew no schedule.
        next_look_at = "next_look_at" if "next_look_at" in columns else "cast(null as timestamptz)"
        gaps: dict[tuple[str, str], list[Gap]] = defaultdict(list)
        with connection.cursor(row_factory=class_row(Gap)) as cursor:
            for gap in cursor.execute(
                f"select symbol, timeframe, gap_from, gap_to, place, answered_by, updated_at, {next_look_at} as next_look_at"
                " from marts.bar_gaps where repair_state = 'open' and verdict <> 'closed session'"
                " order by next_look_at asc nulls first, gap_to desc"
            ):
                gaps[gap.symbol, gap.timeframe].append(gap)
    return gaps
