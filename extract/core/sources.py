"""The list of sources: var `sources` of dbt_project.yml, which dbt reads too. No module names a provider otherwise.

Data flow: dbt_project.yml -> `Source`s -> columns of the registry, priorities, pipelines, roles. How a source is asked is
the package `extract/providers/<name>/`, whose `PROVIDER` is its class.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import yaml

from extract.core.project import checkout, project_directory

LIST = "dbt_project.yml"


@dataclass(frozen=True)
class Source:
    """An entry of the list, as far as Python reads it; dbt_project.yml says what each means.

    `symbols` are the registry's columns per kind of data, the first that is filled counts. `coin` finds the coin in its name
    of a market, `case` is upper, lower, capital or none. `asset_classes` is empty if it may have all; `leads` are those of
    which it comes first. `hosts` are the names under which hosts of its keep a breaker or a budget of their own.
    `enabled_by` is the setting without which it is not asked.
    """

    name: str
    symbols: Mapping[str, tuple[str, ...]]
    coin: str | None = None
    case: str | None = None
    asset_classes: tuple[str, ...] = ()
    leads: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    enabled_by: str | None = None
    off_because: str | None = None

    @property
    def gives_bars(self) -> bool:
        """Whether it can be a source of a series."""
        return "bars" in self.symbols

    @property
    def columns(self) -> tuple[str, ...]:
        """All of its columns in the registry."""
        return tuple(dict.fromkeys(column for columns in self.symbols.values() for column in columns))

    @property
    def schema(self) -> str:
        """Where its answers are stored."""
        return f"raw_{self.name}"


def listed() -> dict[str, Source]:
    """All sources, in the order of the list."""
    own = project_directory() / LIST
    found = _read(own, own.stat().st_mtime_ns) if own.exists() else None
    # Another project's file has no such list: whoever needs ours says so (scripts/project.py).
    product = checkout() / LIST
    return found or _read(product, product.stat().st_mtime_ns)


def names() -> tuple[str, ...]:
    """The names of all sources."""
    return tuple(listed())


def with_bars() -> tuple[str, ...]:
    """The names of those that give bars, in the order in which an asset is asked for that names none."""
    return tuple(source.name for source in listed().values() if source.gives_bars)


def preferred_for(asset_class: str) -> tuple[str, ...]:
    """The names of those with bars in the order in which `market add` writes them for a class: those that lead it first."""
    return tuple(sorted(with_bars(), key=lambda name: asset_class not in listed()[name].leads))


def columns() -> tuple[str, ...]:
    """The registry's columns of names."""
    return tuple(dict.fromkeys(column for source in listed().values() for column in source.columns))


def schemas() -> tuple[str, ...]:
    """The schemas of answers."""
    return tuple(source.schema for source in listed().values())


# A project's file changes while a test lasts, never while a command does.
@lru_cache(maxsize=8)
def _read(file: Path, changed_at: int) -> dict[str, Source]:
    entries = ((yaml.safe_load(file.read_text(encoding="utf-8")) or {}).get("vars") or {}).get("sources", {})
    return {
        name: Source(
            name,
            {data: tuple(found) for data, found in traits["symbols"].items()},
            coin=traits.get("coin"),
            case=traits.get("case"),
            asset_classes=tuple(traits.get("asset_classes", ())),
            leads=tuple(traits.get("leads", ())),
            hosts=tuple(traits.get("hosts", ())),
            enabled_by=traits.get("enabled_by"),
            off_because=traits.get("off_because"),
        )
        for name, traits in entries.items()
    }
