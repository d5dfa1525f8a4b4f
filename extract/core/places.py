"""Where this product's own files are, and where those of whoever works with it. Imports nothing: dbt's start reads it.

In a checkout both are its root. An installed wheel (setup.py) has the dbt project and the documents in a folder of the package,
from where `market init` copies the project into the folder that one works in.
"""

from __future__ import annotations

from pathlib import Path

_PACKAGES_LIE_IN = Path(__file__).resolve().parents[2]
_IN_WHEEL = _PACKAGES_LIE_IN / "market_warehouse" / "project"

IS_INSTALLED = _IN_WHEEL.is_dir()
# dbt_project.yml, dbt_project/, docs/ as this version has them.
PRODUCT = _IN_WHEEL if IS_INSTALLED else _PACKAGES_LIE_IN
# .env, .warehouse/ with the embedded server, and the dbt project in use.
ROOT = Path.cwd() if IS_INSTALLED else _PACKAGES_LIE_IN
