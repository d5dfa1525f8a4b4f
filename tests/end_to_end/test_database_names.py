"""PGDATABASE names the database everywhere, the embedded server's too, whatever a legal name looks like."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner

from extract.core import database, places, settings
from extract.core import embedded_server as embedded
from extract.core.settings import ConfigurationError
from scripts import environment, reading
from scripts.cli import app
from scripts.postgres import Server
from scripts.postgres import __main__ as command
from scripts.simulator import running
from tests.extract.conftest import CLOCK, Market, forget
from tests.warehouse import Database, MakeProject, Warehouse, crypto

# A blank, an umlaut, what a URL gives a meaning to, a placeholder of drivers, and what escapes in other languages.
ODD = "1 my märkte-B/c?#&@:%s %%20a\\n$$;{{ x }}"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, postgres: Server) -> Iterator[Path]:
    """A checkout whose embedded server is the suite's; nothing names a server."""
    monkeypatch.setattr(places, "ROOT", tmp_path)
    monkeypatch.setattr(embedded, "HOME", postgres.home)
    monkeypatch.setattr(embedded.ensure_running, "__defaults__", (postgres.home, embedded.DATABASE))
    monkeypatch.chdir(tmp_path)
    for name in ("PGHOST", "PGPORT", "PGUSER", "PGPASSWORD", "PGPASSFILE", "PGDATABASE"):
        monkeypatch.setenv(name, "")
    forget()
    yield tmp_path
    forget()
    for name in ("crypto2", "crypto3", "crypto4"):
        Database(postgres, name).drop()


def names(postgres: Server) -> set[str]:
    with psycopg.connect(postgres.dsn("postgres")) as connection:
        return {name for (name,) in connection.execute("select datname from pg_database")}


def test_the_embedded_server_has_the_database_that_is_asked_for(
    home: Path, postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGDATABASE", "crypto2")
    settings.load.cache_clear()
    assert database.url() == reading.dsn()
    assert database.url().partition("?")[0] == postgres.dsn("crypto2")
    assert "crypto2" in names(postgres)
    # The settings file names it for dbt, too; the environment outranks it.
    (home / ".env").write_text("PGDATABASE=crypto3\n")
    monkeypatch.setenv("PGDATABASE", "")
    environment.configure_environment()
    assert os.environ["PGDATABASE"] == "crypto3" and os.environ["PGHOST"] == "127.0.0.1"
    assert "crypto3" in names(postgres)


def test_psql_opens_the_database_that_is_asked_for(
    home: Path, postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[dict[str, str]] = []
    monkeypatch.setattr(os, "execvpe", lambda program, arguments, variables: started.append(variables))
    monkeypatch.setenv("PGDATABASE", "crypto4")
    command.main(["psql"])
    assert started[0]["PGDATABASE"] == "crypto4" and "crypto4" in names(postgres)
    monkeypatch.setenv("PGDATABASE", "")
    command.main(["psql"])
    assert started[1]["PGDATABASE"] == "market"


@pytest.mark.parametrize("name", ["o'hara", 'the "new" one', "ä" * 32])
def test_a_name_that_dbt_would_break_on_or_postgres_would_cut_is_a_bad_setting(
    home: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("PGDATABASE", name)
    settings.load.cache_clear()
    with pytest.raises(ConfigurationError, match=r"PGDATABASE: .*(choose another name|longer than)"):
        settings.load()
    assert CliRunner().invoke(app, ["status"]).exit_code == 78


def test_extract_build_and_reports_work_under_an_odd_name(
    postgres: Server, projects: MakeProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    warehouse = Warehouse(Database(postgres, ODD), projects("warehouse"), environment={"WAREHOUSE_NOW": CLOCK})
    warehouse.reset()
    warehouse.assets([crypto("BTC", "1h")])
    with running("demo", CLOCK) as simulator, monkeypatch.context() as patch:
        patch.chdir(warehouse.project.directory)
        for name, value in {**warehouse.database.environment, **simulator.environment()}.items():
            patch.setenv(name, value)
        forget()
        market = Market(warehouse.project.directory, warehouse.database, simulator, patch)
        market.run("extract", "--source", "binance", "--start", "2013-02-20", "--end", "2013-02-28")
        warehouse.now = settings.load().warehouse_now or warehouse.now
        warehouse.build("+enrichment_status +data_corrections +quality_conditions")
        answered: Any = market.run("status", "--json")
        forget()
    assert '"BTC"' in answered
    (row,) = warehouse.query("select count(*) as n from marts.market_data_as_of(now()) where timeframe = '1h'")
    assert row["n"] == 216
    warehouse.database.drop()
