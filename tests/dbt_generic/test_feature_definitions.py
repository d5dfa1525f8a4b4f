"""Each feature has its definition in full, a reference formula, and of the contract the type of that formula."""

from __future__ import annotations

import re
from typing import Any

import pytest

from market_warehouse.questions import AMOUNT, PRICE
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


# ---------------------------------------------------------------- types: the contract has them

CAST = re.compile(r"cast\(\s*(?:\w+\.)?(\w+) as (numeric\([\d, ]+\))\)| as (numeric\([\d, ]+\))\) as (\w+)")


def other_types(sql: str, columns: dict[str, dict[str, Any]]) -> tuple[int, list[str]]:
    """How many casts of a statement give a column of the mart its type, and those that give it another one."""
    found = [(first or second, before or after) for first, before, after, second in CAST.findall(sql)]
    of_the_mart = [(name, type_) for name, type_ in found if name in columns]
    return len(of_the_mart), [
        f"{name} as {type_}" for name, type_ in of_the_mart if type_ != columns[name]["data_type"]
    ]


def test_sql_gives_each_column_the_type_of_the_contract(columns: dict[str, dict[str, Any]]) -> None:
    """Where a statement rounds before the mart does, to compare or to sum what is stored, it says the type once more."""
    # The interface of before has its own contract: eight decimals.
    files = [path for path in (ROOT / "dbt_project").rglob("*.sql") if "legacy" not in path.name]
    found = {path.name: other_types(path.read_text(), columns) for path in files}
    assert {name: wrong for name, (_, wrong) in found.items() if wrong} == {}
    assert found["int_bars_selected.sql"][0] >= 6 and found["market_data_v2.sql"][0] >= 6


def test_a_cast_to_another_type_is_found(columns: dict[str, dict[str, Any]]) -> None:
    sql = "select cast(bars.open as numeric(19, 8)), cast(case when a then volume end as numeric(28, 6)) as volume"
    assert other_types(sql, columns) == (2, ["open as numeric(19, 8)", "volume as numeric(28, 6)"])
    assert other_types(sql.replace("19, 8", "19, 10").replace("28, 6", "28, 8"), columns) == (2, [])


def test_readers_know_prices_and_amounts_by_the_types_of_the_contract(columns: dict[str, dict[str, Any]]) -> None:
    assert columns["close"]["data_type"] == "numeric({}, {})".format(*PRICE)
    assert columns["volume"]["data_type"] == "numeric({}, {})".format(*AMOUNT)
