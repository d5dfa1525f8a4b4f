"""The wheel, installed away from the checkout: it brings the dbt project, the documents, and the line that leads dbt.

Data flow: the files that git knows -> setuptools' own backend -> a wheel -> a virtual environment that sees what development has
installed, but not the checkout -> the commands in an empty folder.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import psycopg
import pytest

from scripts import simulator
from scripts.postgres import Server
from tests.conftest import ROOT
from tests.test_documents import tracked
from tests.warehouse import Database

pytestmark = pytest.mark.builds


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    for path in tracked():
        copy = folder / "source" / path.relative_to(ROOT)
        if path.relative_to(ROOT).parts[0] != "tests":
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copy)
    program = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
    command = [sys.executable, "-W", "ignore", "-c", program, str(folder)]
    built = subprocess.run(command, cwd=folder / "source", capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment in which the wheel is installed."""
    home = tmp_path_factory.mktemp("installed") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True)
    packages = next(home.glob("lib/python3*/site-packages"))
    # What is installed for development, by a line before the wheel's own. Its .pth files, the checkout's among them, are not
    # read from there.
    (packages / "development.pth").write_text(sysconfig.get_path("purelib"))
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)
    return home / "bin" / "python"


def run(python: Path, folder: Path, *arguments: str, **settings: str) -> str:
    done = subprocess.run(
        [python, "-m", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"], **settings},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_holds_what_the_commands_work_on_and_nothing_of_anybody(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    project = {
        f"market_warehouse/project/{path.relative_to(ROOT)}"
        for path in tracked()
        if path.relative_to(ROOT).parts[0] in ("dbt_project", "docs") and not path.name.startswith(".")
    }
    assert len(project) > 200
    assert project <= names
    assert {"market_environment.pth", "scripts/site/assets/site.css", "scripts/site/queries/series.sql"} <= names
    assert {"scripts/api/templates/docs.html", "extract/migrations/0001_baseline.sql"} <= names
    assert [name for name in names if name.startswith("tests/") or name.endswith("assets.csv")] == []


def test_it_loads_a_symbol_and_its_project_parses(python: Path, postgres: Server, tmp_path: Path) -> None:
    database = Database(postgres, "wheel")
    database.create()
    where = run(python, tmp_path, "scripts.cli", "init")
    assert "made" in where
    registry = tmp_path / "dbt_project" / "seeds" / "assets.csv"
    header, *symbols = registry.read_text().splitlines()
    registry.write_text("\n".join([header, *(line for line in symbols if line.startswith("IBM,"))]) + "\n")
    # After an upgrade: what was changed in the project is kept aside, the registry stays.
    (tmp_path / "profiles.yml").write_text("changed")
    assert "former_project" in run(python, tmp_path, "scripts.cli", "init")
    assert (tmp_path / ".warehouse" / "former_project" / "profiles.yml").read_text() == "changed"
    assert len(registry.read_text().splitlines()) == 2
    with simulator.running("demo", "2013-03-01T02:00:00Z") as providers:
        settings = database.environment | providers.environment()
        run(python, tmp_path, "scripts.cli", "extract", "--symbols", "IBM", **settings)
    with psycopg.connect(database.dsn) as connection:
        loaded = connection.execute("select count(*) from raw_polygon.responses where symbol = 'IBM'").fetchone()
    assert loaded != (0,)
    run(python, tmp_path, "dbt.cli.main", "--quiet", "parse", **database.environment)
    assert (tmp_path / "target" / "manifest.json").exists()


def test_another_dbt_project_and_an_empty_folder_are_left_alone(python: Path, tmp_path: Path) -> None:
    (tmp_path / "dbt_project.yml").write_text("name: of_somebody\n")
    with pytest.raises(AssertionError, match="another dbt project's"):
        run(python, tmp_path, "scripts.cli", "init")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(AssertionError, match="market init"):
        run(python, empty, "scripts.cli", "list")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["dbt_project.yml", "empty"]
