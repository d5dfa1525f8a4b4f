"""The site in a real browser: every page from a file and from a server, without a request outside, without an error."""

from __future__ import annotations

import csv
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
from scripts.site.reference_formulas import FEATURES
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
    "guides/README.html": "body[data-ready=guide]",
}
OURS = ("index.html", "symbol.html#stock/AAPL/1d", "symbol.html#crypto/BTC/1h", "features.html", "guides/README.html")


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
        page.wait_for_selector(
            READY.get(address) or f"body[data-ready='{address.partition('#')[2].partition('@')[0]}']"
        )
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
    ("scheme", "width"), [("light", 1440), ("dark", 1440), ("light", 768), ("dark", 390)], ids=lambda value: str(value)
)
def test_pages_are_accessible_and_fit(open_page: OpenPage, scheme: str, width: int) -> None:
    """axe finds nothing, contrasts included, nothing makes a phone scroll sideways, every link of the navigation is in
    sight. Leaves the screenshots."""
    from axe_playwright_python.sync_playwright import Axe

    for address in OURS:
        page, _ = open_page(address, color_scheme=scheme, viewport={"width": width, "height": 900})
        if "BTC" in address:
            page.click("#features-menu summary")
        found = Axe().run(page).response["violations"]
        told = [f"{violation['id']}: {[node['html'][:120] for node in violation['nodes'][:3]]}" for violation in found]
        assert told == [], address
        assert page.evaluate("document.documentElement.scrollWidth") <= width, address
        for link in page.locator("header nav a").all():
            box = link.bounding_box()
            assert box and box["x"] >= 0 and box["x"] + box["width"] <= width, (address, link.inner_text())
        if "BTC" in address:
            page.click("#features-menu summary")
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


def test_a_symbol_is_a_row_with_price_change_and_worst_state_and_problems_come_first(open_page: OpenPage) -> None:
    page, _ = open_page("index.html")
    assert texts(page, "#series-table tbody:visible .folded th a") == ["NEW", "BTC", "AAPL"]
    assert texts(page, "#series-table .folded .level") == ["no data", "stale", "on time"], (
        "1d of BTC is on time, 1h is not"
    )
    prices = texts(page, "#series-table .folded .price")
    assert prices[0] == "–" and all(re.fullmatch(r"[\d,]+\.\d\d", price) for price in prices[1:])
    assert all(re.fullmatch(r"[+−]\d+\.\d\d %", change) for change in texts(page, "#series-table .folded .change")[1:])
    assert page.locator("tbody[data-symbol=AAPL] .closes polyline").count() == 1
    assert page.locator("#series-table .series:visible").count() == 0
    page.click("tbody[data-symbol=BTC] .unfold")
    assert texts(page, "#series-table .series:visible th a") == ["1h", "4h", "1d", "1w"]
    page.click("tbody[data-symbol=BTC] .unfold")
    assert page.locator("#series-table .series:visible").count() == 0


def test_symbols_are_filtered_and_sorted_and_the_address_keeps_the_filter(open_page: OpenPage) -> None:
    page, _ = open_page("index.html")
    symbols = page.locator("#series-table tbody:visible .folded th a")
    assert page.inner_text("#series-count") == "3 symbols"
    page.fill("#series-filter [name=text]", "btc")
    assert symbols.all_inner_texts() == ["BTC"]
    page.select_option("#series-filter [name=timeframe]", "4h")
    assert texts(page, "#series-table .series:visible th a") == ["4h"], "what was asked for is unfolded"
    assert page.inner_text("#series-count") == "1 of 3 symbols"
    page.reload()
    page.wait_for_selector(READY["index.html"])
    assert symbols.all_inner_texts() == ["BTC"]
    page.fill("#series-filter [name=text]", "no such symbol")
    page.click("#series-reset")
    assert symbols.count() == 3
    page.click("#series-table thead button:text('Bars')")
    bars = [int(text.replace(",", "")) for text in texts(page, "#series-table .folded td:nth-child(13)")]
    assert bars == sorted(bars, reverse=True) and bars[0] > bars[1]
    page.click("#series-table thead button:text('Symbol')")
    assert symbols.all_inner_texts() == ["AAPL", "BTC", "NEW"]
    page.select_option("#series-filter [name=level]", "no data")
    assert symbols.all_inner_texts() == ["NEW"]


def test_the_jump_bar_leads_to_a_symbol_a_timeframe_or_a_page(open_page: OpenPage) -> None:
    page, seen = open_page("index.html")
    page.keyboard.press("/")
    page.wait_for_selector("#command-list [aria-selected=true]")
    page.keyboard.type("bt 4h")
    page.wait_for_function("document.querySelectorAll('#command-list li').length === 1")
    assert re.match(r"BTC crypto 4h [\d,.]+ [+−]", texts(page, "#command-list li")[0])
    page.keyboard.press("Enter")
    page.wait_for_selector("body[data-ready='crypto/BTC/4h']")
    page.keyboard.press("Control+k")
    page.keyboard.type("guides")
    page.wait_for_selector("#command-list li:has-text('Guides')")
    page.keyboard.press("Enter")
    page.wait_for_selector("body[data-ready=guide]")
    page.click("#jump")
    page.keyboard.type("aapl")
    page.wait_for_selector("#command-list li:has-text('AAPL')")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_selector("body[data-ready='stock/AAPL/1d']")
    page.keyboard.press("/")
    page.keyboard.press("Escape")
    assert page.locator("#commands").is_hidden()
    assert seen.errors == [] and seen.outside == []


def test_corrections_gaps_and_splits_lead_to_their_bar(open_page: OpenPage) -> None:
    page, _ = open_page("index.html")
    for section in ("corrections", "gaps", "splits"):
        assert page.locator(f"#{section} tbody th a[href*='@']").count() > 0, section
    page.click("#splits tbody th a")
    page.wait_for_selector("body[data-ready='stock/AAPL/1d']")
    assert page.inner_text("#bar-time") == "2025-02-03 UTC"


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
        row = page.locator(f"#series-table tbody[data-symbol={symbol}] .folded")
        return row.locator("[data-age]").inner_text(), row.locator(".level").inner_text()

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
    row = page.locator("#series-table tbody[data-symbol=AAPL] .folded")
    assert row.locator(".level").inner_text() == "on time"
    # The features are checked on the same data.
    features, _ = open_page("features.html")
    assert "frozen at 2025-03-07 00:00 UTC" in features.inner_text(".banner.note")


# ---------------------------------------------------------------- the symbol page


def test_timeframe_and_symbol_are_switched_by_mouse_keyboard_and_address(open_page: OpenPage) -> None:
    page, seen = open_page("index.html")
    page.click("tbody[data-symbol=BTC] .unfold")
    page.click("tbody[data-symbol=BTC] .series a:text-is('1h')")
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
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 3, steps=3)
    page.wait_for_function("last => document.getElementById('bar').dataset.time !== last", arg=last)
    text = page.inner_text("#bar")
    for word in ("open", "high", "low", "close", "volume", "polygon", "passed", "volatility_20", "atr", "sma_50"):
        assert word in text
    assert "funding_rate" not in text, "a stock has none"
    page.click("#events tr:has-text('corrected') button")
    page.wait_for_selector("#bar h3:text('Revisions')")
    assert "source updated, polygon" in page.inner_text("#bar")
    page.focus("#chart")
    page.keyboard.press("End")
    assert page.get_attribute("#bar", "data-time") == last
    page.keyboard.press("ArrowLeft")
    assert page.get_attribute("#bar", "data-time") != last
    page.keyboard.press("Home")
    page.wait_for_selector("#bar-time:text('2024-11-01 UTC')")


def test_splits_gaps_and_corrections_are_marked_and_the_adjusted_chart_has_no_jump(open_page: OpenPage) -> None:
    page, _ = open_page("symbol.html#stock/AAPL/1d")
    events = " ".join(texts(page, "#events tbody tr"))
    assert "split 2:1" in events
    assert "close: " in events
    assert "2 bars missing" in events
    kinds = {name: int(count) for name, count in (text.split() for text in texts(page, "#event-kinds button"))}
    assert kinds["All"] == sum(kinds.values()) / 2 and kinds["Splits"] == 1
    page.click("#event-kinds button:has-text('Splits')")
    assert len(texts(page, "#events tbody tr")) == 1
    page.focus("#chart")
    page.keyboard.press("Home")
    page.wait_for_selector("#bar-time:text('2024-11-01 UTC')")
    traded = title_of(page)
    page.check("#adjusted")
    page.wait_for_function("before => document.querySelector('#titles b').textContent !== before", arg=traded)
    assert float(title_of(page).replace(",", "")) == pytest.approx(float(traded.replace(",", "")) / 2, rel=1e-3)


def title_of(page: Page) -> str:
    """The price in the title of the price's pane."""
    return page.inner_text("#titles b >> nth=0")


def test_features_are_chosen_by_name_and_titles_stand_clear_of_each_other(open_page: OpenPage) -> None:
    page, seen = open_page("symbol.html#crypto/BTC/1h")
    page.click("#features-menu summary")
    offered = set(texts(page, "#features-list label"))
    assert {"delta", "funding_rate", "open_interest", "long_short_ratio", "liquidation_intensity no value"} <= offered
    assert "market_structure" not in offered, "words are told of each bar, not drawn"
    page.fill("#features-filter", "atr")
    assert texts(page, "#features-list label") == ["atr"]
    page.check("#features-list input[value=atr]")
    page.fill("#features-filter", "")
    for name in ("open_interest", "long_short_ratio", "volume_spike_score"):
        page.check(f"#features-list input[value={name}]")
    page.wait_for_function("document.querySelectorAll('#titles p').length === 8")
    assert [text.split()[0] for text in texts(page, "#titles p")][:3] == ["BTC", "volatility_20", "atr"]
    boxes = [box for title in page.locator("#titles p").all() if (box := title.bounding_box())]
    assert all(upper["y"] + upper["height"] <= lower["y"] for upper, lower in zip(boxes, boxes[1:], strict=False))
    page.reload()
    page.wait_for_selector("body[data-ready='crypto/BTC/1h']")
    page.wait_for_function("document.querySelectorAll('#titles p').length === 8")
    assert seen.errors == []


def test_crypto_has_funding_open_interest_and_delta(open_page: OpenPage) -> None:
    page, _ = open_page("symbol.html#crypto/BTC/1h")
    text = page.inner_text("#bar")
    assert "funding_rate_percentile" in text
    assert re.search(r"liquidation_intensity\s+NULL", text), "never watched, never 0"


def test_the_price_is_large_and_coloured(open_page: OpenPage) -> None:
    page, _ = open_page("symbol.html#stock/AAPL/1d")
    assert re.match(r"[\d,.]+\s+[+−]\d+\.\d\d %", page.inner_text("#quote"))
    is_up = "+" in page.inner_text("#quote")
    assert page.get_attribute("#quote strong", "class") == ("up" if is_up else "down")
    assert page.evaluate("parseFloat(getComputedStyle(document.querySelector('#quote strong')).fontSize)") >= 24


@pytest.fixture(scope="module")
def in_small_pieces(built: Warehouse, charts: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same histories in pieces of a week and a quarter, as if they were long."""
    target = tmp_path_factory.mktemp("pieces")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("scripts.site.pieces.BARS_PER_PIECE", 100)
        site.build(target, url=built.database.dsn)
    return target


def loaded(page: Page) -> tuple[int, int]:
    """Bars that are loaded, and bars that there are."""
    there, of_all = (int(number.replace(",", "")) for number in re.findall(r"[\d,]+", page.inner_text("#loaded")))
    return there, of_all


def test_a_long_history_is_loaded_as_far_as_it_is_looked_at(in_small_pieces: Path, open_page: OpenPage) -> None:
    page, seen = open_page("symbol.html#crypto/BTC/1h", in_small_pieces.as_uri())
    first, everything = loaded(page)
    assert 400 <= first < everything
    box = page.locator("#plot").bounding_box()
    assert box
    # Dragged to the right, the chart shows what came before.
    for _ in range(20):
        page.mouse.move(box["x"] + 100, box["y"] + 200)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] - 150, box["y"] + 200, steps=4)
        page.mouse.up()
    page.wait_for_function("all => document.getElementById('loaded').textContent.startsWith(all)", arg=str(everything))
    # A bar of the first week, from an address.
    early = int(datetime(2025, 1, 28, 3, tzinfo=UTC).timestamp())
    page, more = open_page(f"symbol.html#crypto/BTC/1h@{early}", in_small_pieces.as_uri())
    assert page.inner_text("#bar-time") == "2025-01-28 03:00 UTC"
    page.focus("#chart")
    page.keyboard.press("End")
    page.wait_for_function(
        "last => document.getElementById('bar-time').textContent.startsWith(last)", arg="2025-03-06 14:00"
    )
    assert seen.errors == more.errors == []


def test_ranges_show_their_time_in_a_timeframe_that_can_be_read(in_small_pieces: Path, open_page: OpenPage) -> None:
    page, seen = open_page("symbol.html#crypto/BTC/1h", in_small_pieces.as_uri())
    _, everything = loaded(page)
    page.click("#ranges button[value=All]")
    page.wait_for_function("all => document.getElementById('loaded').textContent.startsWith(all)", arg=str(everything))
    assert page.get_attribute("#ranges button[value=All]", "aria-pressed") == "true"
    page.click("#ranges button[value='1D']")
    assert page.url.endswith("#crypto/BTC/1h"), "24 bars of this timeframe are enough"
    page.goto(page.url.partition("#")[0] + "#crypto/BTC/1d")
    page.wait_for_selector("body[data-ready='crypto/BTC/1d']")
    page.click("#ranges button[value='1D']")
    page.wait_for_selector("body[data-ready='crypto/BTC/1h']")
    assert page.get_attribute("#ranges button[value='1D']", "aria-pressed") == "true"
    page.check("#log")
    assert seen.errors == []


def test_two_symbols_are_compared_and_what_is_in_view_is_downloaded(open_page: OpenPage) -> None:
    page, seen = open_page("symbol.html#stock/AAPL/1d")
    page.select_option("#compare", "crypto/BTC")
    page.wait_for_selector("#titles p:has-text('BTC')")
    assert "change from the left edge" in page.inner_text("#titles p >> nth=0")
    assert page.is_disabled("#log")
    page.select_option("#compare", "")
    page.click("#ranges button[value=All]")
    with page.expect_download() as download:
        page.click("#download")
    assert download.value.suggested_filename == "AAPL_1d_2024-11-01_2025-03-06.csv"
    rows = list(csv.DictReader(Path(download.value.path()).read_text().splitlines()))
    bars, _ = loaded(page)
    assert len(rows) == bars
    assert rows[-1]["timestamp"] == "2025-03-06T05:00:00Z" and rows[0]["symbol"] == "AAPL"
    assert rows[0]["sma_50"] == "" and float(rows[-1]["sma_50"]) > 0, "NULL is nothing, never 0"
    assert seen.errors == []


def test_without_the_charting_library_the_page_says_so_and_keeps_its_figures(
    built: Warehouse, tmp_path: Path, open_page: OpenPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scripts.site.dashboard.CHARTS_SCRIPT", tmp_path / "absent.js")
    monkeypatch.setattr("shutil.which", lambda name: None)
    made = site.build(tmp_path, url=built.database.dsn)
    assert "without charts" in str(made)
    monkeypatch.undo()
    page, seen = open_page("symbol.html#stock/AAPL/1d", tmp_path.as_uri())
    assert "install Node.js with npm" in page.inner_text("#chart-message")
    assert "volatility_20" in page.inner_text("#bar")
    assert seen.errors == []


# ---------------------------------------------------------------- the dictionary, the docs


def test_dictionary_shows_each_feature_with_its_check(open_page: OpenPage, pages: Path) -> None:
    page, _ = open_page("features.html")
    assert page.locator(".feature").count() == len(FEATURES)
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
        if address.startswith("lineage"):
            assert "model=model.market_warehouse.market_data.v2" in page.url
            page.wait_for_selector("text=market_data_v2 >> nth=0")
        page.click("a:text-is('Market warehouse')")
        page.wait_for_selector(READY["index.html"])
