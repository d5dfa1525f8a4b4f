"""By hand: bars, splits and dividends put right, loads taken out of force."""

from __future__ import annotations

from typing import Annotated

import typer

from scripts.cli.reporting import reporting

commands = typer.Typer()


@commands.command()
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
    with reporting():
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


@commands.command()
def quarantine(
    load: Annotated[str | None, typer.Argument(help="as an alert names it; without one, those out of force")] = None,
    lift: Annotated[bool, typer.Option("--lift", "--back", help="put it back in force")] = False,
    reason: Annotated[str, typer.Option("--reason", help="why; stored with it")] = "",
    by: Annotated[str | None, typer.Option("--by", help="who; your login by default")] = None,
) -> None:
    """Take a load whose answers are wrong out of force, or put it back. Takes effect with the next build."""
    with reporting():
        from extract.core.settings import ConfigurationError
        from scripts.corrections import quarantine

        if load is None:
            if lift:
                raise ConfigurationError("--lift: name the load; market quarantine lists those out of force")
            typer.echo("\n".join(map(str, quarantine.listed())) or "no load is quarantined")
            return
        done = quarantine.lift(load, reason, by) if lift else quarantine.quarantine(load, reason, by)
        typer.echo(f"{done}\nrecorded; the next build (make build) processes it, the next extract asks again")
