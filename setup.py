"""What pyproject.toml cannot say of the wheel: it holds the dbt project and the documents as well, and the line by which a bare
`dbt` finds the warehouse (scripts/environment.py). An editable install has both in the checkout."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT))
# extract/core/places.py looks for them there.
PRODUCT = Path("market_warehouse") / "project"
FILES = ("dbt_project.yml", "profiles.yml", ".env.example", "README.md", "CHANGELOG.md")
# The registry is whoever works there's own.
OWN = shutil.ignore_patterns("assets.csv", "__pycache__", ".*")


class WithProject(build_py):
    """Python's modules and their data, then what they work on."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        from scripts.environment import HOOK, HOOK_FILE

        target = Path(self.build_lib) / PRODUCT
        for folder in ("dbt_project", "docs"):
            shutil.copytree(ROOT / folder, target / folder, ignore=OWN, dirs_exist_ok=True)
        for name in FILES:
            shutil.copy(ROOT / name, target / name)
        (Path(self.build_lib) / HOOK_FILE).write_text(HOOK)


setup(cmdclass={"build_py": WithProject})
