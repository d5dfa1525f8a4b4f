"""The whole pipeline: once, daily, and as the demo; the folder to work in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from scripts.cli.reporting import reporting

commands = typer.Typer()


@commands.command()
def demo() -> None:
    """Run the whole pipeline on real and synthetic data, without key, server or network."""
    with reporting(needs_project=False):
        from scripts import demo

        raise typer.Exit(demo.main())


@commands.command()
def init() -> None:
    """Make the current folder one to work in, after `pip install` or an upgrade: the dbt project; your symbols stay."""
    with reporting(needs_project=False):
        from scripts import project

        replaced = project.make(Path.cwd())
        typer.echo(
            "dbt_project.yml, profiles.yml, dbt_project: made; "
            + (f"the former ones are in {project.FORMER}" if replaced else "next: market add AAPL, market run")
        )


@commands.command("run")
def run_all(
    run_id: Annotated[str | None, typer.Option("--run-id", help="the run's name; made up by default")] = None,
    started_by: Annotated[
        Literal["command", "schedule", "api"], typer.Option("--started-by", help="who asks for it, for the record")
    ] = "command",
) -> None:
    """Extract, build, alert: the whole pipeline once, under one lock (exit code 75: another run holds it)."""
    with reporting():
        import signal

        from scripts.pipeline import run

        # As Ctrl-C: the run gets to write down that it was stopped.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        raise typer.Exit(run.run(run_id, started_by))


@commands.command()
def schedule(
    every: Annotated[str | None, typer.Option("--every", help="e.g. 5m: also load intraday bars this often")] = None,
) -> None:
    """Stay, and run daily at ENRICHMENT_SCHEDULE_HOUR:MINUTE UTC, until SIGTERM or Ctrl-C."""
    with reporting():
        from scripts.pipeline import schedule

        raise typer.Exit(schedule.serve(schedule.interval(every) if every else None))
