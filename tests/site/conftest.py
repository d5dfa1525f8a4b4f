"""One small warehouse with something of everything, one browser: a build costs seconds, and so does a start of Chromium.

AAPL 1d: a split, two missing sessions, an amended close, a bar whose low is above its high. BTC 1h: funding, open
interest, long/short shares, an hour missing, a source that failed. All synthetic.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from scripts import site
from scripts.postgres import Server
from tests import payloads
from tests.conftest import ROOT
from tests.dbt.test_bars import run_of, stock_bars
from tests.oracle.bars import Bar
from tests.warehouse import Answer, Database, MakeProject, Warehouse, bar_answer, crypto, stock

if TYPE_CHECKING:
    from playwright.sync_api import Browser

SCREENSHOTS = ROOT / "target" / "screenshots"
# A Thursday, 19:00 in New York.
NOW = datetime(2025, 3, 7, tzinfo=UTC)
EX_DATE = date(2025, 2, 3)
FIRST_HOUR = datetime(2025, 1, 27, tzinfo=UTC)
HOURS = 39 * 24


def in_old_shares(bars: list[Bar]) -> list[Bar]:
    """Bars before the split cost twice as much."""
    cut = datetime(EX_DATE.year, EX_DATE.month, EX_DATE.day, tzinfo=UTC)
    return [
        replace(bar, open=2 * bar.open, high=2 * bar.high, low=2 * bar.low, close=2 * bar.close)
        if bar.timestamp < cut
        else bar
        for bar in bars
    ]


@pytest.fixture(scope="session")
def built(postgres: Server, projects: MakeProject) -> Iterator[Warehouse]:
    warehouse = Warehouse(Database(postgres, "site"), projects("site", described=True))
    warehouse.reset()
    warehouse.now = NOW
    warehouse.assets([stock("AAPL", "1d"), crypto("BTC", "1h"), stock("NEW", "1d")])
    days = in_old_shares(stock_bars("1d", date(2024, 11, 1), date(2025, 3, 6)))
    hours = run_of(FIRST_HOUR, HOURS, "1h")
    window = (days[0].timestamp, days[-1].timestamp + timedelta(days=1))
    days[10] = replace(days[10], low=days[10].high + 1)
    missing = {70, 71}
    first = [replace(bar, close=bar.open) if n == 60 else bar for n, bar in enumerate(days) if n not in missing]
    earlier = NOW - timedelta(hours=9)
    asked = (hours[0].timestamp, hours[-1].timestamp + timedelta(hours=1))
    warehouse.load(
        "polygon",
        bar_answer("polygon", "AAPL", "1d", first, window=window, fetched_at=earlier),
        Answer("splits", "AAPL", payloads.polygon_splits({EX_DATE: (2, 1)}), fetched_at=earlier),
    )
    settlements = [(FIRST_HOUR + timedelta(hours=8 * n), Decimal(n % 7) / 10_000, 8) for n in range(-120, HOURS // 8)]
    samples = [FIRST_HOUR + timedelta(hours=n) for n in range(HOURS)]
    warehouse.load(
        "binance",
        bar_answer("binance", "BTC", "1h", [*hours[:100], *hours[101:]], window=asked, fetched_at=earlier),
        Answer("funding", "BTC", payloads.funding_archive(settlements), origin="archive", fetched_at=earlier),
        Answer("open_interest", "BTC", payloads.open_interest([(at, Decimal(500 + at.hour)) for at in samples]), "1h"),
        Answer(
            "long_short_ratio",
            "BTC",
            payloads.long_short_ratio([(at, Decimal("0.6"), Decimal("0.4")) for at in samples]),
            "1h",
        ),
    )
    warehouse.build()
    whole = [bar for n, bar in enumerate(days) if n not in missing]
    warehouse.load("polygon", bar_answer("polygon", "AAPL", "1d", whole, window=window))
    warehouse.load(
        "yahoo",
        Answer(
            "bars", "NEW", None, "1d", window, status="failed",
            values={"error": "HTTP 503: <b>down</b>", "http_status": 503, "breaker_state": "OPEN"},
        ),
    )  # fmt: skip
    warehouse.build(without_staging=True)
    warehouse.execute(
        """
        insert into ops.pipeline_runs (run_id, started_by, started_at, ended_at, status, exit_code, failed_step, error)
        values ('a', 'schedule', '2025-03-05 01:30Z', '2025-03-05 01:31Z', 'succeeded', 0, null, null),
               ('b', 'schedule', '2025-03-06 01:30Z', '2025-03-06 01:32Z', 'failed', 1, 'build', '1 test failed');
        insert into ops.pipeline_steps (run_id, step, started_at, ended_at, status, exit_code, detail)
        values ('a', 'extract', '2025-03-05 01:30Z', '2025-03-05 01:30:20Z', 'succeeded', 0, 'all 3 done'),
               ('b', 'extract', '2025-03-06 01:30Z', '2025-03-06 01:30:40Z', 'succeeded', 0, 'all 3 done'),
               ('b', 'build', '2025-03-06 01:30:40Z', '2025-03-06 01:32Z', 'failed', 1, '1 test failed');
        -- What the build itself found out about these data; the page is to show the two below.
        delete from ops.alerts;
        insert into ops.alerts
            (rule, severity, subject, value, threshold, message, runbook, first_seen_at, fired_at, resolved_at)
        values
            ('run_failed', 'critical', 'pipeline', 1, 0, 'build: <script>alert(1)</script>',
             'docs/operate/runbook.md#run_failed', '2025-03-06 01:32Z', '2025-03-06 01:32Z', null),
            ('data_late', 'warning', 'crypto BTC 1h', 900, 300, 'no new bar',
             'https://wiki.example.com/late', '2025-03-04 01:32Z', '2025-03-04 01:32Z', '2025-03-04 03:32Z');
        """
    )
    yield warehouse
    warehouse.database.drop()


@pytest.fixture(scope="session")
def charts() -> None:
    """The charting library, as `make site` fetches it."""
    made = subprocess.run(["make", "charts"], cwd=ROOT, capture_output=True, text=True)
    if not site.CHARTS_SCRIPT.exists():
        pytest.skip(f"needs the charting library, which npm fetches: {made.stderr.strip()[-300:]}")


@pytest.fixture(scope="session")
def pages(built: Warehouse, charts: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole site of that warehouse."""
    target = tmp_path_factory.mktemp("site")
    variables = {**built.database.environment, "WAREHOUSE_NOW": NOW.isoformat()}
    site.build_documents(target, url=built.database.dsn, project=built.project.directory, variables=variables)
    site.build(target, url=built.database.dsn)
    return target


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium; installed here where this is root's machine and it is missing. Ends with its file: while
    Playwright runs, its event loop holds the thread, and no later test could start one of its own."""
    from playwright.sync_api import sync_playwright

    if not shutil.which("chromium") and os.geteuid() == 0 and shutil.which("apt-get"):
        subprocess.run(["apt-get", "update", "-qq"], check=False, capture_output=True)
        subprocess.run(
            ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium", "fonts-dejavu-core"],
            check=False,
            capture_output=True,
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        )
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        # Chromium's sandbox does not work for root.
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox"] if os.geteuid() == 0 else []
        )
        yield browser
        browser.close()


@pytest.fixture
def connection(built: Warehouse) -> Iterator[psycopg.Connection]:
    with psycopg.connect(built.database.dsn) as connection:
        yield connection
