"""A provider is named in its own folders and in the list of sources, nowhere else: what is shared asks the list for traits.

Comments and docstrings may name one where they give a reason; names in unit tests, seeds and descriptions are data.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from extract.core import sources

ROOT = Path(__file__).resolve().parents[1]
NAMED = re.compile("|".join(sources.names()), re.IGNORECASE)
# Where a provider is at home: folders and files of its name.
OWN = re.compile(rf"(^scripts/simulator/|(^|/)({'|'.join(sources.names())})(/|\.(py|sql)$))")
PYTHON = ("extract", "scripts", "market_warehouse")

# File -> why it names providers.
EXCEPTIONS = {
    "extract/core/settings.py": "the settings of docs/reference/contract.md, each provider's among them",
    "scripts/api/examples.py": "answers as the OpenAPI page shows them",
    "extract/commands/liquidations.py": "the stream of forced orders is one exchange's",
    "scripts/demo/__init__.py": "the demo's simulator, and what it amends on the second day",
    "scripts/demo/summary.py": "the setting that the next step names",
    "scripts/reading/export_formats.py": "the folders of Lean, which are named so there",
}


def code_of_sql(text: str) -> str:
    """Without comments of SQL and of Jinja."""
    return re.sub(r"--[^\n]*", "", re.sub(r"\{#.*?#\}", "", text, flags=re.DOTALL))


def code_of_python(text: str) -> Iterator[str]:
    """Every name, and every text that is no docstring."""
    tree = ast.parse(text)
    documents = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant):
            if isinstance(node.value, str) and id(node) not in documents:
                yield node.value
            continue
        for field in ("name", "id", "attr", "arg", "module", "asname"):
            if isinstance(found := getattr(node, field, None), str):
                yield found


def shared(folder: str, ending: str) -> list[Path]:
    files = sorted(path for path in (ROOT / folder).rglob(f"*{ending}"))
    assert files
    return [path for path in files if not OWN.search(path.relative_to(ROOT).as_posix())]


def naming(text: str, kind: str) -> set[str]:
    code = [code_of_sql(text)] if kind == ".sql" else code_of_python(text)
    return {found.group() for part in code for found in NAMED.finditer(part)}


def test_no_shared_code_names_a_provider() -> None:
    files = [*shared("dbt_project", ".sql"), *(path for folder in PYTHON for path in shared(folder, ".py"))]
    found = {path.relative_to(ROOT).as_posix(): naming(path.read_text(), path.suffix) for path in files}
    found = {name: providers for name, providers in found.items() if providers}
    assert {name: providers for name, providers in found.items() if name not in EXCEPTIONS} == {}
    # An exception that is none any more goes.
    assert found.keys() == EXCEPTIONS.keys()


@pytest.mark.parametrize(
    ("kind", "text", "providers"),
    [
        (".sql", "select 1 -- as Yahoo does\n{# nor Binance #}", set()),
        (".sql", "select * from {{ ref('stg_yahoo__bars') }}", {"yahoo"}),
        (".sql", "where source = 'polygon'", {"polygon"}),
        (".py", '"""Of Polygon."""\n\ndef f() -> None:\n    """As Yahoo."""  # or Binance\n', set()),
        (".py", "from extract.providers.binance import archive", {"binance"}),
        (".py", "key = settings.polygon_api_key", {"polygon"}),
        (".py", "message = f'put {x} into POLYGON_API_KEY'", {"POLYGON"}),
    ],
)
def test_the_rule_finds_what_it_is_for(kind: str, text: str, providers: set[str]) -> None:
    assert naming(text, kind) == providers
