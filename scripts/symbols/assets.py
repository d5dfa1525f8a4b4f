"""`market add`, `market remove`, `market list`: the registry without an editor."""

from __future__ import annotations

import json
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, LiteralString

from extract.calendar import calendars
from extract.calendar.timeframes import DAY, FIRST_REACH, STEPS
from extract.core import clock, sources
from extract.core.settings import ConfigurationError
from extract.symbols import registry, registry_file
from extract.symbols.registry import ASSET_CLASSES, Asset, columns
from scripts import reading

if TYPE_CHECKING:
    from extract.providers.lookups import Found, Listing

# What is fetched unless --timeframes says otherwise: finer bars cost requests, and coarser ones are resampled.
HOUR = next(name for name, step in STEPS.items() if step >= timedelta(hours=1))
TIMEFRAMES = {"stock": DAY, "etf": DAY, "index": DAY, "crypto": f"{HOUR} {DAY}"}

# Where all of a history is asked for, and no source says from when there is one.
UNKNOWN_START = date(1990, 1, 1)

Row = dict[str, str]


def kind_of(asset_class: str) -> str:
    """What a class is as far as sources agree on it: of a fund one says stock, another ETF."""
    return "share" if asset_class in ("stock", "etf") else asset_class


@dataclass(frozen=True)
class Choice:
    """One asset that a symbol may be."""

    symbol: str
    asset_class: str
    listings: tuple[Listing, ...]

    @property
    def kind(self) -> str:
        return kind_of(self.asset_class)

    def __str__(self) -> str:
        names = "; ".join(f"{one.column} {one.name} ({one.description})" for one in self.listings)
        return f"{self.asset_class}:{self.symbol}  {names}"


@dataclass(frozen=True)
class Plan:
    """What `add` would write: whole rows, new or changed, and why the others are left out."""

    rows: tuple[Row, ...]
    lines: tuple[str, ...]
    problems: tuple[str, ...]
    # The first day with bars of any of the symbols at any source, as far as sources say it.
    first_day: date | None = None
    # Nobody answered at all.
    is_failed: bool = False


def choices(symbol: str, wanted: str | None, found: Found) -> list[Choice]:
    """The assets that the sources know by the symbol, by class. A fund is an ETF if one source calls it so."""
    listings = found.listings[symbol]
    shares = [one for one in listings if one.asset_class in ("stock", "etf")]
    if shares:
        kind = "etf" if any(one.asset_class == "etf" for one in shares) else "stock"
        shares_choice = [Choice(symbol, kind, tuple(shares))]
    else:
        shares_choice = []
    others = {kind: tuple(one for one in listings if one.asset_class == kind) for kind in ("index", "crypto")}
    all_of_them = shares_choice + [Choice(symbol, kind, found) for kind, found in others.items() if found]
    if wanted is None:
        return all_of_them
    return [one for one in all_of_them if one.kind == kind_of(wanted)]


def parse(text: str) -> tuple[str | None, str]:
    """`AAPL` or, where a symbol is several assets, `stock:AAPL`: class and symbol."""
    head, colon, symbol = text.partition(":")
    return (head, symbol.upper()) if colon and head in ASSET_CLASSES else (None, text.upper())


def plan(
    names: Sequence[str],
    timeframes: Sequence[str],
    since: date | None,
    choose: Callable[[list[Choice]], Choice] | None = None,
) -> Plan:
    """What to write for the symbols; asks the sources. `choose` decides where a symbol is several assets; without it that
    is a ConfigurationError which lists them."""
    from extract.commands import lookup

    wanted = {symbol: asset_class for asset_class, symbol in map(parse, names)}
    found = lookup.find(list(wanted))
    existing = registry_file.rows(registry_file.ensure())
    rows: list[Row] = []
    listings: list[Listing] = []
    lines = [f"not asked: {reason}" for source, reason in found.unasked.items()]
    problems = []
    unclear: list[str] = []
    for symbol, asset_class in wanted.items():
        options = choices(symbol, asset_class, found)
        if not options:
            problems.append(_unknown(symbol, asset_class, found))
            continue
        if len(options) > 1 and choose is None:
            unclear += [f"  {option}" for option in options]
            continue
        chosen = choose(options) if choose and len(options) > 1 else options[0]
        before = _row_of(existing, symbol)
        if before and kind_of(before["asset_class"]) != chosen.kind:
            problems.append(
                f"{symbol} is in the registry already, as {before['asset_class']}: name this one otherwise by hand"
            )
            continue
        row = _row(chosen, timeframes, since, before)
        if row == before:
            lines.append(f"{symbol}: nothing to change ({row['timeframes']})")
            continue
        rows.append(row)
        listings += chosen.listings
        lines += _described(row, chosen, before, found)
    if unclear:
        raise ConfigurationError(
            "these are several assets; say which, for example `market add "
            + unclear[0].split()[0]
            + "`:\n"
            + "\n".join(unclear)
        )
    return Plan(
        tuple(rows),
        tuple(lines),
        tuple(problems),
        min((one.since for one in listings if one.since), default=None),
        set(sources.with_bars()) <= set(found.unasked),
    )


def _row_of(rows: Sequence[Row], symbol: str) -> Row | None:
    """The row of the newest name that a symbol has."""
    mine = [row for row in rows if row["symbol"] == symbol]
    return max(mine, key=lambda row: row["active_from"] or "0001", default=None)


def _row(chosen: Choice, timeframes: Sequence[str], since: date | None, before: Row | None) -> Row:
    row = dict(before) if before else dict.fromkeys(columns(), "")
    if before is None:
        row |= {
            "symbol": chosen.symbol,
            "asset_class": chosen.asset_class,
            "calendar": next(
                filter(None, (one.calendar for one in chosen.listings)), calendars.of(None, chosen.asset_class).name
            ),
            "source_priority": _priority(chosen.asset_class),
            "timeframes": " ".join(timeframes) or TIMEFRAMES[chosen.asset_class],
        }
        known = [one.since for one in chosen.listings if one.since]
        # Coins have no listing day: each source begins when it likes.
        first = min(known, default=None) if chosen.asset_class != "crypto" else None
        if since and (first is None or since > first):
            first = since
        row["active_from"] = first.isoformat() if first else ""
    else:
        together = {*before["timeframes"].split(), *timeframes}
        row["timeframes"] = " ".join(name for name in STEPS if name in together)
    for one in chosen.listings:
        row[one.column] = row.get(one.column) or one.name
    return row | {"enabled": "true"}


def _priority(asset_class: str) -> str:
    """The order of sources that is written for a class: none where it is the usual one."""
    preferred = sources.preferred_for(asset_class)
    return " ".join(preferred) if preferred != sources.with_bars() else ""


def _described(row: Row, chosen: Choice, before: Row | None, found: Found) -> list[str]:
    head = f"{row['symbol']}: {row['asset_class']}, {row['timeframes']}, calendar {row['calendar']}"
    head += f", from {row['active_from']}" if row["active_from"] else ""
    lines = [f"{'changed' if before else 'new'}  {head}"]
    for one in chosen.listings:
        history = f"history from {one.since}" if one.since else "it does not say from when"
        lines.append(f"       {one.column:16} {one.name:12} {one.description}; {history}")
    absent = [
        column
        for source in sources.listed().values()
        if source.gives_bars and chosen.asset_class in (source.asset_classes or ASSET_CLASSES)
        for column in source.columns
        if not row.get(column) and column not in found.unasked
    ]
    if absent:
        lines.append(f"       not at: {', '.join(absent)}")
    return lines


def _unknown(symbol: str, asset_class: str | None, found: Found) -> str:
    near = [f"{source}: {', '.join(names)}" for source, names in found.nearest[symbol].items()]
    hint = (
        f"; nearest there: {'; '.join(near)}"
        if near
        else "; nothing is like it there (names by hand: docs/operate/symbols.md)"
    )
    what = f"{asset_class} {symbol}" if asset_class else symbol
    asked = [source for source in sources.with_bars() if source not in found.unasked]
    if not asked:
        return f"{what}: no source could be asked"
    return f"{what}: unknown to {', '.join(asked)}{hint}"


def write(rows: Sequence[Row]) -> None:
    """Put the rows into the registry, all at once; what would make it invalid is refused and nothing is written."""
    path = registry_file.ensure()
    with registry_file.locked(path):
        there = registry_file.rows(path)
        for row in rows:
            before = _row_of(there, row["symbol"])
            if before is None:
                there.append(row)
            else:
                there[there.index(before)] = row
        _replace(there)


def next_steps(planned: Plan, since: date | None, is_loading: bool) -> str:
    """How the bars come in: a first extract reaches back some years, more is a backfill's."""
    rows = planned.rows
    symbols = " ".join(row["symbol"] for row in rows)
    if is_loading:
        return "loading"
    if since:
        return f"load and build: market backfill --symbols '{symbols}' --start {since} --end {clock.now():%Y-%m-%d} && make build"
    depth = ", ".join(
        f"{name} {days(FIRST_REACH[name])}" for name in STEPS if any(name in row["timeframes"].split() for row in rows)
    )
    return (
        f"load and build: make extract build (a first extract goes back: {depth}); all of it:"
        f" market backfill --symbols '{symbols}' --start {planned.first_day or UNKNOWN_START} --end {clock.now():%Y-%m-%d}"
    )


def days(reach: timedelta) -> str:
    """A length of time in the largest unit that fits."""
    return f"{reach.days // 365} years" if reach.days >= 730 else f"{reach.days} days"


def in_registry(symbols: Sequence[str]) -> list[str]:
    """The symbols as the registry spells them. Raises ConfigurationError for one that is not there."""
    return _spelled(symbols, registry_file.rows(registry_file.ensure()))


def _spelled(symbols: Sequence[str], rows: Sequence[Row]) -> list[str]:
    known = sorted({row["symbol"] for row in rows})
    names = [symbol if symbol in known else symbol.upper() for symbol in symbols]
    if unknown := [symbol for symbol in names if symbol not in known]:
        raise ConfigurationError("; ".join(reading.unknown_symbol(symbol, known) for symbol in unknown))
    return names


def remove(symbols: Sequence[str], delete: bool = False) -> list[str]:
    """Stop asking for the symbols; `delete` takes their rows out, and with the next build their bars from the marts.
    Returns a line each. Raises ConfigurationError for one that is not there."""
    path = registry_file.ensure()
    with registry_file.locked(path):
        there = registry_file.rows(path)
        names = _spelled(symbols, there)
        if delete:
            there = [row for row in there if row["symbol"] not in names]
        for row in there:
            if row["symbol"] in names:
                row["enabled"] = "false"
        _replace(there)
    what = "is asked for no more; its bars stay"
    if delete:
        what = "is out of the registry; the next build takes its bars from the marts"
    return [f"{symbol} {what}" for symbol in names]


def _replace(rows: Sequence[Row]) -> None:
    """Only a registry that can be read again takes the old one's place."""
    path = registry_file.ensure()
    # No name that dbt would take for a seed.
    trial = path.with_name(".assets-trial.tmp")
    try:
        registry_file.replace(trial, columns(), rows)
        try:
            registry.load(trial)
        except ConfigurationError as problem:
            raise ConfigurationError(
                str(problem).replace(str(trial), f"nothing is written; {path.name} would be")
            ) from None
    finally:
        trial.unlink(missing_ok=True)
    registry_file.replace(path, columns(), rows)


LOADED: LiteralString = """
select symbol, asset_class, timeframe, first_bar, newest_bar, bars
from marts.enrichment_status
where bars > 0
"""


# Of a symbol that was renamed, each row has the sessions of its own name.
LOADED_UNDER_A_NAME: LiteralString = """
select symbol, asset_class, timeframe, min(timestamp), max(timestamp), count(*)
from marts.market_data_v2
where
    symbol = %(symbol)s and asset_class = %(asset_class)s
    and session_date >= %(since)s and session_date <= %(until)s
group by symbol, asset_class, timeframe
"""


def listed() -> list[dict[str, Any]]:
    """The registry, a dict a row, with the range of bars that the warehouse has per timeframe (none before a build)."""
    assets = registry.load()
    names = Counter((asset.symbol, asset.asset_class) for asset in assets)
    loaded: dict[Asset, dict[str, Any]] = {asset: {} for asset in assets}
    try:
        with reading.connected("list") as connection:
            stored = defaultdict(list)
            for row in connection.execute(LOADED).fetchall():
                stored[row[:2]].append(row)
            for asset in assets:
                key = (asset.symbol, asset.asset_class)
                rows = stored[key]
                if rows and names[key] > 1:
                    bounds = {"since": asset.active_from or date.min, "until": asset.active_to or date.max}
                    asked = {"symbol": asset.symbol, "asset_class": asset.asset_class, **bounds}
                    rows = connection.execute(LOADED_UNDER_A_NAME, asked).fetchall()
                for _, _, timeframe, first, newest, bars in rows:
                    range_of = {"first_bar": first.isoformat(), "newest_bar": newest.isoformat(), "bars": bars}
                    loaded[asset][timeframe] = range_of
    except reading.Unreadable as problem:
        print(f"bars: {problem}", file=sys.stderr)
    found = []
    for asset in assets:
        there = loaded[asset]
        found.append(
            {
                "symbol": asset.symbol, "asset_class": asset.asset_class, "timeframes": list(asset.timeframes),
                **{name: asset.names.get(name) for name in sources.columns()}, "calendar": asset.calendar,
                "active_from": asset.active_from and asset.active_from.isoformat(),
                "active_to": asset.active_to and asset.active_to.isoformat(), "enabled": asset.enabled,
                "bars": {name: there[name] for name in STEPS if name in there},
            }
        )  # fmt: skip
    return found


def show(as_json: bool = False) -> None:
    """Print the registry: a table on a terminal, tabs in a pipe, or JSON."""
    rows = listed()
    if as_json:
        print(json.dumps(rows))
        return
    flat = [
        {
            "symbol": row["symbol"], "class": row["asset_class"], "fetched": " ".join(row["timeframes"]),
            **{name: row[name] or "" for name in sources.columns()},
            "active": f"{row['active_from'] or ''}..{row['active_to'] or ''}" if row["active_from"] or row["active_to"] else "",
            "enabled": "yes" if row["enabled"] else "no",
            "bars": ", ".join(
                f"{name} {stored['first_bar'][:10]}..{stored['newest_bar'][:10]} ({stored['bars']:,})"
                for name, stored in row["bars"].items() if name in row["timeframes"]
            ),
        }
        for row in rows
    ]  # fmt: skip
    if not flat:
        print("the registry is empty: market add AAPL BTC")
    elif sys.stdout.isatty():
        from rich import box
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True)
        for name in flat[0]:
            table.add_column(name.replace("_", " "))
        for line in flat:
            table.add_row(*map(Text, line.values()))
        console = Console()
        console.width = max(
            console.width, console.measure(table, options=console.options.update(max_width=1000)).maximum
        )
        console.print(table)
    else:
        print("\t".join(flat[0]))
        for line in flat:
            print("\t".join(line.values()))
