"""Least privilege, hostile names and secrets on the extract side."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest
from psycopg.errors import InsufficientPrivilege

from extract import registry
from scripts.postgres import Server
from tests.extract.conftest import AAPL, BTC, Market, environment, forget

CANARY = "canary-8d41"
HOSTILE = [
    "x'; drop table raw_binance.responses; --",
    'x"y',
    "../../etc/passwd",
    "a/b",
    "a\\b",
    "a b",
    "x\x1b[2J",
    "x\u202ey",
    "<script>",
    "{{ 1 }}",
    "$(id)",
    "%s",
    "?apiKey=1",
    "-rf",
]


def test_extract_runs_with_the_rights_of_its_role(market: Market, postgres: Server) -> None:
    market.assets(BTC, AAPL)
    market.run("roles")
    market.execute(
        f"create role test_loader login password '{CANARY}' in role market_extract;"
        "alter role test_loader set role = market_extract"
    )
    try:
        market.set(PGUSER="test_loader", PGPASSWORD=CANARY)
        forget()
        market.run("extract")
        assert market.rows("binance") and market.rows("polygon")
        assert "privileges" in market.run("doctor", "--quick", expect=0)
        with psycopg.connect(market.database.dsn) as connection:
            connection.execute("set session authorization test_loader")
            with pytest.raises(InsufficientPrivilege):
                connection.execute("create table marts.made (a int)")
    finally:
        forget()
        market.database.drop()
        with psycopg.connect(postgres.dsn("postgres"), autocommit=True) as connection:
            connection.execute("drop role test_loader")


def test_a_hostile_name_in_the_registry_is_refused(market: Market) -> None:
    for cell in ("symbol", "polygon", "yahoo"):
        for name in [*HOSTILE, "a" * (21 if cell == "symbol" else 51)]:
            market.assets({**AAPL, cell: name})
            said = market.run("extract", expect=78)
            assert f"{cell} {name!r} is no name" in said
            assert all(character.isprintable() or character == "\n" for character in said)
    assert not market.asked()


def test_a_name_that_a_source_has_is_taken(market: Market) -> None:
    for name in ("BRK.B", "^GSPC", "EURUSD=X", "X:BTCUSD", "BTCUSDT_260925", "1000SHIB", "币安人生USDT"):
        market.assets({**AAPL, "symbol": name})
        assert registry.load()[0].symbol == name


def test_no_secret_in_output_tables_files_or_process_list(market: Market) -> None:
    secrets = {
        name: f"{CANARY}-{name.lower()}"
        for name in ("POLYGON_API_KEY", "BINANCE_API_KEY", "BINANCE_API_SECRET", "API_TOKEN")
    }
    secrets["ALERT_URLS"] = f"json://user:{CANARY}-alerts@127.0.0.1:9/{CANARY}-path"
    market.assets(BTC, AAPL)
    # What a source is sent it may send back.
    market.simulator.add_fault(
        kind="body", status=403, provider="polygon", body=f"no right for {secrets['POLYGON_API_KEY']}"
    )
    market.simulator.add_fault(
        kind="body", status=400, provider="binance", body=f"bad key {secrets['BINANCE_API_KEY']}"
    )
    password = market.database.server.password
    process = subprocess.Popen(
        [sys.executable, "-m", "scripts.cli", "extract"],
        env={**environment(), **secrets},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    listed = set()
    while process.poll() is None:
        listed |= command_lines()
    assert process.stdout is not None
    output = process.stdout.read().decode()
    rows = "\n".join(str(row) for table in tables(market) for row in market.query(f"select * from {table}"))
    files = "\n".join(path.read_bytes().decode(errors="replace") for path in Path.cwd().rglob("*") if path.is_file())
    assert "no right for ***" in rows
    assert any("scripts.cli" in line for line in listed)
    for name, text in {"output": output, "tables": rows, "files": files, "process list": "\n".join(listed)}.items():
        assert CANARY not in text, name
        assert password not in text, name


def tables(market: Market) -> list[str]:
    return [
        row["name"]
        for row in market.query(
            "select format('%I.%I', table_schema, table_name) as name from information_schema.tables"
            " where table_schema like 'raw_%' or table_schema = 'ops'"
        )
    ]


def command_lines() -> set[str]:
    """Of all processes, as everybody may read them."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        # It may have ended meanwhile.
        with suppress(OSError):
            found.add((process / "cmdline").read_text(errors="replace").replace("\0", " "))
    return found
