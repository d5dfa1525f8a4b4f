"""The reading commands: one select on marts each, shown as a table on a terminal, tab-separated when piped, or as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, LiteralString

from psycopg import Connection

from extract.calendar.timeframes import STEPS
from extract.core.settings import ConfigurationError
from scripts import reading


@dataclass(frozen=True)
class Report:
    """A select with parameters %(symbol)s, %(timeframe)s and %(all)s, and which columns are wide enough to be left to
    --json and pipes."""

    name: str
    statement: LiteralString
    nothing: str
    hidden: tuple[str, ...] = ()


STATUS = Report(
    "status",
    """
    select
        symbol, asset_class, timeframe, sla_level, newest_bar, newest_bar_closed_at, next_bar_closes_at,
        data_age_seconds, late_seconds, is_stale, source_in_use, bars, validated_bars, avg_quality_score,
        data_completeness, first_bar, open_gaps, is_enabled, is_fetched, last_run_at, last_success_at, last_error_at,
        last_error
    from marts.enrichment_status
    where %(symbol)s::text is null or symbol = %(symbol)s
    order by symbol, asset_class, array_position(%(timeframes)s, timeframe::text)
    """,
    "no series is enabled in dbt_project/seeds/assets.csv",
    (
        "newest_bar_closed_at", "next_bar_closes_at", "late_seconds", "is_stale", "validated_bars", "first_bar",
        "is_enabled", "is_fetched", "last_run_at", "last_success_at", "last_error_at",
    ),
)  # fmt: skip
GAPS = Report(
    "gaps",
    """
    select
        symbol, asset_class, timeframe, gap_from, gap_to, missing_bars, verdict, place, repair_state, evidence,
        answered_by, updated_at
    from marts.bar_gaps
    where
        (%(symbol)s::text is null or symbol = %(symbol)s)
        -- As marts.enrichment_status counts them.
        and (%(all)s or (repair_state = 'open' and place = 'between'))
    order by symbol, asset_class, array_position(%(timeframes)s, timeframe::text), gap_from
    """,
    "no gap is open (--all: those that are closed, and those before the first and after the newest bar, too)",
    ("answered_by", "updated_at"),
)
SOURCES = Report(
    "sources",
    """
    select
        source, breaker_state, breaker_state_since, blocked_until, last_request_at, last_success_at, requests,
        failed_requests, error_rate, p50_response_ms, p95_response_ms, quota_remaining, last_error_at, last_error
    from marts.source_health
    order by source
    """,
    "no source is known",
    ("breaker_state_since", "last_request_at", "failed_requests", "last_error_at"),
)
ALERTS = Report(
    "alerts",
    """
    select
        severity, rule, subject, value, threshold, fired_at, resolved_at, notified_at, message, owner, runbook,
        first_seen_at, suppressed_until, resolution_notified_at
    from marts.alerts
    where %(all)s or resolved_at is null
    order by resolved_at is not null, severity, fired_at desc, rule, subject
    """,
    "no alert is firing (--all: those that have ended, too)",
    ("owner", "first_seen_at", "suppressed_until", "resolution_notified_at"),
)
REVISIONS = Report(
    "revisions",
    """
    select
        bars.symbol, bars.asset_class, bars.timeframe, bars.timestamp, corrections.revision,
        corrections.field_corrected, corrections.old_value, corrections.new_value,
        -- What is no number has its values in the history.
        case corrections.field_corrected
            when 'source' then earlier.source when 'validation_notes' then earlier.validation_notes
        end as old_text,
        case corrections.field_corrected
            when 'source' then later.source when 'validation_notes' then later.validation_notes
        end as new_text,
        corrections.reason, corrections.corrected_by, corrections.correction_timestamp
    from marts.data_corrections as corrections
    inner join marts.market_data_v2 as bars on bars.id = corrections.original_record_id
    left join snapshots.market_data_history as later
        on
            corrections.field_corrected in ('source', 'validation_notes')
            and later.id = corrections.original_record_id
            and later.dbt_valid_from = corrections.correction_timestamp
    left join snapshots.market_data_history as earlier
        on earlier.id = later.id and earlier.dbt_valid_to = later.dbt_valid_from
    where bars.symbol = %(symbol)s and (%(timeframe)s::text is null or bars.timeframe = %(timeframe)s)
    order by
        corrections.correction_timestamp desc, bars.timestamp desc,
        array_position(%(timeframes)s, bars.timeframe::text), corrections.field_corrected
    """,
    "nothing was ever corrected",
    ("symbol", "asset_class"),
)


def show(
    report: Report,
    symbol: str | None = None,
    timeframe: str | None = None,
    everything: bool = False,
    as_json: bool = False,
) -> None:
    """Print a report. ConfigurationError on an unknown symbol or timeframe, reading.Unreadable without a warehouse."""
    if timeframe is not None and timeframe not in STEPS:
        raise ConfigurationError(f"timeframe {timeframe!r} is none of {' '.join(STEPS)}")
    with reading.connected(report.name) as connection:
        if symbol is not None:
            symbol = _known(connection, symbol)
        values = {"symbol": symbol, "timeframe": timeframe, "all": everything, "timeframes": list(STEPS)}
        # Postgres writes the JSON: its numbers are exact there, and its times ISO-8601 with offset.
        row = connection.execute(
            f"select cast(coalesce(json_agg(report), '[]') as text) from ({report.statement}) as report", values
        ).fetchone()
        text = row[0] if row else "[]"
        rows: list[dict[str, Any]] = json.loads(text, parse_float=Decimal)
    if as_json:
        print(text)
    elif not rows:
        print(report.nothing)
    elif sys.stdout.isatty():
        _print_table(report, rows)
    else:
        _print_lines(rows)


def _known(connection: Connection, symbol: str) -> str:
    """The symbol as the warehouse spells it. ConfigurationError for one that it does not have."""
    known = connection.execute("select coalesce(array_agg(distinct symbol::text), '{}') from marts.enrichment_status")
    symbols = (known.fetchone() or ([],))[0]
    found = reading.spelled(symbol, symbols)
    if found not in symbols:
        raise ConfigurationError(reading.unknown_symbol(symbol, symbols))
    return found


def _print_lines(rows: Sequence[dict[str, Any]]) -> None:
    """For other programs (cut, awk, sort): a header, then a line a row, parted by tabs; an absent value is empty."""
    print("\t".join(rows[0]))
    for row in rows:
        print("\t".join("" if value is None else _one_line(value) for value in row.values()))


def _one_line(value: Any) -> str:
    return (
        ("true" if value else "false") if isinstance(value, bool) else str(value).replace("\t", " ").replace("\n", " ")
    )


def _print_table(report: Report, rows: Sequence[dict[str, Any]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    columns = [name for name in rows[0] if name not in report.hidden]
    # A column without a single value says nothing, and a terminal is narrow.
    columns = [name for name in columns if any(row[name] is not None for row in rows)]
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True)
    for name in columns:
        is_number = all(isinstance(row[name], int | Decimal | None) for row in rows)
        table.add_column(_HEADS.get(name, name.replace("_", " ")), justify="right" if is_number else "left")
    for row in rows:
        # Text, not str: a name from the registry or a provider's error is never taken for markup.
        cells = [Text(_cell(name, row[name])) for name in columns]
        style = _STYLES.get(str(row.get("sla_level") or row.get("breaker_state") or row.get("verdict")))
        table.add_row(*cells, style=style)
    console = Console()
    # On a narrow terminal the lines run over, as psql's do: cells that are cut or folded could not be copied.
    natural = console.measure(table, options=console.options.update(max_width=1000)).maximum
    console.width = max(console.width, natural)
    console.print(table)


_HEADS = {
    "asset_class": "class", "timeframe": "bars of", "sla_level": "freshness", "data_age_seconds": "age",
    "source_in_use": "source", "avg_quality_score": "quality", "data_completeness": "complete", "open_gaps": "gaps",
    "breaker_state": "breaker", "last_success_at": "last answer", "missing_bars": "missing", "repair_state": "state",
    "p50_response_ms": "p50 ms", "p95_response_ms": "p95 ms", "quota_remaining": "quota", "error_rate": "errors",
    "field_corrected": "field", "old_value": "old", "new_value": "new", "corrected_by": "by",
    "correction_timestamp": "known at", "fired_at": "since", "resolved_at": "until", "notified_at": "sent",
}  # fmt: skip
_STYLES = {
    "late": "yellow", "critical": "bold yellow", "stale": "bold red", "no data": "red",
    "OPEN": "bold red", "HALF_OPEN": "yellow", "outage": "bold red", "provider hole": "yellow",
}  # fmt: skip


def _cell(name: str, value: Any) -> str:
    """A value for people; control characters of foreign text are not sent to the terminal."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name.endswith("_seconds"):
        return _duration(int(value))
    if name == "error_rate":
        return f"{value:.1%}"
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"
    if isinstance(value, int):
        return f"{value:,}"
    try:
        return f"{datetime.fromisoformat(value):%Y-%m-%d %H:%M}" if value[:2] in ("19", "20") else _printable(value)
    except ValueError:
        return _printable(value)


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)


def _duration(seconds: int) -> str:
    span = timedelta(seconds=seconds)
    if span.days >= 2:
        return f"{span.days} d"
    if seconds >= 7200:
        return f"{seconds // 3600} h"
    return f"{seconds // 60} min" if seconds >= 120 else f"{seconds} s"
