"""The installed packages fit together, as `pip check` would say, but for one that is left out on purpose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, distributions, version

from packaging.requirements import Requirement

# dbt-core imports it on request only, and the registry has no wheel of it: see [tool.uv] in pyproject.toml.
LEFT_OUT = "dbt-core-experimental-parser"


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
