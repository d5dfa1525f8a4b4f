"""What the site is made from: the queries, the dictionary's check, the analyses."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import psycopg
import pytest

from scripts import site
from scripts.site.dashboard import file_name
from scripts.site.dictionary import parse
from scripts.site.pages import inline, markdown, share, short, strip
from tests.conftest import ROOT
from tests.site.conftest import NOW
from tests.warehouse import Warehouse

QUERIES = ROOT / "scripts" / "site" / "queries"
# The check of the features is an audit: like the tests it looks at the samples behind the bars.
AUDIT = {"definitions", "bars_to_check", "series_to_check", "feature_coverage"}


def is_audit(query: Path) -> bool:
    return query.stem in AUDIT or query.stem.startswith("check_")


def relations(queries: list[Path]) -> set[str]:
    return {
        name for query in queries for name in re.findall(r"(?<!epoch )\b(?:from|join) (\w+\.\w+)", query.read_text())
    }


def test_tiles_read_marts_only_and_the_exposure_lists_them() -> None:
    from dbt.clients.yaml_helper import load_yaml_text

    # scripts.reading.features.registered() reads the list of features.
    own = {"marts.feature_registry"}
    read = own | relations([query for query in QUERIES.glob("*.sql") if not is_audit(query)]) - {"ops.demo"}
    exposures = load_yaml_text((ROOT / "dbt_project" / "models" / "exposures.yml").read_text())["exposures"]  # type: ignore[index]
    dashboard = next(exposure for exposure in exposures if exposure["name"] == "dashboard")
    listed = {re.sub(r"ref\('(\w+)'.*", r"marts.\1", reference) for reference in dashboard["depends_on"]}
    assert read == {name.replace("marts.market_data", "marts.market_data_v2") for name in listed}


def test_recent_sessions_tell_what_is_missing_and_what_is_due(built: Warehouse) -> None:
    rows = built.query(
        "select * from marts.series_recent_sessions where symbol = 'AAPL' and timeframe = '1d' order by session_date"
    )
    assert [row["sessions_ago"] for row in rows] == list(range(30, 0, -1)), "sessions, not days"
    states = {f"{row['session_date']:%m-%d}": row["state"] for row in rows}
    assert {day for day, state in states.items() if state == "missing"} == {"02-14", "02-18"}, "a holiday between"
    assert set(states.values()) == {"missing", "complete"}
    hours = built.query(
        "select session_date, expected_bars, bars, state from marts.series_recent_sessions"
        " where symbol = 'BTC' and timeframe = '1h' and bars < 24 order by session_date"
    )
    # Asked at 15:00 the last time, so nine hours are due.
    assert [(f"{row['session_date']:%m-%d}", row["bars"], row["state"]) for row in hours] == [("03-06", 15, "poor")]
    weeks = built.query("select * from marts.series_recent_sessions where symbol = 'BTC' and timeframe = '1w'")
    assert max(row["session_date"] for row in weeks).isoformat() == "2025-03-03"
    assert min(weeks, key=lambda row: row["sessions_ago"])["state"] == "awaited", "the week is not over"
    assert built.query("select * from marts.series_recent_sessions where symbol = 'NEW'") == [], "it never had a bar"


def test_hours_and_lateness_are_told_for_later(built: Warehouse) -> None:
    yahoo = built.query("select * from marts.source_health_by_hour where source = 'yahoo'")
    assert [(row["requests"], row["failed_requests"], row["worst_breaker_state"]) for row in yahoo] == [(1, 1, "OPEN")]
    row = built.query("select * from marts.enrichment_status where symbol = 'AAPL' and timeframe = '1d'")[0]
    assert row["sla_level"] == "on time"
    assert row["next_bar_closes_at"] <= row["late_from"] < row["critical_from"] < row["stale_from"]
    none = built.query("select * from marts.enrichment_status where symbol = 'NEW' and timeframe = '1d'")[0]
    assert none["stale_from"] is None


def test_agreement_is_summed_up_per_pair(built: Warehouse) -> None:
    told = built.query(
        "select (select count(*) from marts.source_reconciliation) as compared,"
        " (select coalesce(sum(compared_values), 0) from marts.source_agreement) as summed"
    )[0]
    assert told["compared"] == told["summed"]


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ("atr = atr * 1.00001", ["atr"]),
        ("market_structure = 'range'", ["market_structure"]),
        ("volatility_20 = null, sma_20 = sma_20 + 0.01", ["sma_20", "volatility_20"]),
        ("delta = 0", ["delta"]),
    ],
)
def test_a_value_that_differs_from_its_definition_turns_red_and_fails(
    built: Warehouse, tmp_path: Path, change: str, wrong: list[str]
) -> None:
    where = "where asset_class = 'crypto' and timeframe = '1h' and timestamp > '2025-03-01' and atr is not null"
    built.execute(f"create table kept as table marts.market_data_v2; update marts.market_data_v2 set {change} {where}")
    try:
        with pytest.raises(site.FeaturesWrong, match="BTC 1h") as failure:
            site.write_dictionary(tmp_path, url=built.database.dsn)
    finally:
        built.execute("truncate marts.market_data_v2; insert into marts.market_data_v2 table kept; drop table kept")
    assert re.findall(r"(\w+): \d+ of", str(failure.value)) == sorted(wrong, key=str(failure.value).index)
    page = (tmp_path / "features.html").read_text()
    assert set(re.findall(r'class="card feature wrong" id="(\w+)"', page)) == set(wrong)
    text = (tmp_path / "FEATURE_DEFINITIONS.md").read_text()
    assert text.count("**✕ differs**") == len(wrong)


def test_every_feature_with_a_value_agrees_and_only_the_shares_asked_for_are_compared(
    built: Warehouse, tmp_path: Path
) -> None:
    few = site.write_dictionary(tmp_path, url=built.database.dsn, bars_to_check=1_000)
    everything = site.write_dictionary(tmp_path, url=built.database.dsn)
    assert [entry.definition.name for entry in everything if entry.evidence.verdict == "wrong"] == []
    assert 0 < few[0].evidence.bars < everything[0].evidence.bars
    unseen = {entry.definition.name for entry in everything if entry.evidence.verdict == "unseen"}
    assert unseen == {"liquidation_intensity", "exchange_inflow"}


def test_a_block_is_taken_apart() -> None:
    items = "- **Formula:** a **b** c\n  over two lines.\n- **Window:** 20 bars. **NULL:** never."
    block = f"What it is,\nin words.\n\n{items}\n\n```sql\nx / y\n```\n"
    found = parse("f", "numeric(11,8)", block)
    assert found.summary == "What it is, in words."
    assert found.parts == {"Formula": "a **b** c over two lines.", "Window": "20 bars.", "NULL": "never."}
    assert found.sql == "x / y"


@pytest.mark.parametrize(
    "name", ["return_correlation", "volatility_cone", "funding_against_price", "gap_report", "as_of_comparison"]
)
def test_analyses_run(built: Warehouse, analyses: Path, name: str) -> None:
    rows = built.query((analyses / f"{name}.sql").read_text().replace("%", "%%"))
    assert rows
    first = rows[0]
    if name == "return_correlation":
        assert {first["symbol"], first["other_symbol"]} == {"AAPL", "BTC"} and -1 <= first["correlated"] <= 1
    if name == "volatility_cone":
        assert all(row["lowest"] <= row["latest"] <= row["highest"] for row in rows)
    if name == "funding_against_price":
        assert {row["symbol"] for row in rows} == {"BTC"} and len(rows) > 1
    if name == "gap_report":
        assert {row["symbol"] for row in rows} >= {"AAPL", "BTC"}
    if name == "as_of_comparison":
        assert [row["field_corrected"] for row in rows if row["symbol"] == "AAPL" and row["timeframe"] == "1d"] == [
            "close"
        ]


@pytest.fixture(scope="module")
def analyses(built: Warehouse) -> Path:
    built.build("path:dbt_project/analyses", command="compile", tests=True)
    return built.project.directory / "target" / "compiled" / "market_warehouse" / "dbt_project" / "analyses"


def test_there_are_no_analyses_but_those(analyses: Path) -> None:
    assert len(list(analyses.glob("*.sql"))) == 5


# ---------------------------------------------------------------- files


def test_data_of_series_that_are_gone_are_removed_and_documents_stay(built: Warehouse, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "stock.GONE.1d.js").write_text("warehouse.bars('x', {})")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.html").write_text("docs")
    site.build(tmp_path, url=built.database.dsn)
    assert not (tmp_path / "data" / "stock.GONE.1d.js").exists()
    assert (tmp_path / "docs" / "index.html").read_text() == "docs"
    assert 'href="docs/index.html"' in (tmp_path / "index.html").read_text()
    assert 'href="lineage/index.html"' not in (tmp_path / "index.html").read_text(), "not built, so not linked"
    assert not list(tmp_path.rglob("*.new"))


def columns_of(target: Path, name: str) -> dict[str, Any]:
    text = (target / "data" / name).read_text()
    return json.loads(text[text.index(", {") + 2 : text.rindex(");")])


def test_data_files_hold_what_the_mart_holds(built: Warehouse, tmp_path: Path) -> None:
    site.build(tmp_path, url=built.database.dsn, bars=30)
    data = columns_of(tmp_path, "stock.AAPL.1d.js")
    stored = built.query(
        "select close, atr, extract(epoch from timestamp)::bigint as t from marts.market_data_v2"
        " where symbol = 'AAPL' and timeframe = '1d' order by timestamp desc limit 30"
    )[::-1]
    assert data["t"] == [row["t"] for row in stored]
    assert data["close"] == [float(row["close"]) for row in stored]
    assert data["atr"] == pytest.approx([float(row["atr"]) for row in stored], rel=1e-5)
    assert "funding_rate" not in data, "empty columns are left out"


def test_an_empty_database_is_an_error_that_says_what_to_do(built: Warehouse, tmp_path: Path) -> None:
    with psycopg.connect(built.database.dsn, autocommit=True) as connection:
        connection.execute("alter schema marts rename to hidden")
        try:
            with pytest.raises(LookupError, match="make build"):
                site.build(tmp_path, url=built.database.dsn)
        finally:
            connection.execute("alter schema hidden rename to marts")


def test_any_symbol_has_a_file_name_of_its_own() -> None:
    names = [
        file_name({"symbol": symbol, "asset_class": "stock", "timeframe": "1d"})
        for symbol in ("BRK.B", "BRK/B", "BRKB", "brkb", "BRK B", "../X", "BRK_B")
    ]
    assert len({name.lower() for name in names}) == len(names)
    assert all(re.fullmatch(r"[\w.]+", name) and ".." not in name for name in names)


def test_figures_are_told_as_people_read_them() -> None:
    assert [share(999_999, 1_000_000), share(1, 1), share(1, 3), share(0, 0)] == [">99.9 %", "100.0 %", "33.3 %", "–"]
    assert [short(1234567.8), short(0.000123456), short(None)] == ["1,234,568", "0.00012346", "–"]
    assert inline("`a` **b** <i>") == "<code>a</code> <strong>b</strong> &lt;i&gt;"
    assert '<h2 id="run_failed">' in markdown("## run_failed\n\ntext")
    assert 'aria-label="2 complete, 1 missing"' in strip("ccm")


def test_the_clock_of_the_marts_is_on_the_page(built: Warehouse, tmp_path: Path) -> None:
    site.build(tmp_path, url=built.database.dsn)
    assert f'data-now="{NOW.timestamp():.0f}"' in (tmp_path / "index.html").read_text()


def test_alerts_lead_to_their_line_of_the_runbook(
    built: Warehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    site.build(tmp_path, url=built.database.dsn)
    assert 'href="guides/runbook.html#run_failed"' in (tmp_path / "index.html").read_text()
    runbook = (tmp_path / "guides" / "runbook.html").read_text()
    assert 'id="run_failed"' in runbook
    for page in (tmp_path / "guides").glob("*.html"):
        for link in re.findall(r'href="(?!https?:|#)([^"#]+)', page.read_text()):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_links_of_a_guide_lead_to_guides_and_outside_only() -> None:
    text = markdown("[a](../rooms/b.md#c) [d](https://e.f/g.md) [h](#i) [j](../../Makefile), [k](l.md)", {"b"})
    assert re.findall(r'href="([^"]+)"', text) == ["b.html#c", "https://e.f/g.md", "#i"]
    assert "j, k" in text
