"""Each generic test of dbt_project/tests/generic both ways: good rows pass, bad rows fail, and the bad ones come back.

Data flow: CASES -> one small dbt project with a view per case -> one `dbt build` -> the status of every test.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from scripts.postgres import Server
from tests.conftest import ROOT
from tests.warehouse import Database

pytestmark = pytest.mark.builds

GENERIC = ROOT / "dbt_project" / "tests" / "generic"


@dataclass(frozen=True)
class Case:
    """Rows as the body of a `values` list, and how many of the bad ones the test must find."""

    name: str
    test: str
    columns: str
    good: str
    bad: str
    found: int
    arguments: dict[str, Any] = field(default_factory=dict)
    column: str | None = None


CASES = [
    Case("a_true_expression", "no_rows_where", "low, high", "(1, 2), (2, 2), (null, 2)", "(1, 2), (3, 2), (4, 2)", 2,
         {"expression": "low > high"}),
    Case("a_key_that_is_there_twice", "unique_combination", "a, b", "(1, 1), (1, 2), (2, 1)", "(1, 1), (1, 2), (1, 1)", 1,
         {"columns": ["a", "b"]}),
    Case("a_key_of_nulls_that_is_there_twice", "unique_combination", "a, b", "(1, null), (2, null)",
         "(1, null), (1, null)", 1, {"columns": ["a", "b"]}),
    Case("outside_both_bounds", "in_range", "share", "(0), (0.5), (1), (null)", "(-0.1), (0.5), (1.1)", 2,
         {"minimum": "0", "maximum": "1"}, "share"),
    Case("below_the_only_bound", "in_range", "price", "(0), (1e9), (null)", "(-1), (1e9)", 1, {"minimum": "0"}, "price"),
    Case("above_the_only_bound", "in_range", "price", "(-1e9), (5), (null)", "(6), (5)", 1, {"maximum": "5"}, "price"),
    # Half-open spans may touch; those of another key may lie anywhere.
    Case("overlapping_spans", "no_overlap", "k, a, b", "(1, 0, 5), (1, 5, 9), (2, 3, 7)",
         "(1, 0, 5), (1, 4, 9), (2, 3, 7)", 1, {"key": ["k"], "starts": "a", "ends": "b"}),
    # The third overlaps the first, though not its neighbour.
    Case("a_span_inside_an_earlier_long_one", "no_overlap", "k, a, b", "(1, 0, 1), (1, 1, 2), (1, 2, 3)",
         "(1, 0, 9), (1, 1, 2), (1, 3, 4)", 2, {"key": ["k"], "starts": "a", "ends": "b"}),
    Case("a_span_that_ends_before_it_starts", "no_overlap", "k, a, b", "(1, 0, 1)", "(1, 1, 0)", 1,
         {"key": ["k"], "starts": "a", "ends": "b"}),
    Case("spans_that_hold_their_end_and_touch", "no_overlap", "k, a, b", "(1, 0, 4), (1, 5, 5)",
         "(1, 0, 5), (1, 5, 9)", 1, {"key": ["k"], "starts": "a", "ends": "b", "includes_end": True}),
]  # fmt: skip

Outcome = tuple[str, int]


@pytest.fixture(scope="module")
def database(postgres: Server) -> Iterator[Database]:
    database = Database(postgres, "generic_tests")
    database.create()
    yield database
    database.drop()


@pytest.fixture(scope="module")
def outcomes(database: Database, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """Test name -> (status, rows found), out of one dbt run over all cases."""
    from dbt.cli.main import dbtRunner

    project = tmp_path_factory.mktemp("generic")
    shutil.copytree(GENERIC, project / "tests" / "generic")
    shutil.copy(ROOT / "profiles.yml", project)
    (project / "dbt_project.yml").write_text(
        json.dumps(
            {
                "name": "generic_tests",
                "profile": "market_warehouse",
                "flags": {"require_generic_test_arguments_property": True},
            }
        )
    )
    models = []
    for case in CASES:
        for kind, rows in (("good", case.good), ("bad", case.bad)):
            name = f"{case.name}_{kind}"
            path = project / "models" / f"{name}.sql"
            path.parent.mkdir(exist_ok=True)
            path.write_text(f"select * from (values {rows}) as given ({case.columns})")
            test = {case.test: {"name": f"finds_{name}", "arguments": case.arguments}}
            models.append(
                {"name": name, "columns": [{"name": case.column, "data_tests": [test]}]}
                if case.column
                else {"name": name, "data_tests": [test]}
            )
    # JSON is YAML.
    (project / "models" / "models.yml").write_text(json.dumps({"models": models}))
    places = ["--project-dir", str(project), "--profiles-dir", str(project), "--log-path", str(project / "logs")]
    before = dict(os.environ)
    os.environ.update(database.environment)
    try:
        outcome = dbtRunner().invoke(["build", "--quiet", *places])
    finally:
        os.environ.clear()
        os.environ.update(before)
    assert outcome.exception is None, outcome.exception
    results: Any = outcome.result
    return {result.node.name: (str(result.status), result.failures or 0) for result in results}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_good_rows_pass(outcomes: dict[str, Outcome], case: Case) -> None:
    assert outcomes[f"finds_{case.name}_good"] == ("pass", 0)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bad_rows_are_found(outcomes: dict[str, Outcome], case: Case) -> None:
    assert outcomes[f"finds_{case.name}_bad"] == ("fail", case.found)


def test_every_generic_test_has_a_case_and_a_line_in_the_readme() -> None:
    names = {path.stem for path in Path(GENERIC).glob("*.sql")}
    assert names == {case.test for case in CASES}
    readme = (GENERIC / "README.md").read_text()
    assert [name for name in sorted(names) if f"| `{name}` |" not in readme] == []
