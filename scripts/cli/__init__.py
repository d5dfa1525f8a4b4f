"""The `market` command.

One module per kind of command. Each command imports what it needs itself: reading commands must answer within a second.
"""

from __future__ import annotations

import warnings
from typing import Annotated

import typer

from scripts.cli import corrections, database, loading, pipeline, publishing, reading, registry

# Of a library of dlt's, about a faster part that it no longer uses: two lines above what doctor, extract and run say.
warnings.filterwarnings("ignore", message=r"sqlglot\[rs\]")

app = typer.Typer(
    name="market",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="A Postgres warehouse of stock and crypto bars: extract, backfill, and look at what is there.",
)

for title, kind in (
    ("Begin, and run", pipeline),
    ("Symbols", registry),
    ("Look at the data", reading),
    ("Load from the providers", loading),
    ("Show it to others", publishing),
    ("Put right by hand", corrections),
    ("The database", database),
):
    for command in kind.commands.registered_commands:
        command.rich_help_panel = title
    app.add_typer(kind.commands)


def _show_version(is_asked: bool) -> None:
    if is_asked:
        from importlib.metadata import version

        typer.echo(f"market {version('market-warehouse')}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="the version of this product")
    ] = False,
) -> None:
    """See the help of the app."""
