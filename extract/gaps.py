"""The gaps that dbt has found and that a request may close: `marts.bar_gaps` read back.

Data flow: marts.bar_gaps -> windows per series -> the first source that has not answered for them yet.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime

from extract import database, planner
from extract.planner import Series
from extract.provider import Provider
from extract.responses import Task
from extract.state import Loaded
from extract.windows import Window, merged, missing

# The newest gaps of a series that one run asks for.
GAPS_A_RUN = 10


def repair_tasks(
    wanted: Sequence[Series], providers: dict[str, Provider], loaded: dict[str, Loaded], now: datetime
) -> dict[str, list[Task]]:
    """Per source, what to ask for the gaps of the series. A source that has answered for a gap is not asked again."""
    tasks: dict[str, list[Task]] = defaultdict(list)
    gaps = _fetchable()
    for series in wanted:
        for gap in gaps.get(series.key, []):
            for source in series.sources:
                covered = loaded[source].bars(series.asset.symbol, series.asset.asset_class, series.timeframe)
                if windows := missing(*gap, covered):
                    tasks[source] += planner.plan_repair(series, providers[source], windows, now)
                    break
    return tasks


def _fetchable() -> dict[tuple[str, str], list[Window]]:
    """The windows to ask for per (symbol, timeframe), none before dbt has built `bar_gaps`."""
    with database.pool().connection() as connection:
        if connection.execute("select to_regclass('marts.bar_gaps')").fetchone() == (None,):
            return {}
        rows = connection.execute(
            "select symbol, timeframe, gap_from, gap_to from marts.bar_gaps"
            " where repair_state = 'open' order by gap_to desc"
        ).fetchall()
    gaps: dict[tuple[str, str], list[Window]] = defaultdict(list)
    for symbol, timeframe, gap_from, gap_to in rows:
        if len(gaps[symbol, timeframe]) < GAPS_A_RUN:
            gaps[symbol, timeframe].append((gap_from, gap_to))
    return {key: merged(windows) for key, windows in gaps.items()}
