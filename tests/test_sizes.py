"""Files and functions of a size that can be read at one go: about 300 lines a file, about 60 a function."""

from __future__ import annotations

import ast

from tests.conftest import ROOT

LONGEST_FILE, LONGEST_FUNCTION = 380, 80
# What is longer, and why it stays in one piece.
EXCEPTIONS = {
    "scripts/site/reference_formulas.py": "a list: a formula a feature, and what compares them",
    "scripts/site/dashboard.py": "to be split next",
    "scripts/symbols/assets.py": "to be split next",
}


def too_long(text: str) -> list[str]:
    """What of a module is too long: the module itself, or functions by name. Docstrings do not count."""
    lines = text.count("\n")
    found = [f"{lines} lines"] if lines > LONGEST_FILE else []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            described = len((ast.get_docstring(node) or "").splitlines())
            length = (node.end_lineno or 0) - node.lineno + 1 - described
            found += [f"{node.name}: {length} lines"] if length > LONGEST_FUNCTION else []
    return found


def test_files_and_functions_can_be_read_at_one_go() -> None:
    files = [path for folder in ("extract", "market_warehouse", "scripts") for path in (ROOT / folder).rglob("*.py")]
    assert len(files) > 150
    names = {path.relative_to(ROOT).as_posix(): path for path in files if "node_modules" not in path.parts}
    found = {name: long for name, path in names.items() if (long := too_long(path.read_text()))}
    assert {name: long for name, long in found.items() if name not in EXCEPTIONS} == {}


def test_what_is_too_long_is_found() -> None:
    body = "    x = 1\n" * LONGEST_FUNCTION
    assert too_long(f"def f():\n{body}") == [f"f: {LONGEST_FUNCTION + 1} lines"]
    assert too_long("x = 1\n" * (LONGEST_FILE + 1)) == [f"{LONGEST_FILE + 1} lines"]
