"""The database itself: its tables, roles, size and safety."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from scripts.cli.reporting import reporting

commands = typer.Typer()


@commands.command()
def migrate() -> None:
    """Bring the warehouse's own tables (schemas ops and raw_*) to this version; extract and run do it by themselves."""
    with reporting():
        from extract.core import database

        applied = database.migrate()
        for migration in applied:
            typer.echo(f"applied {migration.version:04d} {migration.name}")
        if not applied:
            typer.echo("nothing to apply: the warehouse is at this version")


@commands.command()
def roles() -> None:
    """Create the least-privilege roles for extract, dbt and readers in the database; safe to repeat."""
    with reporting():
        from scripts.postgres import roles

        roles.create()
        typer.echo(roles.NEXT_STEPS)


@commands.command()
def prune(
    older_than: Annotated[int, typer.Option("--older-than", min=0, help="days since the answer came")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only say what would go, and how many bytes")] = False,
) -> None:
    """Drop raw payloads that reported nothing new; no revision and no result changes, also in a full refresh."""
    with reporting():
        from scripts.postgres import retention

        pruned = retention.prune(timedelta(days=older_than), dry_run)
        for one in pruned:
            typer.echo(str(one))
        payloads, size = sum(one.payloads for one in pruned), sum(one.bytes for one in pruned)
        typer.echo(f"{'would drop' if dry_run else 'dropped'} {payloads} payloads, {size:,} bytes")


@commands.command()
def backup(
    file: Annotated[Path | None, typer.Argument(help="a new file; by default one in .warehouse/backups")] = None,
) -> None:
    """Dump what cannot be made again (raw answers, the pipeline's own records, history) into a file."""
    with reporting():
        from scripts.postgres import backup

        made = backup.backup(file)
        typer.echo(f"{made}: {made.stat().st_size:,} bytes (back: market restore {made})")


@commands.command()
def restore(
    file: Annotated[Path, typer.Argument(help="as market backup wrote it")],
    database: Annotated[
        str | None, typer.Option("--database", help="into this one, made if missing; PGDATABASE by default")
    ] = None,
) -> None:
    """Fill an empty database from such a file; the next build makes the rest."""
    with reporting():
        from scripts.postgres import backup

        typer.echo(backup.restore(file, database))
