"""What the site is made from: the queries, the dictionary's check, the analyses."""

from __future__ import annotations

import json
import re
from collections.abc import Container
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
from markupsafe import Markup

from extract.calendar.timeframes import STEPS
from scripts import site
from scripts.site import dashboard, pieces
from scripts.site.dictionary import parse
from scripts.site.pages import exact, inline, markdown, share, short, strip
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
    (tmp_path / "data" / "stock.GONE.1d").mkdir(parents=True)
    (tmp_path / "data" / "stock.GONE.1d" / "head.js").write_text("warehouse.head('x', {})")
    (tmp_path / "data" / "stock.OLD.1d.js").write_text("what an earlier version wrote")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.html").write_text("docs")
    site.build(tmp_path, url=built.database.dsn)
    assert not list((tmp_path / "data").glob("stock.GONE*")) and not list((tmp_path / "data").glob("stock.OLD*"))
    assert (tmp_path / "docs" / "index.html").read_text() == "docs"
    assert 'href="docs/index.html"' in (tmp_path / "index.html").read_text()
    assert 'href="lineage/index.html"' not in (tmp_path / "index.html").read_text(), "not built, so not linked"
    assert not list(tmp_path.rglob("*.new"))


# ---------------------------------------------------------------- histories in pieces


def content_of(path: Path) -> Any:
    """What a data file gives to the page as its last argument."""
    text = path.read_text()
    return json.loads(text[text.index("{") : text.rindex(");")])


def pieces_of(target: Path, folder: str) -> dict[str, dict[str, Any]]:
    head = content_of(target / "data" / folder / "head.js")
    found = {name: content_of(target / "data" / folder / f"{name}.js") for name, *_ in head["pieces"]}
    for name, first, last, bars in head["pieces"]:
        assert (first, last, bars) == (found[name]["t"][0], found[name]["t"][-1], len(found[name]["t"]))
    assert {path.stem for path in (target / "data" / folder).iterdir()} == {*found, "head"}
    return found


def test_pieces_hold_every_bar_as_the_mart_holds_it(built: Warehouse, tmp_path: Path) -> None:
    site.build(tmp_path, url=built.database.dsn)
    found = pieces_of(tmp_path, "stock.AAPL.1d")
    assert list(found) == ["2024-01-01", "2025-01-01"]
    stored = built.query(
        "select close, volume, atr, split_factor, is_validated, extract(epoch from timestamp)::bigint as t"
        " from marts.market_data_v2 where symbol = 'AAPL' and timeframe = '1d' order by timestamp"
    )
    joined = {name: [value for piece in found.values() for value in piece[name]] for name in ("t", "close", "volume")}
    assert joined["t"] == [row["t"] for row in stored]
    assert joined["close"] == [float(row["close"]) for row in stored]
    assert joined["volume"] == [float(row["volume"]) for row in stored]
    newest = found["2025-01-01"]
    rows = stored[-len(newest["t"]) :]
    assert newest["atr"] == [None if row["atr"] is None else float(f"{row['atr']:.6g}") for row in rows]
    assert newest["split_factor"] == [float(row["split_factor"]) for row in rows]
    assert newest["source"] == "polygon", "what is the same for all is written once"
    assert "funding_rate" not in newest, "empty columns are left out"
    assert [flag for piece in found.values() for flag in piece.get("is_validated", [])].count(False) == sum(
        not row["is_validated"] for row in stored
    )
    head = content_of(tmp_path / "data" / "stock.AAPL.1d" / "head.js")
    assert [(one["ratio"], one["source"]) for one in head["splits"]] == [(2, "polygon")]
    assert {one["field"] for one in head["corrections"]} == {"close"} and len(head["gaps"]) >= 1


@pytest.mark.parametrize(
    ("timeframe", "span"), [("5m", "week"), ("15m", "week"), ("30m", "month"), ("1h", "quarter"), ("2h", "quarter"),
                            ("4h", "year"), ("1d", "year"), ("1w", "decade")],
)  # fmt: skip
def test_a_piece_is_a_unit_of_time_with_few_bars(monkeypatch: pytest.MonkeyPatch, timeframe: str, span: str) -> None:
    monkeypatch.setitem(STEPS, "2h", timedelta(hours=2))
    assert pieces.unit(timeframe)[0] == span


def written_between(target: Path, before: dict[Path, int]) -> set[str]:
    """Data files that were written since, as series/piece."""
    now = stamps(target)
    return {f"{path.parent.name}/{path.stem}" for path in now if now[path] != before.get(path)}


def stamps(target: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in (target / "data").glob("*/*.js")}


def test_only_pieces_with_news_are_written_again(built: Warehouse, tmp_path: Path) -> None:
    """Nothing new: nothing written. An amended bar: its piece. A deleted bar, which leaves no time of writing: its piece and
    the list of pieces. Another table, as after a full refresh: all that differs, which is nothing. Changed back: as before."""
    first = site.build(tmp_path, url=built.database.dsn)
    files = stamps(tmp_path)
    assert first.pieces > 5 and site.build(tmp_path, url=built.database.dsn).pieces == 0
    assert written_between(tmp_path, files) == set()
    built.execute(
        "create table kept as table marts.market_data_v2; create table kept_days as table marts.series_quality_by_day"
    )
    try:
        built.execute(
            "update marts.market_data_v2 set close = close + 0.25, updated_at = now() + interval '1 hour'"
            " where symbol = 'AAPL' and timeframe = '1d' and timestamp < '2024-11-02'"
        )
        assert site.build(tmp_path, url=built.database.dsn).pieces == 1
        assert written_between(tmp_path, files) == {"stock.AAPL.1d/2024-01-01"}
        files = stamps(tmp_path)
        # As a build does it: the row, and its count in the days that all counts are summed up from.
        built.execute(
            """
            update marts.series_quality_by_day set bars = 0
            where session_date = '2025-02-03' and series_id in (
                select series_id from intermediate.int_series where symbol = 'BTC' and timeframe = '1w'
            );
            delete from marts.market_data_v2 where symbol = 'BTC' and timeframe = '1w' and session_date = '2025-02-03'
            """
        )
        site.build(tmp_path, url=built.database.dsn)
        assert written_between(tmp_path, files) == {"crypto.BTC.1w/2020-01-01", "crypto.BTC.1w/head"}
        pieces_of(tmp_path, "crypto.BTC.1w")
        files = stamps(tmp_path)
        manifest = tmp_path / "data" / "pieces.json"
        manifest.write_text(manifest.read_text().replace('"relation":"', '"relation":"other '))
        assert site.build(tmp_path, url=built.database.dsn).pieces == 0
        assert written_between(tmp_path, files) == set()
    finally:
        built.execute(
            """
            truncate marts.market_data_v2, marts.series_quality_by_day;
            insert into marts.market_data_v2 table kept;
            insert into marts.series_quality_by_day table kept_days;
            drop table kept, kept_days
            """
        )
    assert site.build(tmp_path, url=built.database.dsn).pieces == 2, (
        "of an earlier time than the last build: all are compared"
    )
    again = tmp_path / "again"
    site.build(again, url=built.database.dsn)
    assert {path.relative_to(tmp_path): path.read_bytes() for path in (tmp_path / "data").glob("*/*.js")} == {
        path.relative_to(again): path.read_bytes() for path in (again / "data").glob("*/*.js")
    }


def test_guides_are_rendered_when_one_has_changed(
    built: Warehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    rendered: list[str] = []

    def noted(text: str, guides: Container[str]) -> Markup:
        rendered.append(text)
        return markdown(text, guides)

    monkeypatch.setattr("scripts.site.dashboard.markdown", noted)
    site.build(tmp_path, url=built.database.dsn)
    number = len(rendered)
    assert number == len(list((ROOT / "docs").rglob("*.md")))
    site.build(tmp_path, url=built.database.dsn)
    assert len(rendered) == number
    (tmp_path / "guides" / "runbook.html").unlink()
    site.build(tmp_path, url=built.database.dsn)
    assert len(rendered) == 2 * number


def test_the_features_lead_to_the_guides_in_the_first_site_too(
    built: Warehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # `make site` and the demo write the features before all else.
    monkeypatch.chdir(ROOT)
    site.write_dictionary(tmp_path, url=built.database.dsn, bars_to_check=1_000)
    assert 'href="guides/README.html"' in (tmp_path / "features.html").read_text()
    assert (tmp_path / "guides" / "README.html").exists()


def test_a_gap_around_the_bars_says_so(built: Warehouse, tmp_path: Path) -> None:
    # The tile counts those between bars; one before them, listed as open below it, seemed to contradict it.
    built.execute("create table kept as table marts.bar_gaps; update marts.bar_gaps set place = 'before'")
    try:
        site.build(tmp_path, url=built.database.dsn)
        assert "before the first bar" in (tmp_path / "index.html").read_text()
    finally:
        built.execute("truncate marts.bar_gaps; insert into marts.bar_gaps table kept; drop table kept")
    site.build(tmp_path, url=built.database.dsn)
    assert "before the first bar" not in (tmp_path / "index.html").read_text()


# ---------------------------------------------------------------- the charting library in every site


def npm_that(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An npm of the test's own, first on the path, in a checkout that has no library yet."""
    folder.mkdir(exist_ok=True)
    (folder / "npm").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setattr("scripts.site.dashboard.CHARTS_SCRIPT", dashboard.CHARTS / "dist" / "absent.js")


def test_every_build_fetches_the_charting_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = tmp_path / "calls"
    made = (
        "mkdir -p node_modules/lightweight-charts/dist && cd node_modules/lightweight-charts && echo js >dist/absent.js"
    )
    npm_that(tmp_path / "bin", f"echo $* >>{calls}; {made} && echo free >LICENSE", monkeypatch)
    assert dashboard.copy_assets(tmp_path) is None
    assert (tmp_path / "assets" / "lightweight-charts.js").read_text() == "js\n"
    assert (tmp_path / "assets" / "lightweight-charts.LICENSE.txt").exists()
    assert dashboard.copy_assets(tmp_path) is None
    assert calls.read_text().count("ci --ignore-scripts") == 1, "it is there"


def test_an_npm_that_fails_or_is_missing_is_told_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = tmp_path / "calls"
    npm_that(tmp_path / "bin", f"echo $* >>{calls}; echo 'npm error ENOTFOUND' >&2; exit 1", monkeypatch)
    remedy = dashboard.copy_assets(tmp_path)
    assert remedy and "ENOTFOUND" in remedy and "an hour from now" in remedy
    assert dashboard.copy_assets(tmp_path) == remedy
    assert len(calls.read_text().splitlines()) == 1, "not at every turn of the scheduler"
    monkeypatch.setattr("shutil.which", lambda name: None)
    (tmp_path / "assets" / "npm-failed.txt").unlink()
    assert dashboard.copy_assets(tmp_path) == "npm is not installed; install Node.js with npm, then `market site`"


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
        pieces.folder_name({"symbol": symbol, "asset_class": "stock", "timeframe": "1d"})
        for symbol in ("BRK.B", "BRK/B", "BRKB", "brkb", "BRK B", "../X", "BRK_B")
    ]
    assert len({name.lower() for name in names}) == len(names)
    assert all(re.fullmatch(r"[\w.]+", name) and ".." not in name for name in names)


def test_figures_are_told_as_people_read_them() -> None:
    assert [share(999_999, 1_000_000), share(1, 1), share(1, 3), share(0, 0)] == [">99.9 %", "100.0 %", "33.3 %", "–"]
    assert [short(1234567.8), short(0.000123456), short(None)] == ["1,234,568", "0.00012346", "–"]
    assert inline("`a` **b** <i>") == "<code>a</code> <strong>b</strong> &lt;i&gt;"
    # What changed of a corrected price may be its last digits.
    assert [exact(Decimal("38750.05")), exact(4268802), exact(1.5e12), exact(None)] == [
        "38,750.05", "4,268,802", "1,500,000,000,000", "–",
    ]  # fmt: skip
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


def test_what_is_wide_in_a_guide_scrolls_by_itself_and_by_the_keyboard() -> None:
    text = markdown("| | b |\n|---|---|\n| 1 | 2 |\n\n```\nmake demo\n```\n")
    assert '<div class="table" tabindex="0" role="group" aria-label="Table"><table>' in text
    assert '<pre tabindex="0">' in text
    assert "<td></td>\n<th>b</th>" in text, "an empty corner is no head of a column"


def test_links_of_a_guide_lead_to_guides_and_outside_only() -> None:
    text = markdown("[a](../rooms/b.md#c) [d](https://e.f/g.md) [h](#i) [j](../../Makefile), [k](l.md)", {"b"})
    assert re.findall(r'href="([^"]+)"', text) == ["b.html#c", "https://e.f/g.md", "#i"]
    assert "j, k" in text
