"""The asset registry, `dbt_project/seeds/assets.csv`: the one symbol map, read by extract and dbt. `market add` writes it.

A symbol a source does not have is an empty cell; a name is never guessed.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from pathlib import Path

from extract.calendar import calendars
from extract.calendar.calendars import Calendar
from extract.calendar.timeframes import STEPS, day_start, native
from extract.core import sources
from extract.core.settings import ConfigurationError
from extract.core.settings import load as load_settings
from extract.core.sources import Source
from extract.symbols import registry_file

# The columns before and after those of names.
FIRST_COLUMNS = ("symbol", "asset_class", "timeframes")
LAST_COLUMNS = ("calendar", "active_from", "active_to", "source_priority", "enabled")
ASSET_CLASSES = ("stock", "crypto", "etf", "index")
# Names become parts of addresses, labels and files: no quote, blank, slash or control character, no step upwards.
_NAME = re.compile(r"(?!.*\.\.)[\w^][\w.:^=+&$-]*")
LONGEST_SYMBOL, LONGEST_NAME = 20, 50
# A contract on so many coins begins with the number: 1000PEPEUSDT, 1MBABYDOGEUSDT. How dbt reads it: macros/features/samples.sql.
MULTIPLES = ("1000", "10000", "100000", "1000000", "10000000", "1M")
# Any other number before the coin.
_COUNTED = re.compile(r"[0-9]+[KMB]?")
_QUOTED = re.compile(r"(.+?)(FDUSD|USDT|USDC|BUSD|TUSD|USD|EUR|BTC|ETH|BNB)")


@dataclass(frozen=True)
class Asset:
    """One row: a symbol under the provider names it had from `active_from` to `active_to`, both days included.

    `names` has the filled ones of the columns of names (sources.columns()).
    """

    symbol: str
    asset_class: str
    timeframes: tuple[str, ...]
    names: Mapping[str, str] = field(hash=False)
    calendar: str | None
    active_from: date | None
    active_to: date | None
    source_priority: tuple[str, ...]
    enabled: bool

    def name_at(self, source: str, data: str = "bars") -> str | None:
        """What a source calls it where a kind of data is asked for: the first of the source's columns that is filled."""
        columns = sources.listed()[source].symbols.get(data, ())
        return next((self.names[column] for column in columns if column in self.names), None)

    def is_active(self, on: date) -> bool:
        return (self.active_from or date.min) <= on <= (self.active_to or date.max)

    @property
    def market(self) -> Calendar:
        """The calendar of its sessions. Raises ConfigurationError where the seed lacks it."""
        return calendars.of(self.calendar, self.asset_class)

    @property
    def fetched(self) -> tuple[str, ...]:
        """Its timeframes without those that no source of it has and that are resampled from another one of them."""
        served = [name for name in self.timeframes if self.is_served(name)]
        return tuple(
            name for name in self.timeframes if name in served or all(STEPS[name] % STEPS[one] for one in served)
        )

    def is_served(self, timeframe: str) -> bool:
        """Whether a source in its order has its bars of that length; where not, they are resampled."""
        order = self.source_priority or load_settings().fallback_source_priority
        return any(self.name_at(source) and timeframe in native(source) for source in order)

    def active_window(self) -> tuple[datetime, datetime]:
        """The instants [start, end) between which bars are expected."""
        far_past, far_future = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)
        noon = timedelta(hours=12)
        midnight = datetime.min.time()
        start = far_past
        if self.active_from:
            start = day_start(datetime.combine(self.active_from, midnight, UTC) + noon, self.market.zone)
        end = far_future
        if self.active_to:
            end = day_start(datetime.combine(self.active_to, midnight, UTC) + noon, self.market.zone, 1)
        return start, end


def load(path: Path | None = None) -> list[Asset]:
    """Read and check the registry.

    Raises ConfigurationError that lists every faulty line at once.
    """
    path = path or registry_file.ensure()
    if not path.exists():
        raise ConfigurationError(f"the asset registry {path} is missing")
    problems: list[str] = []
    assets: list[Asset] = []
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        _check_header(path, reader.fieldnames or [])
        for row in reader:
            try:
                assets.append(_parse(row))
            except ValueError as error:
                symbol = row.get("symbol") or "no symbol"
                shown = symbol if symbol.isprintable() else repr(symbol)
                problems.append(f"line {reader.line_num} ({shown}): {error}")
    problems += _overlaps(assets)
    if problems:
        raise ConfigurationError(f"{path}:\n  " + "\n  ".join(problems))
    return assets


def market_of(symbol: str, asset_class: str) -> Calendar:
    """The calendar that the registry has for a symbol, of its first row; of one that it does not list, or where there is no
    registry that can be read, the usual one of the class."""
    with suppress(ConfigurationError, OSError):
        file = registry_file.ensure()
        if name := _calendar_names(file, file.stat().st_mtime_ns).get(symbol):
            return calendars.of(name, asset_class)
    return calendars.of(None, asset_class)


@lru_cache(maxsize=1)
def _calendar_names(file: Path, changed_at: int) -> dict[str, str]:
    """symbol -> calendar, of the registry as it was at that time."""
    return {asset.symbol: asset.calendar for asset in reversed(load(file)) if asset.calendar}


def select(assets: Iterable[Asset], symbols: Iterable[str] = ()) -> list[Asset]:
    """The enabled assets, or just the rows of the named symbols (which must be known and enabled)."""
    enabled = [asset for asset in assets if asset.enabled]
    wanted = list(dict.fromkeys(symbols))
    unknown = [symbol for symbol in wanted if symbol not in {asset.symbol for asset in enabled}]
    if unknown:
        raise ConfigurationError(
            f"not in the asset registry, or not enabled there: {', '.join(unknown)} (`market list` shows it, `market add"
            f" {' '.join(unknown)}` adds or enables)"
        )
    return [asset for asset in enabled if not wanted or asset.symbol in wanted]


def columns() -> list[str]:
    """The header that is written."""
    return [*FIRST_COLUMNS, *sources.columns(), *LAST_COLUMNS]


def _check_header(path: Path, header: Sequence[str]) -> None:
    """In any order, and without the columns of names that nobody needs: a registry that is there already stays valid when
    a source is added to the list."""
    needed = {*FIRST_COLUMNS, *LAST_COLUMNS}
    if not needed <= set(header) <= set(columns()) or len(set(header)) < len(header):
        raise ConfigurationError(f"{path}: the header must be {','.join(columns())}; columns of names may be left out")


def _parse(row: dict[str, str]) -> Asset:
    if None in row or None in row.values():
        raise ValueError(f"expected {len([name for name in row if name is not None])} cells")
    cells = {name: (row.get(name) or "").strip() for name in columns()}
    if not cells["symbol"]:
        raise ValueError("symbol is empty")
    for name, longest in (("symbol", LONGEST_SYMBOL), *((column, LONGEST_NAME) for column in sources.columns())):
        if cells[name] and (len(cells[name]) > longest or not _NAME.fullmatch(cells[name])):
            raise ValueError(
                f"{name} {cells[name]!r} is no name: letters, digits and . _ - : ^ = + & $, at most {longest}"
            )
    asset_class = cells["asset_class"]
    if asset_class not in ASSET_CLASSES:
        raise ValueError(f"asset_class {asset_class!r} is none of {', '.join(ASSET_CLASSES)}")
    enabled = cells["enabled"].lower()
    if enabled not in ("true", "false"):
        raise ValueError(f"enabled {cells['enabled']!r} is neither true nor false")
    active_from, active_to = (_date(cells[name], name) for name in ("active_from", "active_to"))
    if active_from and active_to and active_to < active_from:
        raise ValueError("active_to lies before active_from")
    if problem := _unclear_units(cells):
        raise ValueError(problem)
    return Asset(
        symbol=cells["symbol"],
        asset_class=asset_class,
        timeframes=_choice(cells["timeframes"], "timeframes", STEPS, required=True),
        names={column: cells[column] for column in sources.columns() if cells[column]},
        calendar=cells["calendar"] or None,
        active_from=active_from,
        active_to=active_to,
        source_priority=_choice(cells["source_priority"], "source_priority", sources.with_bars()),
        enabled=enabled == "true",
    )


def _coin(name: str) -> str:
    """The coin in the name of a market, without the currency it is quoted in: BTC in BTCUSDT."""
    match = _QUOTED.fullmatch(name)
    return match[1] if match else name


def _is_multiple(many: str, one: str) -> bool:
    """Whether a market of `many` is one of so and so many coins of `one`."""
    return any(many == prefix + one for prefix in MULTIPLES)


def _unclear_units(cells: dict[str, str]) -> str | None:
    """Why it is unknown how many coins of the bars one futures contract is on; None where it can."""
    if cells["asset_class"] != "crypto":
        return None
    with_derivatives = [source for source in sources.listed().values() if "derivatives" in source.symbols]
    return next((problem for source in with_derivatives if (problem := _unclear_contract(cells, source))), None)


def _unclear_contract(cells: dict[str, str], source: Source) -> str | None:
    (futures,) = source.symbols["derivatives"]
    market = source.symbols["bars"][0]
    contract, spot = _coin(cells[futures]), _coin(cells[market])
    if not contract:
        return None
    if spot:
        if spot == contract or _is_multiple(contract, spot) or _is_multiple(spot, contract):
            return None
        if (
            contract.startswith(MULTIPLES)
            or spot.startswith(MULTIPLES)
            or _COUNTED.fullmatch(contract.removesuffix(spot))
        ):
            return (
                f"{futures} {cells[futures]!r} and {market} {cells[market]!r} look like contracts on"
                " many coins, and not of one coin: name the spot market of the contract's coin, or none"
            )
        return None
    if not contract.startswith(MULTIPLES):
        return None
    named = cells["source_priority"].split() or sources.with_bars()
    for other in sources.listed().values():
        if other == source or other.name not in named or not other.coin:
            continue
        column = other.symbols["bars"][0]
        match = re.match(other.coin, cells[column])
        coin = _coin(match[1]) if match else ""
        if coin and coin != contract.rstrip("0123456789"):
            return (
                f"bars of {futures} {cells[futures]!r} are of many coins each, those of {column}"
                f" {cells[column]!r} of one: name the spot market in {market}, or leave {column} empty"
            )
    return None


def _date(text: str, name: str) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        raise ValueError(f"{name} {text!r} is not a date like 2024-01-31") from None


def _choice(text: str, name: str, allowed: Iterable[str], required: bool = False) -> tuple[str, ...]:
    values = tuple(text.split())
    unknown = [value for value in values if value not in allowed]
    if unknown:
        raise ValueError(f"{name}: {' '.join(unknown)} is none of {' '.join(allowed)}")
    if len(set(values)) < len(values):
        raise ValueError(f"{name} names a value twice")
    if required and not values:
        raise ValueError(f"{name} is empty")
    return values


def _overlaps(assets: list[Asset]) -> list[str]:
    problems = []
    ordered = sorted(assets, key=lambda asset: (asset.symbol, asset.active_from or date.min))
    for earlier, later in zip(ordered, ordered[1:], strict=False):
        if earlier.symbol == later.symbol and (earlier.active_to or date.max) >= (later.active_from or date.min):
            problems.append(f"{later.symbol}: two rows overlap in time; bound them by active_from and active_to")
    return problems
