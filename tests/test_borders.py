"""Borders between rooms: what imports what (contracts in pyproject.toml), no circles, and readers read marts.

Data flow: the modules' imports, lazy ones and those for types included -> grimp's graph -> contracts and circles; SQL in
queries and in strings of the readers' modules -> the relations it names.
"""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp
import pytest

from tests.conftest import ROOT

LINT = Path(sys.executable).parent / "lint-imports"
PACKAGES = ("extract", "market_warehouse", "scripts", "tests")
# One import within a function for each contract, which it must find.
BROKEN = {
    "extract loads raw answers": ("extract/core/clock.py", "scripts.demo"),
    "what is installed does not import its tests": ("scripts/demo/__init__.py", "tests.payloads"),
    "rooms of extract": ("extract/calendar/windows.py", "extract.plan.planner"),
    "providers do not know each other": ("extract/providers/yahoo/helpers.py", "extract.providers.polygon.helpers"),
    "rooms of scripts": ("scripts/reading/reports.py", "scripts.pipeline.run"),
    "readers load nothing": ("scripts/site/pages.py", "extract.commands.backfill"),
}


def contracts(directory: Path) -> dict[str, str]:
    """Contract -> KEPT or BROKEN, of the packages in a directory with this project's pyproject.toml."""
    report = subprocess.run(
        [LINT, "--no-cache"], cwd=directory, env={"PYTHONPATH": str(directory), "COLUMNS": "300"},
        capture_output=True, text=True,
    )  # fmt: skip
    found = dict(re.findall(r"^(.+?) (KEPT|BROKEN)$", report.stdout, re.MULTILINE))
    assert found, report.stdout + report.stderr
    return found


def test_contracts_are_kept() -> None:
    found = contracts(ROOT)
    assert found == dict.fromkeys(found, "KEPT")


def test_each_contract_finds_an_import_within_a_function(tmp_path: Path) -> None:
    for package in PACKAGES:
        shutil.copytree(
            ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("node_modules", "__pycache__")
        )
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for file, module in BROKEN.values():
        with (tmp_path / file).open("a") as text:
            text.write(f"\n\ndef late():\n    import {module}\n")
    found = contracts(tmp_path)
    assert found == dict.fromkeys(found, "BROKEN")
    assert sorted(BROKEN) == sorted(name.partition(":")[0] for name in found)


def circle(imports: dict[str, set[str]]) -> list[str]:
    """A circle among modules, its first one again at its end; empty if there is none."""
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as found:
        return list(found.args[1])
    return []


def test_no_imports_go_in_a_circle() -> None:
    """Within functions and for types neither: what needs each other's names belongs together, or has a part in common."""
    graph = grimp.build_graph(*PACKAGES, cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    assert sum(map(len, imports.values())) > 1000
    assert circle(imports) == []


def test_a_circle_is_found() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": set()}) == []
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}})[0] in "abc"


# ---------------------------------------------------------------- readers read marts

READERS = ("scripts/api", "scripts/site", "scripts/monitoring", "market_warehouse")
PRIVATE = re.compile(r"\b(?:intermediate|staging|snapshots|seeds|ops|raw_\w+)\.[a-z_]\w*|\b(?:int|stg)_\w+")
COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.S)
HISTORY = "market_data_as_of reads it, and a plain query for its beginning is answered by an index"
CHECKED = "the feature dictionary computes features a second time, from what the warehouse computed them from"
STATE = "the state of the alerts is this module's own; dbt reads it through stg_ops__alerts"
# File -> relations outside of marts that it may name, and why.
EXCEPTIONS: dict[str, tuple[set[str], str]] = {
    "market_warehouse/database.py": ({"snapshots.market_data_history"}, HISTORY),
    "market_warehouse/questions.py": ({"snapshots.market_data_history"}, HISTORY),
    "scripts/api/queries.py": ({"snapshots.market_data_history"}, HISTORY),
    "scripts/monitoring/alerts.py": ({"ops.alerts", "ops.alert_silences", "ops.evaluate_alerts", "seeds.alert_rules"}, STATE),
    "scripts/monitoring/dead_runs.py": ({"ops.pipeline_runs", "ops.pipeline_steps"}, "it closes the record of runs"),
    "scripts/site/queries/demo.sql": ({"ops.demo"}, "a fact about the database, before anything is built"),
    "scripts/site/queries/bars_to_check.sql": ({"intermediate.int_series", "intermediate.int_bars"}, CHECKED),
    "scripts/site/queries/check_funding.sql": ({"intermediate.int_funding_rates"}, CHECKED),
    "scripts/site/queries/check_inflow.sql": ({"intermediate.int_exchange_inflows"}, CHECKED),
    "scripts/site/queries/check_liquidations.sql": ({"intermediate.int_liquidations"}, CHECKED),
    "scripts/site/queries/check_long_short.sql": ({"intermediate.int_futures_samples"}, CHECKED),
    "scripts/site/queries/check_open_interest.sql": ({"intermediate.int_futures_samples"}, CHECKED),
    "scripts/site/queries/check_watched.sql": ({"intermediate.int_liquidation_coverage"}, CHECKED),
}  # fmt: skip


def statements(path: Path) -> Iterator[str]:
    """The SQL of a file: all of a query, or the strings of a module, its docstrings left out."""
    text = path.read_text()
    if path.suffix == ".sql":
        yield COMMENT.sub("", text)
        return
    tree = ast.parse(text)
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = {id(node.body[0].value) for node in ast.walk(tree)
                  if isinstance(node, documented) and node.body and isinstance(node.body[0], ast.Expr)}  # fmt: skip
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield COMMENT.sub("", node.value)


def private_relations(path: Path) -> set[str]:
    """The relations outside of schema marts that a file's SQL names; of `schema.relation` both as one."""
    return {found for statement in statements(path) for found in PRIVATE.findall(statement)}


def test_readers_read_marts() -> None:
    files = [
        path
        for folder in READERS
        for path in sorted((ROOT / folder).rglob("*"))
        if path.suffix in (".py", ".sql") and "node_modules" not in path.parts
    ]
    assert len(files) > 40
    found = {path.relative_to(ROOT).as_posix(): named for path in files if (named := private_relations(path))}
    assert found == {file: relations for file, (relations, _) in EXCEPTIONS.items()}


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("a.sql", "select 1 from marts.bars -- not intermediate.int_bars\n", set()),
        ("a.sql", "select 1 from intermediate.int_bars, raw_yahoo.responses", {"intermediate.int_bars", "raw_yahoo.responses"}),
        ("a.py", '"""Of ops.alerts."""\nX = "from marts.alerts join stg_ops__alerts"\n', {"stg_ops__alerts"}),
        ("a.py", 'def f():\n    """Of ops.alerts."""\n    return f"from ops.locks where {1}"\n', {"ops.locks"}),
    ],
)  # fmt: skip
def test_other_relations_are_found_outside_of_comments(tmp_path: Path, name: str, text: str, found: set[str]) -> None:
    (tmp_path / name).write_text(text)
    assert private_relations(tmp_path / name) == found
