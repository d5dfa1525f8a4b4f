"""`--dry-run`: the requests a command would make, against each source's quota and the time they need."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import datetime, timedelta

from rich.console import Console
from rich.table import Table

from extract import planner, registry
from extract.backfill import backfill_plan
from extract.responses import Task
from extract.run import Plan, Run, extra_tasks, extract_plan, open_providers, prepare_warehouse
from extract.windows import Window


def show_extract(
    symbols: Sequence[str] = (),
    timeframes: Sequence[str] = (),
    source: str | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
) -> None:
    """Print what `market extract` with these options would ask."""
    window = (start or planner.EVER, end or datetime.max) if start or end else None

    def plan(run: Run) -> Plan:
        return extract_plan(run, (window[0], min(window[1], run.now)) if window else None)

    _show(symbols, timeframes, source, window, plan)


def show_backfill(
    start: datetime,
    end: datetime,
    symbols: Sequence[str] = (),
    timeframes: Sequence[str] = (),
    source: str | None = None,
) -> None:
    """Print what `market backfill` with these options would ask."""
    _show(symbols, timeframes, source, (start, end), lambda run: backfill_plan(run, start, end))


def _show(
    symbols: Sequence[str],
    timeframes: Sequence[str],
    source: str | None,
    window: Window | None,
    make_plan: Callable[[Run], Plan],
) -> None:
    assets = registry.select(registry.load(), symbols)
    prepare_warehouse()
    with ExitStack() as stack:
        # No request is made, so a key that is missing or wrong shows only in a real run.
        run = Run(open_providers(stack, source, check=False))
        plan = make_plan(run)
        tasks: dict[str, list[Task]] = defaultdict(list)
        for name, extra in extra_tasks(run, assets, window).items():
            tasks[name] += extra
        for series in planner.series_of(assets, run.providers, timeframes, source):
            for name in series.sources[:1]:
                tasks[name] += plan(series, name).tasks
        for name, provider in run.providers.items():
            _show_source(name, provider.combined(tasks[name]), provider.requests_per_minute)


def _show_source(name: str, tasks: Sequence[Task], per_minute: int | None) -> None:
    """One source's requests, per series."""
    requests = sum(task.requests for task in tasks)
    needed = "at once" if not per_minute else f"at least {timedelta(minutes=max(0, requests - 1) // per_minute)}"
    quota = f"{per_minute} a minute" if per_minute else "no limit of requests"
    if not requests:
        Console().print(f"{name}: nothing to ask")
        return
    table = Table("series", "window from", "to", "requests", "of them files", title=f"{name}: {requests:,} requests")
    series: dict[str, list[Task]] = defaultdict(list)
    for task in planner.in_order(tasks):
        series[task.series_name].append(task)
    for title, asked in series.items():
        first, last = min(task.start for task in asked), max(task.end for task in asked)
        files = sum(task.requests for task in asked if task.origin == "archive")
        count = sum(task.requests for task in asked)
        table.add_row(
            title, f"{first:%Y-%m-%d %H:%M}", f"{last:%Y-%m-%d %H:%M}", f"{count:,}", f"{files:,}" if files else ""
        )
    Console().print(table)
    Console().print(f"{name}: quota {quota}; done {needed}\n")
