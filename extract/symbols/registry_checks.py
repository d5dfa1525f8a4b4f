"""What a registry that can be read may still have wrong: calendars, upper and lower case, lists. For `market doctor`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from extract.core import sources
from extract.core.settings import ConfigurationError
from extract.symbols.registry import Asset


def calendars_of(assets: Sequence[Asset], today: date) -> list[str]:
    """Rows whose calendar is unknown or not one of their class, and calendars whose holidays are not known a year on."""
    problems = []
    for asset in assets:
        try:
            calendar = asset.market
        except ConfigurationError as problem:
            problems.append(f"{asset.symbol}: {problem}")
            continue
        if calendar.never_closes != (asset.asset_class == "crypto"):
            problems.append(f"{asset.symbol}: {calendar.name} is no calendar of a {asset.asset_class}")
        if calendar.exceptions and max(calendar.exceptions).year < today.year:
            problems.append(f"{calendar.name}: no holiday is known after {max(calendar.exceptions)}")
    return list(dict.fromkeys(problems))


def cases(assets: Sequence[Asset]) -> list[str]:
    """Symbols that differ in case alone, and names in a case that their source does not use."""
    problems = []
    written: dict[str, str] = {}
    for asset in assets:
        other = written.setdefault(asset.symbol.casefold(), asset.symbol)
        if other != asset.symbol:
            problems.append(f"{other} and {asset.symbol} are two symbols")
        for source in sources.listed().values():
            named = [(column, asset.names[column]) for column in source.columns if column in asset.names]
            problems += [
                f"{asset.symbol}: {column} {problem}"
                for column, name in named
                if (problem := _miswritten(name, source.case))
            ]
    return problems


def _miswritten(name: str, case: str | None) -> str | None:
    """What is wrong with the case of a name, if anything. Preferred shares may have small letters inside: BRpA."""
    if case == "capital":
        return f"{name} begins with a capital" if name[0].islower() else None
    usual = {"upper": name.upper(), "lower": name.lower()}.get(case or "", name)
    return f"{name} is written {usual}" if name != usual else None


def lists(assets: Sequence[Asset]) -> list[str]:
    """Sources in an order that have no name for the asset, sources with one that the order leaves out, rows nobody serves."""
    problems = []
    for asset in assets:
        there = {source for source in sources.with_bars() if asset.name_at(source)}
        if not there:
            problems.append(f"{asset.symbol}: no source has a name for it")
        if there and (unserved := [name for name in asset.fetched if not asset.is_served(name)]):
            problems.append(
                f"{asset.symbol}: no source of it has {' '.join(unserved)} (source_timeframes.csv), nor what it could be made of"
            )
        order = set(asset.source_priority)
        if order and (left := sorted(there - order)):
            problems.append(
                f"{asset.symbol}: source_priority leaves out {', '.join(left)}, so no bar of theirs is used"
            )
        if order and not order & there and there:
            problems.append(f"{asset.symbol}: source_priority names only sources that do not have it")
    return problems
