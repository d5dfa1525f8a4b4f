"""The site in a real browser: every page from a file and from a server, without a request outside, without an error."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from scripts import site
from scripts.site.reference_formulas import FEATURE_TYPES
from tests.site.conftest import NOW, SCREENSHOTS
from tests.warehouse import Warehouse

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

READY = {
    "index.html": "body[data-ready=data]",
    "symbol.html#stock/AAPL/1d": "body[data-ready='stock/AAPL/1d']",
    "features.html": "body[data-ready=features]",
    "docs/index.html": "text=Query first",
    "lineage/index.html": "text=market_warehouse",
}
OURS = ("index.html", "symbol.html#stock/AAPL/1d", "symbol.html#crypto/BTC/1h", "features.html")


@dataclass
class Seen:
    """What a page did that it must not."""

    errors: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture(scope="module")
def served(pages: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(pages)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()


OpenPage = Callable[..., "tuple[Page, Seen]"]


@pytest.fixture
def open_page(browser: Browser, pages: Path) -> Iterator[OpenPage]:
    contexts = []

    def open_page(address: str, base: str = "", *, clock: float | None = None, **options: Any) -> tuple[Page, Seen]:
        base = base or pages.as_uri()
        context = browser.new_context(**{"viewport": {"width": 1440, "height": 900}, **options})
        contexts.append(context)
        page, seen = context.new_page(), Seen()
        page.on("console", lambda message: seen.errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: seen.errors.append(str(error)))
        page.on("request", lambda request: seen.outside.append(request.url) if is_outside(request.url, base) else None)
        if clock:
            page.clock.set_fixed_time(datetime.fromtimestamp(clock, UTC))
        page.goto(f"{base}/{address}")
        page.wait_for_selector(READY.get(address) or f"body[data-ready='{address.partition('#')[2]}']")
        return page, seen

    yield open_page
    for context in contexts:
        context.close()


def is_outside(url: str, base: str) -> bool:
    return not url.startswith((base, "data:", "blob:"))


@pytest.mark.parametrize("way", ["file", "server"])
@pytest.mark.parametrize("address", READY)
def test_every_page_asks_for_nothing_outside_and_logs_no_error(
    open_page: OpenPage, served: str, address: str, way: str
) -> None:
    page, seen = open_page(address, served if way == "server" else "")
    page.wait_for_load_state("networkidle")
    assert seen.outside == []
    assert seen.errors == []


def test_an_error_and_a_request_outside_are_seen(open_page: OpenPage) -> None:
    page, seen = open_page("index.html")
    with page.expect_event("console"):
        page.evaluate("console.error('no')")
    with page.expect_event("requestfailed"):
        page.evaluate(
            "document.head.append(Object.assign(document.createElement('script'), {src: 'http://127.0.0.1:9/x'}))"
        )
    assert "no" in seen.errors
    assert seen.outside == ["http://127.0.0.1:9/x"]


@pytest.mark.parametrize(
    ("scheme", "width"), [("light", 1440), ("dark", 1440), ("light", 390)], ids=["light", "dark", "narrow"]
)
def test_pages_are_accessible_and_fit(open_page: OpenPage, scheme: str, width: int) -> None:
    """axe finds nothing, contrasts included, and nothing makes a phone scroll sideways. Leaves the screenshots."""
    from axe_playwright_python.sync_playwright import Axe

    for address in OURS:
        page, _ = open_page(address, color_scheme=scheme, viewport={"width": width, "height": 900})
        found = Axe().run(page).response["violations"]
        told = [f"{violation['id']}: {[node['html'][:120] for node in violation['nodes'][:3]]}" for violation in found]
        assert told == [], address
        assert page.evaluate("document.documentElement.scrollWidth") <= width, address
        name = re.sub(r"[^a-zA-Z0-9]+", "-", address.replace(".html", ""))
        page.screenshot(path=SCREENSHOTS / f"{name}-{scheme}-{width}.png", full_page=True)
    if width == 1440:
        for address in ("docs/index.html", "lineage/index.html"):
            page, _ = open_page(address, color_scheme=scheme)
            page.screenshot(path=SCREENSHOTS / f"{address.partition('/')[0]}-{scheme}-{width}.png")


# ---------------------------------------------------------------- the dashboard


def texts(page: Page, selector: str) -> list[str]:
    return [" ".join(text.split()) for text in page.locator(selector).all_inner_texts()]


def test_dashboard_tells_what_is_wrong(open_page: OpenPage) -> None:
    page, _ = open_page("index.html")
    assert "1" in texts(page, ".tile[href='#alerts'] strong")
    alerts = texts(page, "#alerts tbody tr")
    assert alerts[0].startswith("critical run failed pipeline build: <script>alert(1)</script>"), "as text"
    assert page.get_attribute("#alerts tbody tr:nth-child(2) a", "href") == "https://wiki.example.com/late"
    assert any(
        "AAPL" in row and "close" in row and "source updated" in row for row in texts(page, "#corrections tbody tr")
    )
    assert any(row.startswith("BTC 1h 2025-01-31 04:00 1") for row in texts(page, "#gaps tbody tr"))
    assert any(row.startswith("yahoo open") for row in texts(page, "#sources tbody tr"))
    assert texts(page, "#runs tbody tr")[1].startswith("build failed 80.0 s")
    assert "1 failed" in str(page.get_attribute(".history-chart", "aria-label"))


def test_series_are_filtered_and_sorted_and_the_address_keeps_the_filter(open_page: OpenPage) -> None:
    page, _ = open_page("index.html")
    everything = len(texts(page, "#series-table tbody tr"))
    page.fill("#series-filter [name=text]", "btc")
    shown = page.locator("#series-table tbody tr:visible")
    assert shown.count() == 4, "1h, and three resampled from it"
    assert page.inner_text("#series-count") == f"4 of {everything} series"
    page.reload()
    page.wait_for_selector(READY["index.html"])
    assert shown.count() == 4
    page.fill("#series-filter [name=text]", "no such symbol")
    page.click("#series-reset")
    assert shown.count() == everything
    page.click("#series-table thead button:text('Bars')")
    bars = [int(text.replace(",", "")) for text in texts(page, "#series-table tbody td:nth-child(13)")]
    assert bars == sorted(bars, reverse=True)
    page.click("#series-table thead button:text('Symbol')")
    assert texts(page, "#series-table tbody th") == sorted(texts(page, "#series-table tbody th"))
    page.select_option("#series-filter [name=level]", "no data")
    assert set(texts(page, "#series-table tbody tr:visible th")) == {"NEW"}


def test_ages_and_states_are_those_of_the_reader_s_moment(
    built: Warehouse, charts: None, tmp_path: Path, open_page: OpenPage
) -> None:
    """The same files, opened an hour and a week after the build: what is fresh then turns stale by itself."""
    built_at = NOW.timestamp()
    site.build(tmp_path, url=built.database.dsn)
    for name in ("index.html", "symbol.html"):
        text = (tmp_path / name).read_text()
        text = re.sub(r'data-built-at="\d+"', f'data-built-at="{built_at:.0f}"', text)
        # As if its marts had no clock of their own.
        (tmp_path / name).write_text(re.sub(r'data-now="\d+"', "", text))

    def state(page: Page, symbol: str) -> tuple[str, str]:
        row = page.locator(f"#series-table tbody tr:has(th:has-text('{symbol}'))").first
        return row.locator("td").nth(2).inner_text(), row.locator(".level").inner_text()

    fresh, _ = open_page("index.html", tmp_path.as_uri(), clock=built_at + 60)
    assert state(fresh, "AAPL") == ("3 h", "on time")
    assert fresh.is_hidden("#stale-page")
    assert fresh.inner_text("#stale-count") == "3", "BTC was last asked nine hours ago, 1h and 4h; NEW has no bar"
    week, _ = open_page("index.html", tmp_path.as_uri(), clock=built_at + 7 * 86_400)
    assert state(week, "AAPL") == ("7 d", "stale")
    assert week.is_visible("#stale-page")
    assert "built 7 d ago" in week.inner_text("#stale-page")
    charted, _ = open_page("symbol.html#crypto/BTC/1h", tmp_path.as_uri(), clock=built_at + 7 * 86_400)
    assert charted.inner_text("#facts").startswith("stale")
    assert charted.is_visible("#stale-page")


def test_a_clock_that_stands_still_is_told_and_ages_count_to_it(open_page: OpenPage) -> None:
    page, _ = open_page("index.html")
    assert "frozen at 2025-03-07 00:00 UTC" in page.inner_text(".banner.note")
    row = page.locator("#series-table tbody tr:has(th:has-text('AAPL'))").first
    assert row.locator(".level").inner_text() == "on time"


# ---------------------------------------------------------------- the symbol page


def test_timeframe_and_symbol_are_switched_by_mouse_keyboard_and_address(open_page: OpenPage) -> None:
    page, seen = open_page("index.html")
    page.click("#series-table a:text-is('BTC') >> nth=0")
    page.wait_for_selector("body[data-ready='crypto/BTC/1h']")
    page.check("#timeframes input[value='1d']", force=True)
    page.wait_for_selector("body[data-ready='crypto/BTC/1d']")
    assert page.url.endswith("#crypto/BTC/1d")
    page.focus("#timeframes input:checked")
    page.keyboard.press("ArrowRight")
    page.wait_for_selector("body[data-ready='crypto/BTC/1w']")
    page.select_option("#symbol", "stock/AAPL")
    page.wait_for_selector("body[data-ready='stock/AAPL/1w']")
    page.go_back()
    page.wait_for_selector("body[data-ready='crypto/BTC/1w']")
    assert page.locator("#timeframes input:checked").input_value() == "1w"
    assert page.inner_text("#headline").startswith("BTC")
    page.goto(page.url.partition("#")[0] + "#crypto/NOPE/1h")
    page.wait_for_selector("body[data-ready='crypto/NOPE/1h']")
    assert "There are no bars of crypto/NOPE/1h" in page.inner_text("#chart-message")
    assert seen.errors == []


def test_hover_and_keyboard_tell_the_bar_its_features_its_source_and_its_revisions(open_page: OpenPage) -> None:
    page, _ = open_page("symbol.html#stock/AAPL/1d")
    last = page.get_attribute("#bar", "data-time")
    box = page.locator("#chart").bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 3)
    page.wait_for_function("last => document.getElementById('bar').dataset.time !== last", arg=last)
    text = page.inner_text("#bar")
    for word in ("open", "high", "low", "close", "volume", "polygon", "passed", "volatility_20", "atr", "sma_50"):
        assert word in text
    assert "funding_rate" not in text, "a stock has none"
    page.click("#events tr:has-text('corrected') button")
    assert "Revisions" in page.inner_text("#bar")
    assert "source updated, polygon" in page.inner_text("#bar")
    page.focus("#chart")
    page.keyboard.press("End")
    assert page.get_attribute("#bar", "data-time") == last
    page.keyboard.press("ArrowLeft")
    assert page.get_attribute("#bar", "data-time") != last
    page.keyboard.press("Home")
    assert page.inner_text("#bar-time") == "2024-11-01 UTC"


def test_splits_gaps_and_corrections_are_marked_and_the_adjusted_chart_has_no_jump(open_page: OpenPage) -> None:
    page, _ = open_page("symbol.html#stock/AAPL/1d")
    events = " ".join(texts(page, "#events tbody tr"))
    assert "split 2:1" in events
    assert "close: " in events
    assert "2 bars missing" in events
    before = page.evaluate("document.querySelectorAll('#chart canvas').length")
    page.check("#toggles label:has-text('Adjusted for splits') input")
    page.uncheck("#toggles label:has-text('ATR') input")
    assert 0 < page.evaluate("document.querySelectorAll('#chart canvas').length") < before, "one pane less"


def test_crypto_has_funding_open_interest_and_delta(open_page: OpenPage) -> None:
    page, _ = open_page("symbol.html#crypto/BTC/1h")
    assert {"Delta", "Funding", "Open interest", "Long share"} <= set(texts(page, "#toggles label"))
    text = page.inner_text("#bar")
    assert "funding_rate_percentile" in text
    assert re.search(r"liquidation_intensity\s+NULL", text), "never watched, never 0"


def test_without_the_charting_library_the_page_says_so_and_keeps_its_figures(
    built: Warehouse, tmp_path: Path, open_page: OpenPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scripts.site.dashboard.CHARTS_SCRIPT", tmp_path / "absent.js")
    made = site.build(tmp_path, url=built.database.dsn)
    assert "without charts" in str(made)
    page, seen = open_page("symbol.html#stock/AAPL/1d", tmp_path.as_uri())
    assert "install Node.js with npm" in page.inner_text("#chart-message")
    assert "volatility_20" in page.inner_text("#bar")
    assert seen.errors == []


# ---------------------------------------------------------------- the dictionary, the docs


def test_dictionary_shows_each_feature_with_its_check(open_page: OpenPage, pages: Path) -> None:
    page, _ = open_page("features.html")
    assert page.locator(".feature").count() == len(FEATURE_TYPES)
    assert page.locator(".feature.wrong").count() == 0
    atr = page.inner_text("#atr")
    for words in ("agrees", "Unit", "Window", "Warm-up", "NULL", "Basis", "Known at", "Definition", "bars compared"):
        assert words in atr
    assert "no value yet" in page.inner_text("#exchange_inflow")
    text = (pages / "FEATURE_DEFINITIONS.md").read_text()
    assert "| [atr](#atr) | numeric(19,10) | ✓ agrees |" in text


def test_docs_and_lineage_know_the_models_and_lead_back(open_page: OpenPage) -> None:
    for address in ("docs/index.html", "lineage/index.html"):
        page, _ = open_page(address)
        page.click("a:text-is('Market warehouse')")
        page.wait_for_selector(READY["index.html"])
