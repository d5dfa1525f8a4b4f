"""market add, remove, list: the registry without an editor, names asked of the simulated sources over real HTTP."""

from __future__ import annotations

import csv
import json
import os
import pty
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from extract.core.settings import ASSETS
from extract.symbols import registry, registry_checks, registry_file
from scripts.simulator import Simulator, running
from scripts.symbols import assets
from tests.conftest import ROOT
from tests.extract.conftest import forget
from tests.scripts.conftest import SESSIONS
from tests.scripts.test_reports import market
from tests.warehouse import Database, Warehouse

HEADER = ",".join(registry.columns())


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with running("demo", "2013-03-02T02:00:00Z") as simulator:
        yield simulator


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A directory with an empty registry and the calendars."""
    shutil.copytree(ROOT / "dbt_project" / "seeds", tmp_path / "dbt_project" / "seeds")
    (tmp_path / ASSETS).write_text(f"{HEADER}\n")
    return tmp_path


def rows(project: Path) -> list[dict[str, str]]:
    with (project / ASSETS).open(newline="") as file:
        return list(csv.DictReader(file))


def add(database: Database, project: Path, simulator: Simulator, *arguments: str, expect: int = 0, **more: str) -> str:
    """What `market add` prints, asking the simulator."""
    settings = {**simulator.environment(), **more}
    return market(database, project, "add", *arguments, expect=expect, **settings)


def test_add_remove_and_list(database: Database, project: Path, simulator: Simulator) -> None:
    told = add(database, project, simulator, "aapl", "BTC")
    assert "polygon          AAPL         Apple Inc., XNAS; history from 2000-03-01" in told
    assert "binance          BTCUSDT      BTC in USDT, spot; history from 2010-01-01" in told
    # All of it begins where the first source's history does.
    assert "market backfill --symbols 'AAPL BTC' --start 2000-03-01" in told
    assert rows(project) == [
        dict(zip(registry.columns(), line.split(","), strict=True))
        for line in (
            "AAPL,stock,1d,AAPL,,,AAPL,,XNYS,2000-03-01,,,true",
            "BTC,crypto,1h 1d,X:BTCUSD,BTCUSDT,BTCUSDT,BTC-USD,,24/7,,,binance polygon yahoo,true",
        )
    ]
    # Once more: nothing to change; another timeframe joins; what was removed comes back.
    assert "AAPL: nothing to change (1d)" in add(database, project, simulator, "AAPL")
    assert market(database, project, "remove", "AAPL").startswith("AAPL is asked for no more; its bars stay")
    assert rows(project)[0]["enabled"] == "false"
    add(database, project, simulator, "AAPL", "--timeframes", "1h", "--yes")
    assert (rows(project)[0]["enabled"], rows(project)[0]["timeframes"]) == ("true", "1h 1d")
    assert "out of the registry" in market(database, project, "remove", "aapl", "--delete")
    assert [row["symbol"] for row in rows(project)] == ["BTC"]
    assert "unknown symbol 'BTX'; did you mean BTC?" in market(database, project, "remove", "BTX", expect=78)


def test_since_bounds_what_is_expected(database: Database, project: Path, simulator: Simulator) -> None:
    told = add(database, project, simulator, "IBM", "--since", "2005-01-01")
    assert rows(project)[0]["active_from"] == "2005-01-01"
    assert "--symbols 'IBM' --start 2005-01-01" in told
    told = market(database, project, "add", "IBM", "--since", "then", expect=78)
    assert told.startswith("--since: 'then' is neither a date")
    assert "name a symbol" in market(database, project, "add", "", expect=78)


def test_an_unknown_symbol_is_answered_with_the_nearest_of_each_source(
    database: Database, project: Path, simulator: Simulator
) -> None:
    told = add(database, project, simulator, "MSFT", "BTX", "IBN", expect=3)
    assert "BTX: unknown to polygon, binance, yahoo; nearest there: binance: BTC" in told
    assert "IBN: unknown to polygon, binance, yahoo; nearest there: yahoo: IBM" in told
    assert [row["symbol"] for row in rows(project)] == ["MSFT"]
    add(database, project, simulator, "BTX", expect=78)


def test_a_source_that_cannot_be_asked_is_said_and_the_rest_is_written(
    database: Database, project: Path, simulator: Simulator
) -> None:
    silent = {"YAHOO_BASE_URL": "http://127.0.0.1:9", "POLYGON_API_KEY": ""}
    told = add(database, project, simulator, "ETH", expect=0, **silent)
    assert "not asked: POLYGON_API_KEY is not set" in told
    assert "not asked: yahoo does not answer" in told
    assert (rows(project)[0]["binance"], rows(project)[0]["yahoo"]) == ("ETHUSDT", "")
    # Later, when it answers, the same command fills in what is missing.
    add(database, project, simulator, "ETH")
    assert (rows(project)[0]["polygon"], rows(project)[0]["yahoo"]) == ("X:ETHUSD", "ETH-USD")

    nowhere = dict.fromkeys(
        ("BINANCE_SPOT_BASE_URL", "BINANCE_FUTURES_BASE_URL", "YAHOO_BASE_URL", "POLYGON_BASE_URL"),
        "http://127.0.0.1:9",
    )
    told = add(database, project, simulator, "SOL", expect=1, **nowhere)
    assert "SOL: no source could be asked" in told
    for source in ("polygon", "binance", "binance futures", "yahoo"):
        assert f"not asked: {source} does not answer: the connection is refused (is it down" in told
    # What the libraries say of it.
    assert not {"HTTPConnectionPool", "urllib3", "curl", "Errno"} & set(re.findall(r"\w+", told))
    assert len(rows(project)) == 1


@pytest.mark.parametrize(
    ("endpoint", "body"),
    [
        (
            "exchange_info",
            '{"symbols": [{"status": "TRADING", "baseAsset": "SOL", "quoteAsset": "USDT", "symbol": 7}]}',
        ),
        ("exchange_info", '{"symbols": [null]}'),
        ("bars", "[{}]"),
        ("bars", "[[]]"),
        ("bars", '[["x"]]'),
    ],
)
def test_an_odd_answer_is_its_source_s_trouble(
    database: Database, project: Path, simulator: Simulator, endpoint: str, body: str
) -> None:
    simulator.add_fault(kind="body", status=200, body=body, provider="binance-spot", endpoint=endpoint)
    try:
        add(database, project, simulator, "SOL")
    finally:
        simulator.clear_faults()
    assert (rows(project)[0]["yahoo"], rows(project)[0]["polygon"]) == ("SOL-USD", "X:SOLUSD")


def test_an_answer_that_nobody_foresaw_leaves_the_other_sources(
    database: Database, project: Path, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    from extract.commands import lookup
    from extract.providers.binance import lookup as spot_lookup

    def breaks(symbols: Sequence[str]) -> Any:
        raise KeyError("baseAsset")

    monkeypatch.setitem(spot_lookup.ASKS, "binance", breaks)
    for name, value in {**database.environment, **simulator.environment()}.items():
        monkeypatch.setenv(name, value)
    forget()
    found = lookup.find(["SOL"])
    assert found.unasked["binance"].startswith("binance answers what is not understood (KeyError")
    assert {one.column for one in found.listings["SOL"]} >= {"polygon", "yahoo"}


def test_a_geo_block_of_binance_is_answered_by_its_mirror(
    database: Database, project: Path, simulator: Simulator
) -> None:
    simulator.add_fault(kind="status", status=451, provider="binance-spot", endpoint="exchange_info")
    try:
        add(database, project, simulator, "SOL")
    finally:
        simulator.clear_faults()
    assert rows(project)[0]["binance"] == "SOLUSDT"


def test_a_name_that_is_two_assets_at_the_sources(database: Database, project: Path, simulator: Simulator) -> None:
    """A coin at Binance and Yahoo, and the ticker of a fund at Polygon."""
    fund = {
        "ticker": "BTC",
        "name": "Bitcoin Trust",
        "market": "stocks",
        "type": "ETF",
        "active": True,
        "list_date": "2012-07-31",
    }
    body = json.dumps({"status": "OK", "results": fund})
    simulator.add_fault(kind="body", status=200, body=body, provider="polygon", endpoint="tickers")
    try:
        told = add(database, project, simulator, "SOL", "BTC", expect=78)
        assert "say which, for example `market add etf:BTC`" in told
        assert "crypto:BTC  binance BTCUSDT (BTC in USDT, spot); binance_futures BTCUSDT" in told
        # Nothing of it is written, the clear name neither.
        assert rows(project) == []
        add(database, project, simulator, "SOL", "etf:BTC")
    finally:
        simulator.clear_faults()
    assert [(row["symbol"], row["asset_class"], row["polygon"], row["binance"]) for row in rows(project)] == [
        ("SOL", "crypto", "", "SOLUSDT"),
        ("BTC", "etf", "BTC", ""),
    ]
    # The coin of that name is no second row: a symbol is one asset.
    assert "BTC is in the registry already, as etf" in add(database, project, simulator, "crypto:BTC", expect=78)


def listing(column: str, name: str, asset_class: str) -> Any:
    from extract.providers.lookups import Listing

    return Listing(column, name, asset_class, f"{name} there", date(2020, 1, 1))


def test_what_is_several_assets_is_asked_or_an_error_that_lists_them(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """BTC is a coin, and the ticker of a fund."""
    from extract.commands import lookup
    from extract.core.settings import ConfigurationError
    from extract.providers.lookups import Found

    found = Found(
        {"BTC": [listing("binance", "BTCUSDT", "crypto"), listing("yahoo", "BTC-USD", "crypto"),
                 listing("yahoo", "BTC", "etf"), listing("polygon", "BTC", "stock")]}, {"BTC": {}},
    )  # fmt: skip
    monkeypatch.chdir(project)
    monkeypatch.setattr(lookup, "find", lambda symbols: found)
    with pytest.raises(ConfigurationError) as refusal:
        assets.plan(["BTC"], [], None)
    assert "market add etf:BTC" in str(refusal.value)
    assert "crypto:BTC  binance BTCUSDT (BTCUSDT there); yahoo BTC-USD" in str(refusal.value)
    (coin,) = assets.plan(["crypto:BTC"], ["1h"], None).rows
    assert (coin["asset_class"], coin["binance"], coin["yahoo"], coin["active_from"]) == (
        "crypto",
        "BTCUSDT",
        "BTC-USD",
        "",
    )
    (fund,) = assets.plan(["BTC"], [], None, choose=lambda options: options[0]).rows
    assert (fund["asset_class"], fund["polygon"], fund["active_from"]) == ("etf", "BTC", "2020-01-01")


def test_on_a_terminal_it_asks_before_it_writes(database: Database, project: Path, simulator: Simulator) -> None:
    environment = {**os.environ, **database.environment, **simulator.environment(), "PYTHONPATH": str(ROOT)}
    adds, deletes = (["add", "GOOG"], b"write this"), (["remove", "goog", "--delete"], b"take GOOG out of the registry")
    for (arguments, question), answer, code, expected in (
        (adds, "n", 1, []),
        (adds, "y", 0, ["GOOG"]),
        (deletes, "n", 1, ["GOOG"]),
        (deletes, "y", 0, []),
    ):
        leader, follower = pty.openpty()
        command = [sys.executable, "-m", "scripts.cli", *arguments]
        process = subprocess.Popen(command, cwd=project, env=environment, stdin=follower, stdout=subprocess.PIPE)
        os.write(leader, f"{answer}\n".encode())
        assert process.wait(120) == code
        os.close(leader)
        os.close(follower)
        assert process.stdout is not None
        assert question in process.stdout.read()
        assert [row["symbol"] for row in rows(project)] == expected


def test_list_shows_the_ranges(built: Warehouse, project: Path) -> None:
    (project / ASSETS).write_text(f"{HEADER}\nBTC,crypto,1h,,BTCUSDT,,,,24/7,,,,true\n")
    (told,) = json.loads(market(built.database, project, "list", "--json"))
    assert told["bars"]["1h"] == {
        "first_bar": "2025-03-03T00:00:00+00:00",
        "newest_bar": "2025-03-13T23:00:00+00:00",
        "bars": 262,
    }
    assert (told["binance"], told["timeframes"], told["enabled"]) == ("BTCUSDT", ["1h"], True)
    (line,) = csv.DictReader(market(built.database, project, "list").splitlines(), dialect="excel-tab")
    assert line["bars"] == "1h 2025-03-03..2025-03-13 (262)"


def test_each_name_of_a_renamed_symbol_has_its_own_range(built: Warehouse, project: Path) -> None:
    old, new = "AAPL,stock,1d,FB,,,,,XNYS,,2025-01-31,,true", "AAPL,stock,1d,AAPL,,,,,XNYS,2025-02-01,,,true"
    (project / ASSETS).write_text(f"{HEADER}\n{old}\n{new}\n")
    ranges = [row["bars"]["1d"] for row in json.loads(market(built.database, project, "list", "--json"))]
    assert [(one["first_bar"][:10], one["newest_bar"][:10]) for one in ranges] == [
        ("2025-01-02", "2025-01-31"),
        ("2025-02-03", "2025-03-13"),
    ]
    assert sum(one["bars"] for one in ranges) == len(SESSIONS)


def test_list_needs_no_warehouse(database: Database, project: Path) -> None:
    (project / ASSETS).write_text(f"{HEADER}\nA,stock,1d,A,,,A,,XNYS,,,,true\n")
    told = market(database, project, "list")
    assert "A\tstock\t1d" in told
    assert "bars: the warehouse is not built yet" in told


# ------------------------------------------------------------ the file


def test_a_clone_makes_its_registry_at_first_use_and_git_does_not_see_it(tmp_path: Path) -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "dbt_project"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert str(registry_file.EXAMPLE) in tracked
    assert str(ASSETS) not in tracked.splitlines()
    ignored = subprocess.run(
        ["git", "check-ignore", "--no-index", str(ASSETS)], cwd=ROOT, capture_output=True, text=True
    )
    assert ignored.stdout.strip() == str(ASSETS)

    (tmp_path / ASSETS).parent.mkdir(parents=True)
    shutil.copy(ROOT / registry_file.EXAMPLE, tmp_path / registry_file.EXAMPLE)
    assert registry_file.ensure(tmp_path).read_bytes() == (ROOT / registry_file.EXAMPLE).read_bytes()
    (tmp_path / ASSETS).write_text("mine")
    assert registry_file.ensure(tmp_path).read_text() == "mine"


def test_a_change_is_whole_or_not_at_all(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from extract.core.settings import ConfigurationError

    monkeypatch.chdir(project)
    good = dict(
        zip(registry.columns(), ["A", "stock", "1d", "A", "", "", "A", "", "XNYS", "", "", "", "true"], strict=True)
    )
    assets.write([good])
    before = (project / ASSETS).read_bytes()
    with pytest.raises(ConfigurationError, match=r"nothing is written; assets.csv would be"):
        assets.write([good | {"symbol": "B", "timeframes": "7m"}])
    assert (project / ASSETS).read_bytes() == before
    monkeypatch.setattr(os, "fsync", lambda file: (_ for _ in ()).throw(OSError("no room")))
    with pytest.raises(OSError, match="no room"):
        assets.write([good | {"symbol": "B"}])
    assert (project / ASSETS).read_bytes() == before
    assert [path.name for path in (project / ASSETS).parent.glob(".assets*")] == []


@pytest.mark.parametrize(
    ("line", "check", "words"),
    [
        ("A,stock,1d,A,,,A,,XLON,,,,true", "calendars", "calendar 'XLON' of the registry is not in"),
        ("A,stock,1d,A,,,A,,24/7,,,,true", "calendars", "A: 24/7 is no calendar of a stock"),
        ("BTC,crypto,1d,,BTCUSDT,,,,XNYS,,,,true", "calendars", "BTC: XNYS is no calendar of a crypto"),
        ("A,stock,1d,A,,,a,,XNYS,,,,true", "cases", "A: yahoo a is written A"),
        ("BTC,crypto,1d,x:BTCUSD,,,,,24/7,,,,true", "cases", "polygon x:BTCUSD begins with a capital"),
        ("A,stock,1d,,,,,,XNYS,,,,true", "lists", "A: no source has a name for it"),
        ("A,stock,1d,A,,,A,,XNYS,,,polygon,true", "lists", "A: source_priority leaves out yahoo"),
        ("A,stock,1d,A,,,,,XNYS,,,yahoo,true", "lists", "names only sources that do not have it"),
    ],
)
def test_doctor_looks_at_calendars_cases_and_lists(
    project: Path, monkeypatch: pytest.MonkeyPatch, line: str, check: str, words: str
) -> None:
    monkeypatch.chdir(project)

    def found(text: str) -> list[str]:
        (project / ASSETS).write_text(f"{HEADER}\n{text}\n")
        there = registry.load()
        today = date(2026, 1, 1)
        return {
            "calendars": registry_checks.calendars_of(there, today),
            "cases": registry_checks.cases(there),
            "lists": registry_checks.lists(there),
        }[check]

    assert any(words in problem for problem in found(line))
    assert found("A,stock,1d,A,,,A,,XNYS,,,,true") == []


def test_doctor_says_when_holidays_end(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    (project / ASSETS).write_text(f"{HEADER}\nA,stock,1d,A,,,A,,XNYS,,,,true\n")
    assert registry_checks.calendars_of(registry.load(), date(2028, 1, 3)) == [
        "XNYS: no holiday is known after 2027-12-24"
    ]
    (project / ASSETS).write_text(f"{HEADER}\nA,stock,1d,A,,,A,,XNYS,,,,true\na,stock,1d,A,,,A,,XNYS,,,,true\n")
    assert registry_checks.cases(registry.load()) == ["A and a are two symbols"]
