"""`market extract`: plan, ask, load, fall back, and say per series what came of it."""

from __future__ import annotations

import itertools
import logging
import uuid
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from extract.calendar.timeframes import STEPS
from extract.calendar.windows import Window
from extract.commands.running import Run, open_providers, prepare_warehouse
from extract.core import database, logs
from extract.core.locks import Holder
from extract.core.settings import ConfigurationError
from extract.load.outcomes import Outcome, Report
from extract.load.responses import Task
from extract.plan import gaps, planner
from extract.plan.planner import Planned, Series
from extract.symbols import registry
from extract.symbols.registry import Asset

log = logging.getLogger(__name__)

# What a series asks of a source, within what the sources before have left open.
Plan = Callable[[Series, str, planner.Left], Planned]


@dataclass
class PendingSeries:
    """A series on its way through its sources."""

    series: Series
    # Those still to be asked, best first.
    sources: list[str]
    remaining: planner.Left = None
    # The sources that have sent it on because their budget was spent: when they are asked again, it waits.
    deferred: set[str] = field(default_factory=set)


def extract(
    symbols: Sequence[str] = (),
    timeframes: Sequence[str] = (),
    source: str | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
    within: str | None = None,
    shorter_than: timedelta | None = None,
    again: bool = False,
    held: Holder | None = None,
) -> Report:
    """Load what is new for the enabled assets, or all of a given window.

    `again` reads the window as if nothing of it were loaded: also what has no window, and files whose checksum is known.
    `within` is the id of a pipeline run, which has `held` the lock already; `shorter_than` leaves out the timeframes from
    that length on. Raises LockHeld, LockLost and ConfigurationError.
    """
    if again and not (start or end):
        raise ConfigurationError("--again needs a window: market extract --start 2024-01-31 --end 2024-01-31 --again")
    assets = registry.select(registry.load(), symbols)
    run_id = within or uuid.uuid4().hex
    locked = nullcontext(held) if held else database.run_lock("extract")
    with locked as lock, logs.of_run(run_id), ExitStack() as stack:
        prepare_warehouse()
        run = Run(open_providers(stack, source, run_id=run_id), run_id)
        run.require_lock = lock.require
        wanted = planner.series_of(assets, run.providers, timeframes, source)
        if shorter_than:
            wanted = [series for series in wanted if STEPS[series.timeframe] < shorter_than]
        window = (start or planner.EVER, end or run.now) if start or end else None
        run.is_again = again
        extra = extra_tasks(run, assets, wanted, window, again=window is not None)
        load_series(run, wanted, extract_plan(run, window), extra)
        return run.report


def extract_plan(run: Run, window: Window | None) -> Plan:
    """What a series asks of a source in `market extract`."""

    def plan(series: Series, source: str, left: planner.Left) -> Planned:
        provider = run.providers[source]
        if window:
            return planner.plan_windows(series, provider, [window], run.now, left)
        return planner.plan_new(series, provider, run.known(series, source), run.now, left)

    return plan


def extra_tasks(
    run: Run, assets: Sequence[Asset], wanted: Sequence[Series], window: Window | None, again: bool = False
) -> dict[str, list[Task]]:
    """What else each source is asked than the bars of the series; in a plain extract the gaps that dbt has found too.

    `again`: all of the window, answered before or not.
    """
    repairs = gaps.repair_tasks(wanted, run.providers, run.now) if window is None else {}
    return {
        name: provider.extra_tasks(assets, run.answered(name, again), run.now, window) + repairs.get(name, [])
        for name, provider in run.providers.items()
    }


def load_series(run: Run, wanted: Sequence[Series], plan: Plan, extra: dict[str, list[Task]]) -> None:
    """Load each series from its first source; what a source could not give is asked of the next one."""
    waiting = []
    for series in wanted:
        if series.sources:
            waiting.append(PendingSeries(series, list(series.sources)))
        else:
            log.error("%s: no source has it; see its row in assets.csv", series.name)
            run.report.failed.append(series.name)
    # Where requests are few, what is asked for besides the bars waits until no series needs them any more.
    auxiliary = {name: tasks for name, tasks in extra.items() if tasks}
    while waiting or auxiliary:
        unsettled: list[PendingSeries] = []
        for source, provider in run.providers.items():
            turn = [pending for pending in waiting if pending.sources[0] == source]
            may_ask_auxiliary = not (waiting and provider.requests_are_scarce)
            tasks = auxiliary.pop(source, []) if may_ask_auxiliary else []
            if turn or tasks:
                unsettled += _take_turn(run, source, turn, plan, tasks)
        waiting = unsettled


def _take_turn(
    run: Run, source: str, turn: Sequence[PendingSeries], plan: Plan, auxiliary: Sequence[Task]
) -> list[PendingSeries]:
    """Ask a source for all the series whose turn it is; returns those that go on to their next source."""
    provider = run.providers[source]
    tasks = list(auxiliary)
    asked: dict[str, list[tuple[PendingSeries, Planned, Outcome]]] = defaultdict(list)
    for pending in turn:
        planned = plan(pending.series, source, pending.remaining)
        outcome = Outcome(pending.series.name, source)
        for window in planned.beyond_reach:
            outcome.errors[window] = planner.reach_problem(pending.series, provider, run.now)
        asked[pending.series.name].append((pending, planned, outcome))
        may_wait = run.is_patient or not _can_go_on(run, pending, planned)
        # A source that refuses anyway is asked once per series, for the record.
        refused = itertools.islice((task for task in planned.tasks if not provider.may_answer(task)), 1)
        mine = [*(task for task in planned.tasks if provider.may_answer(task)), *refused]
        tasks += [replace(task, may_wait=may_wait) for task in mine]
    others: dict[str, Outcome] = {}
    for row in run.load(source, planner.in_order(provider.combined(tasks))):
        for name in row.task.serves or (row.task.series_name,):
            if name not in asked:
                others.setdefault(name, Outcome(name, source)).add(row)
            for pending, _, outcome in asked.get(name, []):
                if pending.series.holds(row.task):
                    outcome.add(row)
    unsettled = []
    for pending, planned, outcome in itertools.chain.from_iterable(asked.values()):
        remaining = planner.unanswered(pending.series, planned.windows, outcome.answered)
        if not remaining:
            outcome.errors.clear()
        following = pending.sources[1:] + [source] * (outcome.is_deferred and source not in pending.deferred)
        if not outcome.errors or not following:
            run.report.close(outcome)
            continue
        log.warning("%s; asking %s", outcome, following[0])
        deferred = pending.deferred | {source} if outcome.is_deferred else pending.deferred
        unsettled.append(PendingSeries(pending.series, following, remaining, deferred))
    for outcome in others.values():
        run.report.close(outcome)
    return unsettled


def _can_go_on(run: Run, pending: PendingSeries, planned: Planned) -> bool:
    """Whether a later source can bring what is planned, so that the series need not wait for a spent budget."""
    if pending.sources[0] in pending.deferred:
        return False
    return any(
        run.providers[name].source.is_available
        and not planner.beyond_reach(pending.series, run.providers[name], planned.windows, run.now)
        for name in pending.sources[1:]
    )
