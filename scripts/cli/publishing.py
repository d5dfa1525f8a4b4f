"""What others read: the HTTP API, the site, the metrics."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scripts.cli.reporting import EXIT_FAILED, reporting

commands = typer.Typer()


@commands.command()
def serve(
    host: Annotated[str, typer.Option("--host", help="0.0.0.0: every machine may read; by default only this one")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option("--port", min=1, max=65535)] = 8000,
) -> None:
    """Serve the HTTP API, the dashboard and /metrics until SIGTERM or Ctrl-C."""
    with reporting():
        from extract.core import logs
        from scripts.api.server import CannotListen, serve

        try:
            serve(host, port)
        except CannotListen as problem:
            logs.tell(str(problem))
            raise typer.Exit(EXIT_FAILED) from None


@commands.command()
def site() -> None:
    """Write the dashboard and the symbol pages into site/."""
    with reporting():
        from extract.core import logs
        from scripts import site

        try:
            typer.echo(f"site/index.html: {site.build()}")
        except LookupError as error:
            logs.tell(str(error))
            raise typer.Exit(1) from None


@commands.command()
def docs(
    bars: Annotated[int, typer.Option("--bars", min=1, help="how many bars the features are checked on")] = 20_000,
) -> None:
    """Write dbt docs, column lineage and the feature dictionary, checked on the stored bars, into site/."""
    with reporting():
        from extract.core import logs
        from scripts import site

        try:
            entries = site.build_documents(bars_to_check=bars)
        except (LookupError, site.DocumentsFailed, site.FeaturesWrong) as error:
            logs.tell(str(error))
            raise typer.Exit(1) from None
        seen = [entry for entry in entries if entry.evidence.verdict == "agrees"]
        typer.echo(
            f"site/features.html: {len(seen)} of {len(entries)} features agree with their definitions on "
            f"{entries[0].evidence.bars:,} bars, {len(entries) - len(seen)} have no value yet"
        )


@commands.command()
def metrics(
    file: Annotated[Path | None, typer.Option("--file", help="write to this file, for node_exporter")] = None,
) -> None:
    """Print the metrics of sources, series, quality and runs as OpenMetrics."""
    with reporting():
        from scripts.monitoring import metrics

        if file:
            metrics.write(file)
        else:
            typer.echo(metrics.render().decode(), nl=False)
