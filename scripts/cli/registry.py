"""What is asked for: the rows of the registry of assets."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import typer

from scripts.cli.options import AsJson, checked_options, words
from scripts.cli.reporting import EXIT_CONFIGURATION, EXIT_FAILED, EXIT_PARTLY, finish, reporting

commands = typer.Typer()


@commands.command()
def add(
    symbols: Annotated[list[str], typer.Argument(help="e.g. AAPL SPY BTC; etf:BTC or crypto:BTC where it is both")],
    timeframes: Annotated[
        list[str] | None, typer.Option("--timeframes", help="to fetch; by default 1d of shares, 1h 1d of coins")
    ] = None,
    since: Annotated[
        str | None, typer.Option("--since", help="a date: bars are expected from then on, and --load goes back to it")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="write without asking")] = False,
    load: Annotated[
        bool, typer.Option("--load", help="then load them and build, as market backfill and run do")
    ] = False,
) -> None:
    """Look symbols up at the sources and write them into the registry; say what of their history there is."""
    with reporting():
        import sys

        from extract.core.settings import ConfigurationError
        from scripts.symbols import assets

        if not words(symbols):
            raise ConfigurationError("name a symbol: market add AAPL SPY BTC")
        options = checked_options(None, timeframes, None, since, None, start_option="--since")
        is_asking = sys.stdin.isatty() and not yes
        start = options["start"]
        planned = assets.plan(
            words(symbols), options["timeframes"], start and start.date(), _chosen_asset if is_asking else None
        )
        for line in planned.lines:
            typer.echo(line)
        for problem in planned.problems:
            typer.echo(problem, err=True)
        if planned.rows and is_asking and not typer.confirm("write this into the registry?", default=True):
            typer.echo("nothing is written")
            raise typer.Exit(EXIT_FAILED)
        if planned.rows:
            assets.write(planned.rows)
        added = [row["symbol"] for row in planned.rows]
        if added:
            typer.echo(f"written: {', '.join(added)}\n{assets.next_steps(planned, start and start.date(), load)}")
        code = EXIT_PARTLY if added and planned.problems else EXIT_CONFIGURATION if planned.problems else 0
        if planned.is_failed:
            code = EXIT_FAILED
        if load and added:
            code = _loaded(added, start) or code
        raise typer.Exit(code)


def _chosen_asset(options: list[Any]) -> Any:
    """Ask which of several assets is meant."""
    for number, option in enumerate(options, 1):
        typer.echo(f"{number}  {option}")
    while True:
        number = typer.prompt("which", type=int)
        if 1 <= number <= len(options):
            return options[number - 1]
        typer.echo(f"a number from 1 to {len(options)}")


def _loaded(symbols: list[str], start: datetime | None) -> int:
    """The exit code of loading these symbols from `start` on, or as far back as a first extract goes, and of a build."""
    from extract.commands import backfill as job
    from scripts.pipeline import run

    code = 0
    if start is not None:
        from extract.core import clock

        code = finish(job.backfill(symbols=symbols, timeframes=[], source=None, start=start, end=clock.now()))
    return run.run(None, "command") or code


@commands.command()
def remove(
    symbols: Annotated[list[str], typer.Argument(help="e.g. AAPL BTC")],
    delete: Annotated[
        bool, typer.Option("--delete", help="take the row out, too: the next build takes the bars from the marts")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="delete without asking")] = False,
) -> None:
    """Ask for these symbols no more; what is loaded stays."""
    with reporting():
        import sys

        from scripts.symbols import assets

        names = assets.in_registry(words(symbols))
        if delete and not yes and sys.stdin.isatty():
            question = f"take {', '.join(names)} out of the registry, and its bars from the marts with the next build?"
            if not typer.confirm(question):
                typer.echo("nothing is written")
                raise typer.Exit(EXIT_FAILED)
        typer.echo("\n".join(assets.remove(names, delete)))


@commands.command("list")
def list_assets(json: AsJson = False) -> None:
    """Show the registry: names at each source, timeframes, and from when to when there are bars."""
    with reporting():
        from scripts.symbols import assets

        assets.show(as_json=json)
