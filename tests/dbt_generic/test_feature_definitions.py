"""Each feature has its definition in full, a reference formula, and of the contract the type of that formula."""

from __future__ import annotations

import re
from typing import Any

import pytest

from scripts.site.reference_formulas import FEATURES, RAW
from tests.conftest import ROOT

MARKET_DATA = ROOT / "dbt_project" / "models" / "marts" / "market_data"
PARTS = ("Formula", "Unit", "Window", "Warm-up", "NULL", "Basis", "Known at", "Definition")
BLOCKS = dict(
    re.findall(r"{% docs (\w+) %}\n(.*?){% enddocs %}", (MARKET_DATA / "_features.md").read_text(), flags=re.DOTALL)
)


@pytest.fixture(scope="module")
def columns() -> dict[str, dict[str, Any]]:
    from dbt.clients.yaml_helper import load_yaml_text

    parsed = load_yaml_text((MARKET_DATA / "_market_data__models.yml").read_text())
    assert parsed is not None
    models = parsed["models"]
    versions = next(model for model in models if model["name"] == "market_data")["versions"]
    return {column["name"]: column for column in next(v for v in versions if v["v"] == 2)["columns"]}


def test_the_list_of_features_their_definitions_and_their_formulas_are_of_the_same(
    columns: dict[str, dict[str, Any]],
) -> None:
    listed = {name for name, column in columns.items() if "feature" in column.get("config", {}).get("meta", {})}
    assert set(BLOCKS) == listed == set(FEATURES)


@pytest.mark.parametrize("feature", FEATURES)
def test_a_definition_says_everything(feature: str) -> None:
    block = BLOCKS[feature]
    missing = [part for part in PARTS if f"**{part}:**" not in block]
    assert missing == []
    assert re.search(r"```sql\n.+\n```", block, flags=re.DOTALL)
    first_sentence = block.strip().splitlines()[0]
    assert len(first_sentence) <= 120, "the docs site cuts longer ones"
    assert "$$" not in block, "it would end the comment that dbt writes to the database"


@pytest.mark.parametrize("feature", FEATURES)
def test_the_contract_describes_it_by_its_definition(columns: dict[str, dict[str, Any]], feature: str) -> None:
    assert columns[feature]["description"] == f"{{{{ doc('{feature}') }}}}"


def test_the_charts_draw_what_there_is() -> None:
    """A line or pane of the symbol page that names no column would never be offered, and nothing would say so."""
    script = (ROOT / "scripts" / "site" / "assets" / "symbol.js").read_text()
    (chosen,) = re.findall(r"FIRST_CHOSEN = \[(.*?)\]", script)
    lines = re.findall(r'"(\w+)"', chosen) + re.findall(r'{ name: "(\w+)", group', script)
    assert {"sma_20", "open_interest", "delta"} <= set(lines) <= {*FEATURES, *RAW}
