"""`market init`: makes a folder one to work in, for whoever has installed this product and has no checkout.

Data flow: the dbt project within the package -> dbt_project.yml, profiles.yml, dbt_project/ in the current folder.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from extract.core.places import IS_INSTALLED, PRODUCT
from extract.core.places import ROOT as ROOT
from extract.core.settings import ASSETS, ConfigurationError
from extract.symbols import registry_file

PROJECT = Path("dbt_project.yml")
PARTS = (PROJECT, Path("profiles.yml"), Path("dbt_project"))
FORMER = Path(".warehouse") / "former_project"
OURS = "name: market_warehouse"


def make(folder: Path) -> bool:
    """Copy this version's dbt project into a folder, the registry and `.env` in it staying; whether one was replaced, which is
    kept in .warehouse/former_project. Raises ConfigurationError in a checkout, or over a dbt project that is not ours."""
    if not IS_INSTALLED:
        raise ConfigurationError(f"this is the checkout {PRODUCT}: there is nothing to make, work in it")
    if (folder / PROJECT).exists() and OURS not in (folder / PROJECT).read_text():
        raise ConfigurationError(f"{folder / PROJECT} is another dbt project's: go to a folder of its own")
    former = folder / FORMER
    replaced = [part for part in PARTS if (folder / part).exists()]
    if replaced:
        shutil.rmtree(former, ignore_errors=True)
        former.mkdir(parents=True)
    for part in replaced:
        shutil.move(folder / part, former / part)
    for part in PARTS:
        if (PRODUCT / part).is_dir():
            shutil.copytree(PRODUCT / part, folder / part)
        else:
            shutil.copy(PRODUCT / part, folder / part)
    if (former / ASSETS).exists():
        shutil.copy(former / ASSETS, folder / ASSETS)
    registry_file.ensure(folder)
    return bool(replaced)


def make_missing(folder: Path) -> None:
    """The same where an installed product has none yet."""
    if IS_INSTALLED and not (folder / PROJECT).exists():
        make(folder)


def require(folder: Path) -> None:
    """Raises ConfigurationError where an installed product has no project to work in: it would look for it in the package."""
    if IS_INSTALLED and not (folder / PROJECT).exists():
        raise ConfigurationError(
            f"{folder} is no folder to work in: go to yours, or make this one such by `market init`"
        )
