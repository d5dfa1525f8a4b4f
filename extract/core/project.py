"""Where the project lies whose registry, seeds and lists are read: the user's, or this checkout."""

from __future__ import annotations

from pathlib import Path

from extract.core.places import PRODUCT, ROOT

ASSETS = Path("dbt_project") / "seeds" / "assets.csv"


def checkout() -> Path:
    """The directory that this version's own project lies in."""
    return PRODUCT


def project_directory() -> Path:
    """Where the asset registry lies: the current directory if it holds one, as dbt does, else this checkout."""
    return Path.cwd() if ASSETS.exists() else ROOT
