"""`--dry-run`: the requests a command would make, against each source's quota and the time they need."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import datetime, timedelta

from rich.console import Console
from rich.table import Table

from extract.calendar.windows import Window
from extract.commands.backfill import backfill_plan
from extract.commands.extraction import Plan, extra_tasks, extract_plan
from extract.commands.running import Run, open_providers, prepare_warehouse
from extract.core import clock
from extract.load.responses import Task
from extract.plan import planner
from extract.providers.base import Provider
from extract.symbols import registry


def show_extract(
    symbols: Sequence[str] = (),
    timeframes: Sequence[str] = (),
    source: str | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
    again: bool = False,
) -> None:
    """Print what `market extract` with these options would ask."""
    window = (start or planner.EVER, end or clock.now()) if start or end else None
    _show(symbols, timeframes, source, window, lambda run: extract_plan(run, window), window is not None, again)


def show_backfill(
    start: datetime,
    end: datetime,
    symbols: Sequence[str] = (),
    timeframes: Sequence[str] = (),
    source: str | None = None,
) -> None:
    """Print what `market backfill` with these options would ask."""
    window = (start, end)
    _show(symbols, timeframes, source, window, lambda run: backfill_plan(run, window))


def _show(
    symbols: Sequence[str],
    timeframes: Sequence[str],
    source: str | None,
    window: Window | None,
    make_plan: Callable[[Run], Plan],
    all_of_window: bool = False,
    again: bool = False,
) -> None:
    assets = registry.select(registry.load(), symbols)
    prepare_warehouse()
    with ExitStack() as stack:
        # No request is made, so a key that is missing or wrong shows only in a real run.
        run = Run(open_providers(stack, source, check=False))
        run.is_again = again
        plan = make_plan(run)
        wanted = planner.series_of(assets, run.providers, timeframes, source)
        tasks = extra_tasks(run, assets, wanted, window, all_of_window)
        for series in wanted:
            for name in series.sources[:1]:
                tasks[name] += plan(series, name, None).tasks
        for name, provider in run.providers.items():
            _show_source(provider, planner.in_order(provider.combined(tasks[name])))


def _show_source(provider: Provider, tasks: Sequence[Task]) -> None:
    """One source's requests in the order they are made, per series, and what they take of its quotas."""
    console = Console()
    if not tasks:
        console.print(f"{provider.NAME}: nothing to ask")
        return
    count = sum(task.requests for task in tasks)
    columns = ("series", "window from", "to", "requests", "of them files", "leaves the source in")
    table = Table(*columns, title=f"{provider.NAME}: {count:,} requests")
    series: dict[str, list[Task]] = defaultdict(list)
    for task in tasks:
        series[task.series_name].append(task)
    for title, asked in series.items():
        first, last = min(task.start for task in asked), max(task.end for task in asked)
        files = sum(task.requests for task in asked if task.origin == "archive")
        expires_in = min((task.expires_in for task in asked if task.expires_in), default=None)
        table.add_row(
            title,
            f"{first:%Y-%m-%d %H:%M}",
            f"{last:%Y-%m-%d %H:%M}",
            f"{sum(task.requests for task in asked):,}",
            f"{files:,}" if files else "",
            f"{expires_in.days} days" if expires_in else "",
        )
    console.print(table)
    needs = [need for need in provider.needs(tasks) if need.amount]
    for need in needs:
        limit = f"quota {need.per_minute:,} a minute" if need.per_minute else "no limit"
        console.print(f"{provider.NAME}: {need.amount:,} {need.what}, {limit}")
    minutes = max((need.minutes for need in needs), default=0)
    console.print(
        f"{provider.NAME}: done {f'at the soonest in {timedelta(minutes=minutes)} h' if minutes else 'at once'}\n"
    )
