"""Secrets stay where they belong: not in what the server says, logs, or shows in lists of processes and statements."""

from __future__ import annotations

from pathlib import Path

import pytest
import requests

from tests.extract.test_security import command_lines
from tests.scripts.conftest import HOSTILE, PASSWORD, TOKEN, Served
from tests.scripts.test_api import AUTHORISED, DATA, METRICS, QUALITY, STATUS, TRIGGER
from tests.scripts.test_reports import market
from tests.warehouse import Warehouse

ALERT_URL = "json://user:canary-alert@127.0.0.1:9/canary-path"


def test_the_server_keeps_its_secrets(served: Served, built: Warehouse) -> None:
    """Token and password, through good and bad questions."""
    said = []
    for path in ("/healthz", "/metrics", "/docs", "/openapi.json", METRICS, f"{STATUS}/{TOKEN}x", f"{QUALITY}/BTC"):
        said.append(served.get(path).text.replace(f"{TOKEN}x", ""))
    said.append(served.get(f"{DATA}/BTC", timeframe="1h", columns=PASSWORD[:-1]).text)
    for headers in ({}, {"Authorization": f"Bearer {TOKEN}-not"}, AUTHORISED):
        said.append(requests.post(served.url + TRIGGER, headers=headers, timeout=30).text)
    activity = built.query("select application_name, query from pg_stat_activity where usename = 'test_reader'")
    assert activity
    listed = "\n".join(command_lines())
    assert "scripts.cli serve" in listed
    for name, text in {
        "answers": "\n".join(said), "log": served.log.read_text(), "process list": listed, "statements": str(activity),
    }.items():  # fmt: skip
        for secret in (TOKEN, PASSWORD, built.database.server.password):
            assert secret not in text, name


def test_alerts_keep_the_addresses_to_themselves(built: Warehouse, tmp_path: Path) -> None:
    said = market(built.database, tmp_path, "alerts", "--send", "--json", expect=-1, ALERT_URLS=ALERT_URL)
    assert "canary" not in said.replace(HOSTILE, "")
    rows = str(built.query("select * from ops.alerts"))
    assert "canary" not in rows


@pytest.mark.parametrize("command", ["status", "sources", "metrics", "roles", "alerts"])
def test_a_wrong_password_is_not_repeated(built: Warehouse, tmp_path: Path, command: str) -> None:
    said = market(built.database, tmp_path, command, expect=-1, PGUSER="test_reader", PGPASSWORD="canary-wrong")
    assert "canary" not in said
    assert "password authentication failed" in said or "fe_sendauth" in said
