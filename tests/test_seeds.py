"""No module of what is shared names a timeframe, a calendar or a zone of one: the seeds do."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from extract.calendar import seeds, timeframes
from extract.core.settings import ConfigurationError
from tests.conftest import ROOT

# What names one for a reason of its own: a source's fact, an example, data of the demo, a default that users see.
MAY = {
    "extract/providers/binance": "what it calls the period of samples",
    "extract/providers/coinmetrics": "what it calls a day",
    "extract/commands/lookup.py": "what sources call a day",
    "extract/providers/polygon": "the market of its whole-market days",
    "extract/commands/probe.py": "what sources call a day",
    "extract/providers/yahoo": "what it calls an hour in its answers",
    "market_warehouse/frames.py": "the default of a public function",
    "scripts/api/examples.py": "examples",
    "scripts/demo/__init__.py": "the demo's own data",
    "scripts/reading/record.py": "what Coin Metrics calls a day",
    "scripts/simulator": "the world that it serves",
}


def seeded() -> set[str]:
    calendars = seeds.rows(ROOT / seeds.SEEDS / "calendars.csv")
    names = {row["timeframe"] for row in seeds.rows(ROOT / seeds.SEEDS / "timeframes.csv")}
    return names | {row[name] for row in calendars for name in ("calendar", "time_zone")} - {"UTC"}


def named(code: str) -> set[str]:
    """The names of the seeds that stand in a module as strings."""
    texts = {node.value for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Constant)}
    return {text for text in texts if isinstance(text, str)} & seeded()


def test_modules_ask_the_seeds() -> None:
    found = {}
    for folder in ("extract", "scripts", "market_warehouse"):
        for file in (ROOT / folder).rglob("*.py"):
            path = file.relative_to(ROOT)
            if not {str(path), *map(str, path.parents)} & MAY.keys() and (names := named(file.read_text())):
                found[str(path)] = names
    assert not found
    assert named('STEPS = {"1h": 60}; CLOSED = zone != "24/7"; LIST = "1h 1d"') == {"1h", "24/7"}


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("7h,420", "'7h' of '420' minutes is no timeframe"),
        ("2d,2880", "'2d' of '2880' minutes is no timeframe"),
        ("1h,30", "'1h' of '30' minutes is no timeframe"),
        ("2h,two", "'2h' of 'two' minutes is no timeframe"),
        ("2h", "'2h' of '' minutes is no timeframe"),
    ],
)
def test_a_line_that_is_no_timeframe_is_named(
    line: str, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "timeframes.csv"
    file.write_text((ROOT / seeds.SEEDS / "timeframes.csv").read_text() + f"{line}\n")
    monkeypatch.setattr(seeds, "path", lambda name: file)
    with pytest.raises(ConfigurationError, match=problem):
        timeframes._steps()
