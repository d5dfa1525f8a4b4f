"""What is there: tables for people, files for programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from scripts.cli.options import AsJson, End, OneSymbol, Source, Start, Timeframes, checked_options
from scripts.cli.reporting import reporting

commands = typer.Typer()


@commands.command()
def status(symbol: OneSymbol = None, json: AsJson = False) -> None:
    """Show how fresh, complete and good each series is."""
    with reporting():
        from scripts.reading import reports

        reports.show(reports.STATUS, symbol, as_json=json)


@commands.command()
def gaps(
    symbol: OneSymbol = None,
    everything: Annotated[bool, typer.Option("--all", help="also repaired ones, and those around the bars")] = False,
    json: AsJson = False,
) -> None:
    """Show which bars are missing between others, why, and what is done about it: the gaps that status counts."""
    with reporting():
        from scripts.reading import reports

        reports.show(reports.GAPS, symbol, everything=everything, as_json=json)


@commands.command()
def sources(json: AsJson = False) -> None:
    """Show each provider's circuit breaker, errors, response times and quota."""
    with reporting():
        from scripts.reading import reports

        reports.show(reports.SOURCES, as_json=json)


@commands.command()
def revisions(
    symbol: Annotated[str, typer.Argument(help="e.g. BTC")],
    timeframe: Annotated[str | None, typer.Argument(help="e.g. 1h; all by default")] = None,
    json: AsJson = False,
) -> None:
    """Show every correction of a symbol's bars: from what to what, why, and when it was known."""
    with reporting():
        from scripts.reading import reports

        reports.show(reports.REVISIONS, symbol, timeframe, as_json=json)


@commands.command()
def alerts(
    send: Annotated[
        bool, typer.Option("--send", help="evaluate the rules now, and send to ALERT_URLS what is new or has ended")
    ] = False,
    everything: Annotated[bool, typer.Option("--all", help="those that have ended, too")] = False,
    silence: Annotated[str | None, typer.Option("--silence", help="alert nobody of this rule, for --hours")] = None,
    subject: Annotated[str | None, typer.Option("--subject", help="silence only this subject of the rule")] = None,
    hours: Annotated[
        float | None, typer.Option("--hours", help="how long to be silent, at most a year; else 8")
    ] = None,
    json: AsJson = False,
) -> None:
    """Show what is wrong at the moment, and where it is written what to do."""
    with reporting():
        from extract.core.settings import ConfigurationError
        from scripts.monitoring import alerts
        from scripts.reading import reports

        if silence is None and (subject is not None or hours is not None):
            raise ConfigurationError("--subject and --hours say what --silence RULE silences, and it is not given")
        if silence is not None:
            if send or everything or json:
                raise ConfigurationError("--silence goes with --subject and --hours only")
            until = alerts.silence(silence, subject, 8 if hours is None else hours)
            typer.echo(f"{silence}{f' of {subject}' if subject else ''} is silent until {until:%Y-%m-%d %H:%M} UTC")
            return
        if send:
            alerts.evaluate()
            alerts.send()
        reports.show(reports.ALERTS, everything=everything, as_json=json)


@commands.command("leakage-check")
def leakage_check(json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """Count feature values that were written over with nothing to explain it: 0, or a feature looked ahead."""
    with reporting():
        from scripts.reading import leakage

        found = leakage.check()
        typer.echo(found.as_json() if json else found.as_text())
        raise typer.Exit(0 if found.is_clean else 1)


@commands.command()
def export(
    symbols: Annotated[list[str] | None, typer.Argument(help="e.g. AAPL BTC; all by default")] = None,
    to: Annotated[
        Path, typer.Option("--to", help="a folder of its own; the same one again writes only what has changed")
    ] = (Path("exports")),
    format: Annotated[
        Literal["parquet", "csv", "freqtrade", "lean", "qlib"],
        typer.Option("--format", help="or what a backtester reads"),
    ] = "parquet",
    timeframes: Annotated[list[str] | None, typer.Option("--timeframes", help="all there are by default")] = None,
    start: Start = None,
    end: End = None,
    columns: Annotated[
        str | None, typer.Option("--columns", help="e.g. close,sma_20, or all; open to volume by default")
    ] = None,
    adjusted: Annotated[
        Literal["splits", "total_return"] | None,
        typer.Option("--adjusted", help="prices in the shares of the newest bar"),
    ] = None,
    as_of: Annotated[str | None, typer.Option("--as-of", help="as it was known at this instant")] = None,
    numbers: Annotated[Literal["float64", "decimal"], typer.Option("--numbers", help="decimal: exact")] = "float64",
    json: AsJson = False,
) -> None:
    """Write bars and features as files; again, only those whose bars have changed."""
    with reporting():
        from json import dumps

        from extract.core.settings import ConfigurationError
        from market_warehouse import questions
        from market_warehouse.errors import BadQuestion, WarehouseUnavailable
        from scripts.reading import Unreadable, export

        options = checked_options(symbols, timeframes, None, start, end)
        try:
            selection = export.Selection(
                symbols=tuple(options["symbols"]),
                timeframes=tuple(options["timeframes"]),
                start=options["start"],
                end=options["end"],
                columns="all" if columns == "all" else tuple(questions.words(columns)) if columns else None,
                adjusted=adjusted,
                as_of=questions.instant("--as-of", as_of),
                format=format,
                numbers=numbers,
            )
            report = export.export(export.with_columns(selection), to)
        except BadQuestion as problem:
            raise ConfigurationError(str(problem)) from None
        except WarehouseUnavailable as problem:
            raise Unreadable(str(problem), problem.is_setting) from None
        typer.echo(dumps(report.as_json()) if json else str(report))


@commands.command()
def url(
    with_password: Annotated[
        bool, typer.Option("--with-password", help="for clients that read no password file; keep it to yourself")
    ] = False,
) -> None:
    """Print the database's URL, for bars(url=...), psql, SQLAlchemy or a notebook; the password stays in its file."""
    with reporting():
        from scripts import reading

        typer.echo(reading.public_url(with_password))


@commands.command()
def record(
    names: Annotated[list[str], typer.Argument(metavar="SYMBOL... DIR", help="symbols, then a new folder")],
    source: Source = None,
    timeframes: Timeframes = None,
    start: Start = None,
    end: End = None,
) -> None:
    """Write what the raw tables hold of some answers as a case folder, without keys, for a report or a test."""
    with reporting():
        from extract.core.settings import ConfigurationError
        from scripts.reading import record

        options = checked_options(names[:-1], timeframes, source, start, end)
        if not options["symbols"]:
            raise ConfigurationError("name the symbols and then the folder: market record BTC AAPL cases/mine")
        typer.echo(str(record.record(folder=Path(names[-1]), **options)))
