"""Least privilege, hostile names and secrets on the extract side."""

from __future__ import annotations

import base64
import html
import json
import re
import subprocess
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote, quote_plus

import psycopg
import pytest
from psycopg.errors import InsufficientPrivilege

from extract.core.redaction import redact
from extract.load.responses import Answer, Parsed, Task, make_row
from extract.symbols import registry
from extract.transport.bodies import Received
from extract.transport.http import Source
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
            # What looks like a key is taken out of the message, too.
            assert redact(f"{cell} {name!r} is no name") in said
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


KEY = "Zq7/kP+w9 xB=3&vN%t5Lr2#"


@pytest.fixture
def with_key(market: Market) -> Market:
    market.set(POLYGON_API_KEY=KEY)
    return market


@pytest.mark.parametrize(
    "echo",
    [
        KEY,
        quote(KEY, safe=""),
        re.sub("%..", lambda code: code[0].lower(), quote(KEY, safe="")),
        quote_plus(KEY),
        json.dumps(KEY),
        html.escape(KEY),
        KEY[:12] + "...",
        quote(KEY, safe="")[:12] + "...",
        "..." + quote(KEY, safe="")[-12:],
        KEY.upper()[:12] + "...",
        base64.b64encode(KEY.encode()).decode()[:16],
        "..." + KEY[9:],
        "x" * 280 + KEY,
    ],
)
def test_a_key_that_a_source_sends_back_is_taken_out(with_key: Market, echo: str) -> None:
    """Whole, encoded, in part, and where the text is cut amid it."""
    task = Task("polygon", "bars", datetime(2013, 1, 1, tzinfo=UTC), datetime(2013, 2, 1, tzinfo=UTC), "AAPL")
    said = f"unknown key {echo}"
    moment = task.start
    refused = Source("polygon").ask(lambda: Received(403, said.encode(), {}))
    quarantined = Answer(moment, moment, "CLOSED", (b"x" * 99_980 + said.encode()), 200)
    for answer in (refused, quarantined):
        row = make_row("run", task, answer, None, None, answer.error or said).values
        assert "***" in row["error"]
        for text in (row["error"], row["bad_payload"] or ""):
            assert not any(piece in text for form in (KEY, quote(KEY, safe="")) for piece in pieces(form))


def pieces(key: str) -> list[str]:
    return [key[i : i + 8] for i in range(len(key) - 8)]


def test_a_key_in_a_good_answer_is_not_stored(with_key: Market) -> None:
    moment = datetime(2013, 1, 1, tzinfo=UTC)
    body = f'{{"next_url":"https://x/?apiKey={quote(KEY, safe="")}","echo":"{KEY}"}}'.encode()
    answer = Answer(moment, moment, "CLOSED", body, 200)
    row = make_row("run", Task("polygon", "bars", moment, moment), answer, Parsed(1, "sha"), None, None).values
    assert row["payload"] == '{"next_url":"https://x/?apiKey=***","echo":"***"}'


def test_words_are_no_pieces_of_keys(with_key: Market) -> None:
    with_key.set(PGPASSWORD="password1", POLYGON_API_KEY="short")
    assert redact("the password is 8 characters long") == "the password is 8 characters long"


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
