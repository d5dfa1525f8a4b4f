"""Asking the providers: extract, backfills, and what helps when a source does not answer."""

from __future__ import annotations

from typing import Annotated

import typer

from scripts.cli.options import DryRun, End, Source, Start, Symbols, Timeframes, checked_options, words
from scripts.cli.reporting import finish, reporting

commands = typer.Typer()


@commands.command()
def extract(
    symbols: Symbols = None,
    timeframes: Timeframes = None,
    source: Source = None,
    start: Start = None,
    end: End = None,
    again: Annotated[
        bool, typer.Option("--again", help="with --start: load the window as if nothing of it were loaded")
    ] = False,
    dry_run: DryRun = False,
) -> None:
    """Ask the providers for what is new and load it into the raw schemas."""
    with reporting():
        from extract.commands import extraction

        options = checked_options(symbols, timeframes, source, start, end) | {"again": again}
        if dry_run:
            from extract.commands.dry_run import show_extract

            show_extract(**options)
            return
        raise typer.Exit(finish(extraction.extract(**options)))


@commands.command()
def backfill(
    start: Annotated[str, typer.Option("--start", help="date or ISO-8601 instant, UTC")],
    end: Annotated[str, typer.Option("--end", help="date (included) or ISO-8601 instant, UTC")],
    symbols: Symbols = None,
    timeframes: Timeframes = None,
    source: Source = None,
    dry_run: DryRun = False,
) -> None:
    """Load history; killed or paused, the same command goes on where the data end."""
    with reporting():
        from extract.commands import backfill as job

        options = checked_options(symbols, timeframes, source, start, end)
        if dry_run:
            from extract.commands.dry_run import show_backfill

            show_backfill(**options)
            return
        raise typer.Exit(finish(job.backfill(**options)))


@commands.command("backfill-resume")
def backfill_resume() -> None:
    """Continue every unfinished backfill."""
    with reporting():
        from extract.commands import backfill as job

        raise typer.Exit(finish(job.resume()))


@commands.command("backfill-pause")
def backfill_pause() -> None:
    """Stop running backfills after the package they are loading."""
    with reporting():
        from extract.plan import backfill_jobs

        paused = backfill_jobs.pause()
        typer.echo(f"paused: {paused} (continue with: market backfill-resume)" if paused else "no backfill is running")


@commands.command("backfill-status")
def backfill_status(json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """Show how far each backfill is, per series."""
    with reporting():
        from extract.plan import backfill_jobs

        backfill_jobs.show(as_json=json)


@commands.command("collect-liquidations")
def collect_liquidations(symbols: Symbols = None) -> None:
    """Watch Binance's stream of forced orders until SIGTERM or Ctrl-C; runs in parallel to an extract."""
    with reporting():
        from extract.commands.liquidations import collect

        raise typer.Exit(0 if collect(words(symbols)) else 1)


@commands.command()
def doctor(
    quick: Annotated[bool, typer.Option("--quick", help="leave out the symbol map, which asks each source")] = False,
    probe: Annotated[
        bool, typer.Option("--probe", help="ask each endpoint in use once, and compare with what is documented")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="of --probe, for programs")] = False,
) -> None:
    """Check settings, keys, database, clock, symbol map, pending loads, lock and disk; name the remedies."""
    with reporting():
        from extract.commands.doctor import examine, show_probe
        from extract.core.redaction import redact

        if probe:
            raise typer.Exit(show_probe(as_json=json))
        bad = 0
        for check in examine(symbols=not quick):
            typer.echo(redact(str(check)))
            bad += check.has_failed
        raise typer.Exit(1 if bad else 0)


@commands.command()
def unblock(
    source: Annotated[str, typer.Argument(help="a source, or one of its hosts (`market sources` lists the sources)")],
) -> None:
    """Ask a source again in the next run: lift its block (a long Retry-After) and close its circuit breaker."""
    with reporting():
        from extract.commands.unblock import unblock
        from extract.core import database

        database.migrate()
        typer.echo("\n".join(unblock(source)) or f"{source}: nothing was blocking it")
