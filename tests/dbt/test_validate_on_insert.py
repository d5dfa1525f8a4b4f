"""VALIDATE_ON_INSERT both ways: a bar that fails a check keeps its note, and is held back from the windows or not."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from tests.dbt.test_bars import run_of
from tests.warehouse import MakeWarehouse, crypto

START = datetime(2025, 3, 3, tzinfo=UTC)
BARS = run_of(START, 30, "1h")
# One contradicts itself, one is no bar at all: it has no price.
ODD, EMPTY = 10, 20
SAID = [*BARS]
SAID[ODD] = replace(BARS[ODD], high=BARS[ODD].low - 1)
SAID[EMPTY] = replace(BARS[EMPTY], close=Decimal(0))


def log_return(last: int, before: int) -> float:
    return math.log(SAID[last].close / SAID[before].close)


@pytest.mark.parametrize("validates", [False, True])
def test_a_bar_that_fails_a_check(make_warehouse: MakeWarehouse, validates: bool) -> None:
    warehouse = make_warehouse("warehouse")
    warehouse.environment = {"VALIDATE_ON_INSERT": str(validates).lower()}
    warehouse.assets([crypto("BTC", "1h")])
    warehouse.load_bars("binance", "BTC", "1h", SAID)
    warehouse.build("+market_data_v2 quality_components")
    rows: list[dict[str, Any]] = warehouse.query(
        "select bars.*, parts.checks_share, parts.features_share from marts.market_data_v2 as bars"
        " inner join marts.quality_components as parts using (id) where bars.timeframe = '1h' order by bars.timestamp"
    )
    odd, empty, after = rows[ODD], rows[EMPTY], rows[ODD + 1]
    assert len(rows) == 30
    for row in (odd, empty):
        assert not row["is_validated"] and row["checks_share"] == 0.5
    assert "high below low" in odd["validation_notes"] and "price not positive" in empty["validation_notes"]
    assert empty["hlc3"] is None and empty["features_share"] == 0, "no price is in no window, whatever is set"
    if validates:
        assert odd["hlc3"] is None and odd["features_share"] == 0
        assert float(after["log_return"]) == pytest.approx(log_return(ODD + 1, ODD - 1), abs=1e-8)
    else:
        assert odd["hlc3"] is not None and odd["features_share"] == 1
        assert float(odd["log_return"]) == pytest.approx(log_return(ODD, ODD - 1), abs=1e-8)
        assert float(after["log_return"]) == pytest.approx(log_return(ODD + 1, ODD), abs=1e-8)
    assert sum(row["is_validated"] for row in rows) == 28
