"""The metrics: what they tell, and that Prometheus can read them and the example rules."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from prometheus_client.core import Metric
from prometheus_client.openmetrics import parser

from scripts.monitoring import metrics
from tests.scripts.conftest import HOSTILE, HOURS, ROOT, Served
from tests.scripts.test_reports import market
from tests.warehouse import Warehouse


@pytest.fixture(scope="module")
def text(served: Served) -> str:
    answer = served.get("/metrics")
    assert answer.headers["content-type"] == metrics.CONTENT_TYPE
    return answer.text


def families(text: str) -> list[Metric]:
    return list(parser.text_string_to_metric_families(text))  # type: ignore[no-untyped-call]


def samples(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families(text)
        for sample in family.samples
    }


def test_they_tell_what_the_marts_hold(text: str) -> None:
    found = samples(text)
    series = frozenset({"symbol": "BTC", "asset_class": "crypto", "timeframe": "1h"}.items())
    assert found["market_bars", series] == 262
    closed = HOURS[-1].timestamp.timestamp() + 3600
    assert found["market_newest_bar_close_timestamp_seconds", series] == closed
    assert found["market_next_bar_close_timestamp_seconds", series] == closed + 3600
    assert found["market_source_error_ratio", frozenset({("source", "binance")})] > 0
    hostile = frozenset({"symbol": HOSTILE, "asset_class": "crypto", "timeframe": "1h"}.items())
    assert found["market_bars", hostile] == 5


def test_the_dashboard_for_grafana_asks_for_what_there_is(text: str, built: Warehouse) -> None:
    """Every metric is one of ours; every select runs on the marts, Grafana's macros and variables filled in as it does."""
    board = json.loads((ROOT / "monitoring" / "grafana.json").read_text())
    targets = [target for panel in board["panels"] for target in panel["targets"]]
    asked = {name for target in targets for name in re.findall(r"\bmarket_[a-z_0-9]+", target.get("expr", ""))}
    assert len(asked) > 12
    assert asked - {family.name for family in families(text)} == set()
    statements = [target["rawSql"] for target in targets if "rawSql" in target]
    statements += [one["query"] for one in board["templating"]["list"] if one["type"] == "query"]
    assert len(statements) == 7
    rows = {}
    for statement in statements:
        filled = re.sub(r"\$__timeFilter\(([\w.]+)\)", r"\1 between '2025-01-01' and '2026-01-01'", statement)
        rows[statement] = built.query(filled.replace("${symbol}", "BTC").replace("${timeframe}", "1h"))
        assert set(re.findall(r"\b(?:from|join) (\w+)\.", statement)) == {"marts"}, statement
    candles = next(found for statement, found in rows.items() if "sma_20" in statement)
    assert len(candles) == 262 and {"time", "open", "high", "low", "close", "volume"} <= candles[0].keys()
    assert len({(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in board["panels"]}) == len(board["panels"])


def test_no_age_is_written_down(text: str) -> None:
    # In a file that nobody writes any more an age would stand still, and nothing fire.
    assert not [name for name, _ in samples(text) if "age" in name.split("_")]


def test_the_file_is_whole_and_readable(built: Warehouse, tmp_path: Path) -> None:
    path = tmp_path / "made" / "market.prom"
    market(built.database, tmp_path, "metrics", "--file", str(path))
    assert path.read_text().endswith("# EOF\n")
    assert path.stat().st_mode & 0o777 == 0o644
    assert [entry.name for entry in path.parent.iterdir()] == ["market.prom"]


def test_prometheus_accepts_metrics_and_rules(text: str) -> None:
    if not shutil.which("promtool"):
        pytest.skip("needs promtool (Debian's package prometheus)")
    subprocess.run(["promtool", "check", "metrics"], input=text.encode(), check=True)
    subprocess.run(["promtool", "check", "rules", str(ROOT / "monitoring" / "alerts.yml")], check=True)


def test_every_metric_of_the_rules_exists(text: str) -> None:
    rules = (ROOT / "monitoring" / "alerts.yml").read_text()
    told = {family.name for family in families(text)}
    named = {
        word
        for word in rules.replace("{", " ").replace("(", " ").replace(")", " ").split()
        if word.startswith("market_")
    }
    assert named
    assert named <= told
