"""The seeds that extract reads as dbt does: one list of timeframes, one of calendars, for both."""

from __future__ import annotations

import csv
import os
from pathlib import Path

from extract.core.places import PRODUCT
from extract.core.settings import project_directory

SEEDS = Path("dbt_project") / "seeds"
# (current directory, seed) -> where it lies in the project there.
_found: dict[tuple[str, str], Path] = {}


def path(name: str) -> Path:
    """A seed of the project in the current directory; of this checkout where that has none."""
    # Asked for with every task of every series: to look at the disk each time took 80 us.
    key = (os.getcwd(), name)  # noqa: PTH109 - a path of it would cost as much again
    if key not in _found:
        project = project_directory()
        own = project / SEEDS / name
        found = own if own.exists() else PRODUCT / SEEDS / name
        # Until a registry is here, one may come, and seeds with it.
        if str(project) != key[0] or found != own:
            return found
        _found[key] = own
    return _found[key]


def rows(file: Path) -> list[dict[str, str]]:
    """The lines of a seed, column -> cell as written."""
    with file.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))
