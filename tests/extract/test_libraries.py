"""What we rely on in libraries beyond what they document: in one module each, and noticed here when a release changes it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from yfinance.data import YfData
from yfinance.exceptions import YFRateLimitError

from extract.providers.yahoo.client import Client
from extract.providers.yahoo.settings import CHART
from extract.transport.budget import RequestsPerMinute
from scripts.simulator import Simulator
from tests.conftest import ROOT
from tests.extract.conftest import Market

# File -> the attributes of other libraries' objects with a leading underscore that it touches.
ADAPTERS = {"extract/providers/yahoo/client.py": {"_crumb"}}


def private_attributes(texts: dict[str, str]) -> dict[str, set[str]]:
    """File -> the attributes with a leading underscore it touches that none of the files defines or sets on `self`."""
    used: dict[str, set[str]] = {}
    ours: set[str] = set()
    for file, text in texts.items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                ours.add(node.name)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                ours.add(node.id)
            elif isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
                if isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"):
                    ours.add(node.attr)
                else:
                    used.setdefault(file, set()).add(node.attr)
    return {file: names - ours for file, names in used.items() if names - ours}


def test_private_attributes_of_libraries_are_touched_in_adapters_only() -> None:
    texts = {
        path.relative_to(ROOT).as_posix(): path.read_text()
        for folder in ("extract", "market_warehouse", "scripts")
        for path in (ROOT / folder).rglob("*.py")
        if "node_modules" not in path.parts
    }
    assert private_attributes(texts) == ADAPTERS


def test_a_private_attribute_is_found() -> None:
    texts = {
        "a": "class A:\n    def f(self):\n        self._mine = 1\n        return library._theirs, x.__doc__\n",
        "b": "def f(a):\n    return a._mine, a._f\n",
    }
    assert private_attributes(texts) == {"a": {"_theirs"}, "b": {"_f"}}


def test_yfinance_asks_through_our_session_and_forgets_a_refused_crumb(simulator: Simulator, tmp_path: Path) -> None:
    client = Client(simulator.environment()["YAHOO_BASE_URL"], tmp_path / "yfinance")
    day = {"period1": 1_361_000_000, "period2": 1_361_900_000, "interval": "1d"}
    assert client.get(f"{CHART}AAPL", day, 10).status_code == 200
    assert client.last_chart().json()["chart"]["result"][0]["meta"]["symbol"] == "AAPL"
    # The crumb is where we look for it, in the one client that yfinance has.
    crumb = YfData()._crumb
    assert crumb
    YfData()._crumb = "Too Many Requests"
    assert client.get(f"{CHART}AAPL", day, 10).status_code == 200
    assert YfData()._crumb not in ("Too Many Requests", None)
    number = simulator.add_fault(kind="status", status=429, provider="yahoo", endpoint="bars")
    try:
        with pytest.raises(YFRateLimitError):
            client.get(f"{CHART}AAPL", day, 10)
    finally:
        simulator.clear_faults(number)
    assert client.last_chart().status_code == 429


def test_requests_are_counted_in_the_rate_limiters_table(market: Market) -> None:
    budget = RequestsPerMinute("Polygon", 5)
    assert budget.remaining() == 5
    budget.wait()
    budget.wait()
    assert budget.remaining() == 3
