"""The `market` command. Each subcommand imports what it needs itself: reading commands must answer within a second."""

from __future__ import annotations

import errno
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from extract.load.outcomes import Report

# Of a library of dlt's, about a faster part that it no longer uses: two lines above what doctor, extract and run say.
warnings.filterwarnings("ignore", message=r"sqlglot\[rs\]")

EXIT_FAILED, EXIT_UNEXPECTED, EXIT_PARTLY, EXIT_LOCKED, EXIT_CONFIGURATION, EXIT_INTERRUPTED = 1, 2, 3, 75, 78, 130
# What a write to a full disk says, which names no file.
FULL = (errno.ENOSPC, errno.EDQUOT)

app = typer.Typer(
    name="market",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="A Postgres warehouse of stock and crypto bars: extract, backfill, and look at what is there.",
)


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


@app.command()
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
    with _reporting():
        from extract.commands import extraction

        options = _options(symbols, timeframes, source, start, end) | {"again": again}
        if dry_run:
            from extract.commands.dry_run import show_extract

            show_extract(**options)
            return
        raise typer.Exit(_finish(extraction.extract(**options)))


@app.command("run")
def run_all(
    run_id: Annotated[str | None, typer.Option("--run-id", help="the run's name; made up by default")] = None,
    started_by: Annotated[
        Literal["command", "schedule", "api"], typer.Option("--started-by", help="who asks for it, for the record")
    ] = "command",
) -> None:
    """Extract, build, alert: the whole pipeline once, under one lock (exit code 75: another run holds it)."""
    with _reporting():
        import signal

        from scripts.pipeline import run

        # As Ctrl-C: the run gets to write down that it was stopped.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        raise typer.Exit(run.run(run_id, started_by))


@app.command()
def migrate() -> None:
    """Bring the warehouse's own tables (schemas ops and raw_*) to this version; extract and run do it by themselves."""
    with _reporting():
        from extract.core import database

        applied = database.migrate()
        for migration in applied:
            typer.echo(f"applied {migration.version:04d} {migration.name}")
        if not applied:
            typer.echo("nothing to apply: the warehouse is at this version")


@app.command()
def schedule(
    every: Annotated[str | None, typer.Option("--every", help="e.g. 5m: also load intraday bars this often")] = None,
) -> None:
    """Stay, and run daily at ENRICHMENT_SCHEDULE_HOUR:MINUTE UTC, until SIGTERM or Ctrl-C."""
    with _reporting():
        from scripts.pipeline import schedule

        raise typer.Exit(schedule.serve(schedule.interval(every) if every else None))


@app.command()
def prune(
    older_than: Annotated[int, typer.Option("--older-than", min=0, help="days since the answer came")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only say what would go, and how many bytes")] = False,
) -> None:
    """Drop raw payloads that reported nothing new; no revision and no result changes, also in a full refresh."""
    with _reporting():
        from scripts.postgres import retention

        pruned = retention.prune(timedelta(days=older_than), dry_run)
        for one in pruned:
            typer.echo(str(one))
        payloads, size = sum(one.payloads for one in pruned), sum(one.bytes for one in pruned)
        typer.echo(f"{'would drop' if dry_run else 'dropped'} {payloads} payloads, {size:,} bytes")


@app.command()
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
    with _reporting():
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


@app.command()
def backfill(
    start: Annotated[str, typer.Option("--start", help="date or ISO-8601 instant, UTC")],
    end: Annotated[str, typer.Option("--end", help="date (included) or ISO-8601 instant, UTC")],
    symbols: Symbols = None,
    timeframes: Timeframes = None,
    source: Source = None,
    dry_run: DryRun = False,
) -> None:
    """Load history; killed or paused, the same command goes on where the data end."""
    with _reporting():
        from extract.commands import backfill as job

        options = _options(symbols, timeframes, source, start, end)
        if dry_run:
            from extract.commands.dry_run import show_backfill

            show_backfill(**options)
            return
        raise typer.Exit(_finish(job.backfill(**options)))


@app.command("backfill-resume")
def backfill_resume() -> None:
    """Continue every unfinished backfill."""
    with _reporting():
        from extract.commands import backfill as job

        raise typer.Exit(_finish(job.resume()))


@app.command("backfill-pause")
def backfill_pause() -> None:
    """Stop running backfills after the package they are loading."""
    with _reporting():
        from extract.plan import backfill_jobs

        paused = backfill_jobs.pause()
        typer.echo(f"paused: {paused} (continue with: market backfill-resume)" if paused else "no backfill is running")


@app.command("backfill-status")
def backfill_status(json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """Show how far each backfill is, per series."""
    with _reporting():
        from extract.plan import backfill_jobs

        backfill_jobs.show(as_json=json)


@app.command("collect-liquidations")
def collect_liquidations(symbols: Symbols = None) -> None:
    """Watch Binance's stream of forced orders until SIGTERM or Ctrl-C; runs in parallel to an extract."""
    with _reporting():
        from extract.commands.liquidations import collect

        raise typer.Exit(0 if collect(_words(symbols)) else 1)


@app.command()
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
    with _reporting():
        import sys

        from extract.core.settings import ConfigurationError
        from scripts.symbols import assets

        if not _words(symbols):
            raise ConfigurationError("name a symbol: market add AAPL SPY BTC")
        options = _options(None, timeframes, None, since, None, start_option="--since")
        is_asking = sys.stdin.isatty() and not yes
        start = options["start"]
        planned = assets.plan(
            _words(symbols), options["timeframes"], start and start.date(), _chosen_asset if is_asking else None
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

        code = _finish(job.backfill(symbols=symbols, timeframes=[], source=None, start=start, end=clock.now()))
    return run.run(None, "command") or code


@app.command()
def remove(
    symbols: Annotated[list[str], typer.Argument(help="e.g. AAPL BTC")],
    delete: Annotated[
        bool, typer.Option("--delete", help="take the row out, too: the next build takes the bars from the marts")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="delete without asking")] = False,
) -> None:
    """Ask for these symbols no more; what is loaded stays."""
    with _reporting():
        import sys

        from scripts.symbols import assets

        names = assets.in_registry(_words(symbols))
        if delete and not yes and sys.stdin.isatty():
            question = f"take {', '.join(names)} out of the registry, and its bars from the marts with the next build?"
            if not typer.confirm(question):
                typer.echo("nothing is written")
                raise typer.Exit(EXIT_FAILED)
        typer.echo("\n".join(assets.remove(names, delete)))


@app.command("list")
def list_assets(json: AsJson = False) -> None:
    """Show the registry: names at each source, timeframes, and from when to when there are bars."""
    with _reporting():
        from scripts.symbols import assets

        assets.show(as_json=json)


@app.command()
def status(symbol: OneSymbol = None, json: AsJson = False) -> None:
    """Show how fresh, complete and good each series is."""
    with _reporting():
        from scripts.reading import reports

        reports.show(reports.STATUS, symbol, as_json=json)


@app.command()
def gaps(
    symbol: OneSymbol = None,
    everything: Annotated[bool, typer.Option("--all", help="also repaired ones, and those around the bars")] = False,
    json: AsJson = False,
) -> None:
    """Show which bars are missing between others, why, and what is done about it: the gaps that status counts."""
    with _reporting():
        from scripts.reading import reports

        reports.show(reports.GAPS, symbol, everything=everything, as_json=json)


@app.command()
def sources(json: AsJson = False) -> None:
    """Show each provider's circuit breaker, errors, response times and quota."""
    with _reporting():
        from scripts.reading import reports

        reports.show(reports.SOURCES, as_json=json)


@app.command()
def unblock(
    source: Annotated[str, typer.Argument(help="a source, or one of its hosts (`market sources` lists the sources)")],
) -> None:
    """Ask a source again in the next run: lift its block (a long Retry-After) and close its circuit breaker."""
    with _reporting():
        from extract.commands.unblock import unblock
        from extract.core import database

        database.migrate()
        typer.echo("\n".join(unblock(source)) or f"{source}: nothing was blocking it")


@app.command()
def revisions(
    symbol: Annotated[str, typer.Argument(help="e.g. BTC")],
    timeframe: Annotated[str | None, typer.Argument(help="e.g. 1h; all by default")] = None,
    json: AsJson = False,
) -> None:
    """Show every correction of a symbol's bars: from what to what, why, and when it was known."""
    with _reporting():
        from scripts.reading import reports

        reports.show(reports.REVISIONS, symbol, timeframe, as_json=json)


@app.command()
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
    with _reporting():
        from json import dumps

        from extract.core.settings import ConfigurationError
        from market_warehouse import questions
        from market_warehouse.errors import BadQuestion, WarehouseUnavailable
        from scripts.reading import Unreadable, export

        options = _options(symbols, timeframes, None, start, end)
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


@app.command()
def url(
    with_password: Annotated[
        bool, typer.Option("--with-password", help="for clients that read no password file; keep it to yourself")
    ] = False,
) -> None:
    """Print the database's URL, for bars(url=...), psql, SQLAlchemy or a notebook; the password stays in its file."""
    with _reporting():
        from scripts import reading

        typer.echo(reading.public_url(with_password))


@app.command()
def serve(
    host: Annotated[str, typer.Option("--host", help="0.0.0.0: every machine may read; by default only this one")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option("--port", min=1, max=65535)] = 8000,
) -> None:
    """Serve the HTTP API, the dashboard and /metrics until SIGTERM or Ctrl-C."""
    with _reporting():
        from extract.core import logs
        from scripts.api.server import CannotListen, serve

        try:
            serve(host, port)
        except CannotListen as problem:
            logs.tell(str(problem))
            raise typer.Exit(EXIT_FAILED) from None


@app.command()
def metrics(
    file: Annotated[Path | None, typer.Option("--file", help="write to this file, for node_exporter")] = None,
) -> None:
    """Print the metrics of sources, series, quality and runs as OpenMetrics."""
    with _reporting():
        from scripts.monitoring import metrics

        if file:
            metrics.write(file)
        else:
            typer.echo(metrics.render().decode(), nl=False)


@app.command()
def roles() -> None:
    """Create the least-privilege roles for extract, dbt and readers in the database; safe to repeat."""
    with _reporting():
        from scripts.postgres import roles

        roles.create()
        typer.echo(roles.NEXT_STEPS)


@app.command()
def correct(
    symbol: Annotated[str, typer.Argument(help="our symbol, e.g. AAPL")],
    timeframe: Annotated[str, typer.Argument(help="e.g. 1d; or split, dividend")],
    timestamp: Annotated[
        str, typer.Argument(help="open of the bar, UTC, e.g. 2024-01-31T14:30; days: 2024-01-31; or the ex-date")
    ],
    values: Annotated[
        list[str] | None, typer.Argument(help="e.g. close=101.5 volume=12000, as traded; split 4:1; dividend 0.25")
    ] = None,
    reason: Annotated[str, typer.Option("--reason", help="why; stored with the correction")] = "",
    by: Annotated[str | None, typer.Option("--by", help="who; your login by default")] = None,
    asset_class: Annotated[str | None, typer.Option("--asset-class", help="where a symbol is several assets")] = None,
    withdraw: Annotated[bool, typer.Option("--withdraw", help="take the correction back")] = False,
    strike: Annotated[bool, typer.Option("--strike", help="there is no such split or dividend")] = False,
) -> None:
    """Correct a bar, split or dividend by hand: it outranks all sources until it is withdrawn. Takes effect with the next
    build."""
    with _reporting():
        from extract.core.settings import ConfigurationError
        from scripts.corrections import manual_actions, manual_corrections

        if timeframe in manual_actions.KINDS:
            if strike and withdraw:
                raise ConfigurationError("either --strike or --withdraw")
            change: manual_actions.Change = "strike" if strike else "withdraw" if withdraw else "set"
            changed = manual_actions.correct(
                symbol, timeframe, timestamp, values or [], change, reason, by, asset_class
            )
            typer.echo(f"{changed}\nrecorded; the next build (make build) applies it")
            return
        if strike:
            raise ConfigurationError(
                "--strike is for splits and dividends; a bar's correction is taken back: --withdraw"
            )
        if withdraw and values:
            raise ConfigurationError("--withdraw takes no values: it takes the whole correction of the bar back")
        if withdraw:
            changed = manual_corrections.withdraw(symbol, timeframe, timestamp, reason, by, asset_class)
        else:
            changed = manual_corrections.correct(symbol, timeframe, timestamp, values or [], reason, by, asset_class)
        typer.echo(f"{changed}\nrecorded; the next build (make build) applies it")


@app.command()
def record(
    names: Annotated[list[str], typer.Argument(metavar="SYMBOL... DIR", help="symbols, then a new folder")],
    source: Source = None,
    timeframes: Timeframes = None,
    start: Start = None,
    end: End = None,
) -> None:
    """Write what the raw tables hold of some answers as a case folder, without keys, for a report or a test."""
    with _reporting():
        from extract.core.settings import ConfigurationError
        from scripts.reading import record

        options = _options(names[:-1], timeframes, source, start, end)
        if not options["symbols"]:
            raise ConfigurationError("name the symbols and then the folder: market record BTC AAPL cases/mine")
        typer.echo(str(record.record(folder=Path(names[-1]), **options)))


@app.command()
def quarantine(
    load: Annotated[str | None, typer.Argument(help="as an alert names it; without one, those out of force")] = None,
    lift: Annotated[bool, typer.Option("--lift", "--back", help="put it back in force")] = False,
    reason: Annotated[str, typer.Option("--reason", help="why; stored with it")] = "",
    by: Annotated[str | None, typer.Option("--by", help="who; your login by default")] = None,
) -> None:
    """Take a load whose answers are wrong out of force, or put it back. Takes effect with the next build."""
    with _reporting():
        from extract.core.settings import ConfigurationError
        from scripts.corrections import quarantine

        if load is None:
            if lift:
                raise ConfigurationError("--lift: name the load; market quarantine lists those out of force")
            typer.echo("\n".join(map(str, quarantine.listed())) or "no load is quarantined")
            return
        done = quarantine.lift(load, reason, by) if lift else quarantine.quarantine(load, reason, by)
        typer.echo(f"{done}\nrecorded; the next build (make build) processes it, the next extract asks again")


@app.command()
def backup(
    file: Annotated[Path | None, typer.Argument(help="a new file; by default one in .warehouse/backups")] = None,
) -> None:
    """Dump what cannot be made again (raw answers, the pipeline's own records, history) into a file."""
    with _reporting():
        from scripts.postgres import backup

        made = backup.backup(file)
        typer.echo(f"{made}: {made.stat().st_size:,} bytes (back: market restore {made})")


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(help="as market backup wrote it")],
    database: Annotated[
        str | None, typer.Option("--database", help="into this one, made if missing; PGDATABASE by default")
    ] = None,
) -> None:
    """Fill an empty database from such a file; the next build makes the rest."""
    with _reporting():
        from scripts.postgres import backup

        typer.echo(backup.restore(file, database))


@app.command("leakage-check")
def leakage_check(json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """Count feature values that were written over with nothing to explain it: 0, or a feature looked ahead."""
    with _reporting():
        from scripts.reading import leakage

        found = leakage.check()
        typer.echo(found.as_json() if json else found.as_text())
        raise typer.Exit(0 if found.is_clean else 1)


@app.command()
def demo() -> None:
    """Run the whole pipeline on real and synthetic data, without key, server or network."""
    with _reporting(needs_project=False):
        from scripts import demo

        raise typer.Exit(demo.main())


@app.command()
def init() -> None:
    """Make the current folder one to work in, after `pip install` or an upgrade: the dbt project; your symbols stay."""
    with _reporting(needs_project=False):
        from scripts import project

        replaced = project.make(Path.cwd())
        typer.echo(
            "dbt_project.yml, profiles.yml, dbt_project: made; "
            + (f"the former ones are in {project.FORMER}" if replaced else "next: market add AAPL, market run")
        )


@app.command()
def site() -> None:
    """Write the dashboard and the symbol pages into site/."""
    with _reporting():
        from extract.core import logs
        from scripts import site

        try:
            typer.echo(f"site/index.html: {site.build()}")
        except LookupError as error:
            logs.tell(str(error))
            raise typer.Exit(1) from None


@app.command()
def docs(
    bars: Annotated[int, typer.Option("--bars", min=1, help="how many bars the features are checked on")] = 20_000,
) -> None:
    """Write dbt docs, column lineage and the feature dictionary, checked on the stored bars, into site/."""
    with _reporting():
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


@app.command()
def doctor(
    quick: Annotated[bool, typer.Option("--quick", help="leave out the symbol map, which asks each source")] = False,
    probe: Annotated[
        bool, typer.Option("--probe", help="ask each endpoint in use once, and compare with what is documented")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="of --probe, for programs")] = False,
) -> None:
    """Check settings, keys, database, clock, symbol map, pending loads, lock and disk; name the remedies."""
    with _reporting():
        from extract.commands.doctor import examine, show_probe
        from extract.core.redaction import redact

        if probe:
            raise typer.Exit(show_probe(as_json=json))
        bad = 0
        for check in examine(symbols=not quick):
            typer.echo(redact(str(check)))
            bad += check.has_failed
        raise typer.Exit(1 if bad else 0)


def _options(
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

    chosen = _words(timeframes)
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
    return {"symbols": _words(symbols), "timeframes": chosen, "source": source, **window}


def _words(values: list[str] | None) -> list[str]:
    """Options may be repeated, or name several values at once, parted by blanks or commas."""
    return [word for value in values or [] for word in value.replace(",", " ").split()]


def _instant(text: str, is_end: bool) -> datetime:
    """A time without an offset is UTC; an end that is a date includes that day."""
    value = datetime.fromisoformat(text)
    value = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    return value + timedelta(days=1) if is_end and len(text) == len("2024-01-31") else value


def _finish(report: Report) -> int:
    """The last line of a loading command, and its exit code."""
    log = logging.getLogger("market")
    if report.failed:
        log.error("%d done, %d failed: %s", report.done, len(report.failed), ", ".join(report.failed))
    else:
        log.info("all %d done", report.done)
    return report.exit_code


@contextmanager
def _reporting(needs_project: bool = True) -> Iterator[None]:
    """Set up the log, and turn the errors that have an exit code of their own into one line and that code."""
    from extract.core import logs
    from extract.core.database import LockHeld, Unreachable, meaning_of
    from extract.core.locks import LockLost
    from extract.core.settings import ConfigurationError
    from scripts import project
    from scripts.postgres import PostgresError
    from scripts.postgres.backup import BackupFailed
    from scripts.reading import Unreadable

    logs.configure()
    try:
        if needs_project:
            project.require(Path.cwd())
        yield
    except LockHeld as error:
        logs.tell(str(error))
        raise typer.Exit(EXIT_LOCKED) from None
    except ConfigurationError as error:
        logs.tell(str(error))
        raise typer.Exit(EXIT_CONFIGURATION) from None
    except Unreadable as error:
        logs.tell(str(error))
        raise typer.Exit(EXIT_CONFIGURATION if error.is_setting else EXIT_FAILED) from None
    except (Unreachable, LockLost, PostgresError, BackupFailed) as error:
        logs.tell(str(error))
        raise typer.Exit(EXIT_FAILED) from None
    except (typer.Exit, BrokenPipeError):
        # Who reads us has seen enough (`market status | head`): Typer ends in silence.
        raise
    except (KeyboardInterrupt, typer.Abort):
        # Ctrl-C, at a question, too.
        raise typer.Exit(EXIT_INTERRUPTED) from None
    except Exception as error:
        if (meant := meaning_of(error)) is not None:
            logs.tell(str(meant))
            is_setting = isinstance(meant, ConfigurationError)
            raise typer.Exit(EXIT_CONFIGURATION if is_setting else EXIT_FAILED) from None
        if isinstance(error, OSError) and (error.filename is not None or error.errno in FULL):
            # A folder that is not ours, a file in its place, a full disk: nothing that a traceback would explain.
            where = f"{error.filename}: " if error.filename is not None else ""
            logs.tell(f"{where}{error.strerror} (name another place, make room, or mend its rights)")
            raise typer.Exit(EXIT_FAILED) from None
        logging.getLogger("market").exception("unexpected error")
        raise typer.Exit(EXIT_UNEXPECTED) from None


if __name__ == "__main__":
    app()
