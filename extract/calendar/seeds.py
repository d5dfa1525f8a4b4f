"""The seeds that extract reads as dbt does: one list of timeframes, one of calendars, for both."""

from __future__ import annotations

import csv
from pathlib import Path

from extract.core.settings import project_directory

SEEDS = Path("dbt_project") / "seeds"


def path(name: str) -> Path:
    """A seed of the project in the current directory; of this checkout where that has none."""
    own = project_directory() / SEEDS / name
    return own if own.exists() else Path(__file__).resolve().parents[2] / SEEDS / name


def rows(file: Path) -> list[dict[str, str]]:
    """The lines of a seed, column -> cell as written."""
    with file.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))
