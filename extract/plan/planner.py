"""Which requests to make: from the registry, what is loaded, and what each source reaches, the fewest that do.

Data flow: registry + calendar + `Known` + clock -> `Series` -> `Task`s, the ones that fall out of a source's reach first.
What is asked for when is written down in docs/reference/coverage.md.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from extract.calendar.calendars import Calendar
from extract.calendar.timeframes import A_DAY, FIRST_REACH, STEPS, day_start, floor
from extract.calendar.windows import Window, common, merged, missing
from extract.core import settings
from extract.coverage.looks import seen
from extract.coverage.state import Known
from extract.load.responses import Task
from extract.providers.base import Provider
from extract.symbols.registry import Asset

# How far back each run re-reads for amendments: five sessions are seven days.
STOCK_LOOKBACK = timedelta(days=7)
CRYPTO_LOOKBACK = timedelta(days=2)
# The newest bars are the most often amended; so many of them are read again with each new one.
RECENT_BARS = 24
EVER = datetime(1970, 1, 1, tzinfo=UTC)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Series:
    """One asset row at one timeframe, and the sources to ask for it, best first."""

    asset: Asset
    timeframe: str
    sources: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.asset.symbol} {self.timeframe}"

    @property
    def key(self) -> tuple[str, str]:
        return self.asset.symbol, self.timeframe

    @property
    def calendar(self) -> Calendar:
        return self.asset.market

    def holds(self, task: Task) -> bool:
        """Whether a task of this name is about this row of the registry: a symbol may have several, one after the other."""
        start, end = self.asset.active_window()
        return start < task.end and task.start < end


@dataclass(frozen=True)
class Planned:
    """The tasks for a series, and the windows that the source does not reach any more."""

    tasks: list[Task]
    beyond_reach: list[Window] = field(default_factory=list)

    @property
    def windows(self) -> list[Window]:
        """All that is wanted of the source."""
        return merged([*(task.window for task in self.tasks), *self.beyond_reach])


def series_of(
    assets: Iterable[Asset],
    providers: dict[str, Provider],
    timeframes: Sequence[str] = (),
    source: str | None = None,
) -> list[Series]:
    """The series to load. A source that lacks the symbol is passed over: loudly where it was named for it."""
    if source in providers and not providers[source].TIMEFRAMES:
        return []
    found = []
    for asset in assets:
        named = (source,) if source else asset.source_priority
        for timeframe in timeframes or asset.fetched:
            sources = []
            for name in named or settings.load().fallback_source_priority:
                if name not in providers:
                    continue
                if providers[name].serves(asset, timeframe):
                    sources.append(name)
                elif named:
                    log.warning("%s %s: %s does not have it (see assets.csv)", asset.symbol, timeframe, name)
            if not asset.market.never_closes and timedelta(hours=1) <= STEPS[timeframe] < A_DAY:
                # Polygon's hours of stocks are aligned to the clock, Yahoo's begin at 09:30: a series keeps to one alignment.
                sources = sources[:1]
            found.append(Series(asset, timeframe, tuple(sources)))
    return found


# What the sources before have left open of a series; None = nobody was asked yet.
Left = list[Window] | None


def plan_new(series: Series, provider: Provider, known: Known, now: datetime, left: Left = None) -> Planned:
    """What a plain extract asks: what is missing since the first reach, and the bars that may have been amended.

    Missing is also what was answered without rows, as often as the schedule says (extract/coverage/looks.py); where the first
    answer already held none, or the newest bars are late, that is in the next run.
    """
    asset, timeframe = series.asset, series.timeframe
    zone, end = series.calendar.zone, series.calendar.closed_until(now, timeframe)
    start = day_start(now - FIRST_REACH[timeframe], zone)
    if known.asked_until is None:
        return Planned(_tasks(series, provider, _cut([(start, end)], left), now))
    newest = min(floor(known.asked_until, timeframe, zone), end)
    back_to = day_start(newest - lookback(asset.asset_class), zone)
    gaps = missing_bars(series, min(start, back_to), back_to, known, now)
    # What a backfill got no rows for among bars, too; before the first bar it would be many requests for nothing.
    first_bar = known.covered[0][0] if known.covered else start
    looked = common([(first_bar, min(start, back_to))], merged(one for look in known.looks for one in look.windows))
    gaps = merged([*gaps, *(gap for window in looked for gap in missing_bars(series, *window, known, now))])
    midnight = day_start(newest, zone)
    step = STEPS[timeframe]
    if provider.requests_are_scarce or (end - back_to) <= RECENT_BARS * step:
        rereads = [(back_to, end)]
    else:
        # From the newest bar on, however many runs have asked for what comes after it.
        came = max((stop for _, stop in known.covered if stop <= newest), default=back_to)
        rereads = [(back_to, midnight), (max(midnight, came - RECENT_BARS * step), end)]
    first, again = _by_looks(_cut(gaps, left), known)
    tasks = _tasks(series, provider, [*first, *_cut(rereads, left)], now)
    return Planned(tasks + _tasks(series, provider, again, now, over_rest=True))


def missing_bars(series: Series, start: datetime, end: datetime, known: Known, now: datetime) -> list[Window]:
    """The parts of [start, end) in which a bar is expected that did not come, and that are to be asked for now."""
    return series.calendar.expected(missing(start, end, known.settled(now)), series.timeframe)


def _by_looks(gaps: Sequence[Window], known: Known) -> tuple[list[Window], list[Window]]:
    """The gaps that nobody looked at, and those that were looked at in vain: a file is not asked twice for them."""
    parts = seen(gaps, known.looks)
    return merged(part.window for part in parts if not part.times), merged(part.window for part in parts if part.times)


def plan_windows(
    series: Series, provider: Provider, windows: Sequence[Window], now: datetime, left: Left = None
) -> Planned:
    """What given windows ask: all of them, loaded before or not."""
    windows = _cut(windows, left)
    return Planned(_tasks(series, provider, windows, now), beyond_reach(series, provider, windows, now))


def plan_missing(
    series: Series, provider: Provider, known: Known, window: Window, now: datetime, left: Left = None
) -> Planned:
    """What a backfill asks: only what is not loaded yet, and what was answered without rows when it is due."""
    start, end = window
    closed = series.calendar.closed_until(now, series.timeframe)
    gaps = _cut(missing_bars(series, start, min(end, closed), known, now), left)
    first, again = _by_looks(gaps, known)
    tasks = _tasks(series, provider, first, now) + _tasks(series, provider, again, now, over_rest=True)
    return Planned(tasks, beyond_reach(series, provider, gaps, now))


def plan_second_look(series: Series, provider: Provider, known: Known, window: Window, now: datetime) -> Planned:
    """What a backfill asks once more: what it got no rows for, after the first bar that is known."""
    start = max(window[0], known.covered[0][0]) if known.covered else window[0]
    closed = series.calendar.closed_until(now, series.timeframe)
    parts = seen(missing_bars(series, start, min(window[1], closed), known, now), known.looks)
    windows = merged(part.window for part in parts if part.times == 1)
    return Planned(_tasks(series, provider, windows, now, over_rest=True))


def plan_repair(series: Series, provider: Provider, windows: Sequence[Window], now: datetime) -> list[Task]:
    """What may close gaps. Never a file: the gap may be the file's."""
    return [replace(task, purpose="repair") for task in _tasks(series, provider, windows, now, over_rest=True)]


def beyond_reach(series: Series, provider: Provider, windows: Iterable[Window], now: datetime) -> list[Window]:
    """The parts of the windows that a source does not serve any more."""
    reach = provider.reach(series.timeframe)
    if reach is None:
        return []
    return [
        part for part in common(windows, [(series.asset.active_window()[0], now - reach)]) if _may_trade(series, part)
    ]


def reach_problem(series: Series, provider: Provider, now: datetime) -> str:
    """What `beyond_reach` means, in words."""
    earliest = now - (provider.reach(series.timeframe) or timedelta())
    return f"{provider.NAME} {series.name}: it serves {series.timeframe} bars only from {earliest:%Y-%m-%d %H:%M} on"


def unanswered(series: Series, wanted: Sequence[Window], answered: Iterable[Window]) -> list[Window]:
    """The parts of the windows for which no answer came, where a bar can be."""
    known = merged(answered)
    gaps = [gap for start, end in wanted for gap in missing(start, end, known)]
    return [gap for gap in gaps if _may_trade(series, gap)]


def _may_trade(series: Series, window: Window) -> bool:
    return series.calendar.may_trade_between(*window) and series.calendar.expects(*window, series.timeframe)


def _cut(windows: Sequence[Window], left: Left) -> Sequence[Window]:
    return windows if left is None else common(windows, left)


def lookback(asset_class: str) -> timedelta:
    days = settings.load().revision_lookback
    if days is not None:
        return timedelta(days=days)
    return CRYPTO_LOOKBACK if asset_class == "crypto" else STOCK_LOOKBACK


def in_order(tasks: Iterable[Task]) -> list[Task]:
    """What the source will not serve much longer goes first, then the newest bars, then what is asked for besides the bars.

    Of equals the one that lacks more goes first, so that a small budget serves all series in turn.
    """

    def urgency(task: Task) -> tuple[timedelta, bool, float, float]:
        is_extra = task.endpoint not in ("bars", "grouped_daily")
        return task.expires_in or timedelta.max, is_extra, -task.end.timestamp(), task.start.timestamp()

    return sorted(tasks, key=urgency)


def _tasks(
    series: Series, provider: Provider, windows: Iterable[Window], now: datetime, over_rest: bool = False
) -> list[Task]:
    """The tasks for some windows, put on bar boundaries and cut to where the asset, the clock and the source allow."""
    asset, timeframe = series.asset, series.timeframe
    active_start, active_end = asset.active_window()
    market = series.calendar
    closed = market.closed_until(now, timeframe)
    reach = provider.reach(timeframe)
    earliest = now - reach if reach else EVER
    tasks: list[Task] = []
    for start, end in windows:
        start = floor(max(start, active_start), timeframe, market.zone)
        if start < earliest:
            start = floor(earliest + STEPS[timeframe], timeframe, market.zone)
        end = min(end, active_end, closed)
        if start < end and market.may_trade_between(start, end):
            ask = provider.repair_tasks if over_rest else provider.bar_tasks
            tasks += (replace(task, calendar=asset.calendar) for task in ask(asset, timeframe, start, end, now))
    if not reach:
        return tasks
    return [replace(task, expires_in=task.start - earliest) for task in tasks]
