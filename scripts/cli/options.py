"""Options that several commands have, and their values as the rest takes them: checked, instants in UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

Symbols = Annotated[list[str] | None, typer.Option("--symbols", help="e.g. 'BTC AAPL'; all enabled by default")]
Timeframes = Annotated[
    list[str] | None, typer.Option("--timeframes", help="e.g. '1h 1d'; those of the registry by default")
]
Source = Annotated[
    str | None,
    typer.Option("--source", help="ask only this one (`market sources` lists them)"),
]
Start = Annotated[str | None, typer.Option("--start", help="date or ISO-8601 instant, UTC")]
End = Annotated[str | None, typer.Option("--end", help="date (included) or ISO-8601 instant, UTC")]
OneSymbol = Annotated[str | None, typer.Argument(help="only this one, e.g. BTC; all by default")]
AsJson = Annotated[bool, typer.Option("--json", help="for programs: every column, exact numbers, ISO-8601 times")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="print the planned requests and the time they need")]


def checked_options(
    symbols: list[str] | None,
    timeframes: list[str] | None,
    source: str | None,
    start: str | None,
    end: str | None,
    start_option: str = "--start",
) -> dict[str, Any]:
    """The options as the extract side takes them, checked."""
    from extract.calendar.timeframes import STEPS
    from extract.core import sources
    from extract.core.settings import ConfigurationError, load

    chosen = words(timeframes)
    problems = []
    if unknown := [name for name in chosen if name not in STEPS]:
        problems.append(f"--timeframes: {' '.join(unknown)} is none of {' '.join(STEPS)}")
    if source is not None and source not in load().sources:
        problems.append(f"--source: {source} is none of {' '.join(load().sources)}")
        if (known := sources.listed().get(source)) and known.enabled_by:
            problems[-1] += f" ({source} is off: {known.off_because}; {known.enabled_by.upper()}=true asks for them)"
    window: dict[str, datetime | None] = {}
    for name, option, text in (("start", start_option, start), ("end", "--end", end)):
        try:
            window[name] = _instant(text, is_end=name == "end") if text else None
        except ValueError:
            problems.append(f"{option}: {text!r} is neither a date like 2024-01-31 nor an ISO-8601 instant")
    if problems:
        raise ConfigurationError("; ".join(problems))
    return {"symbols": words(symbols), "timeframes": chosen, "source": source, **window}


def words(values: list[str] | None) -> list[str]:
    """Options may be repeated, or name several values at once, parted by blanks or commas."""
    return [word for value in values or [] for word in value.replace(",", " ").split()]


def _instant(text: str, is_end: bool) -> datetime:
    """A time without an offset is UTC; an end that is a date includes that day."""
    value = datetime.fromisoformat(text)
    value = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    return value + timedelta(days=1) if is_end and len(text) == len("2024-01-31") else value
