"""Views and tables in place keep readers going through a build: none finds a relation gone, none is made to wait.

Data flow: for each change a table, a view on it and a view on that -> built, changed, built once more.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import psycopg
import pytest

from scripts.postgres import Server
from tests import dbt_process
from tests.conftest import ROOT
from tests.warehouse import Database

pytestmark = pytest.mark.builds

MODELS = {
    "series": (
        "{{ config(materialized='table_in_place', indexes=[{'columns': ['series_id'], 'unique': true}]) }}"
        " select 1 as series_id, cast('BTC' as varchar(8)) as symbol"
    ),
    "status": "{{ config(materialized='view') }} select series_id, symbol from {{ ref('series') }}",
    "conditions": "{{ config(materialized='view') }} select symbol, 'fine' as word from {{ ref('status') }}",
}
# Name -> (model, old text, new text, what is made anew by it).
CHANGES: dict[str, tuple[str, str, str, set[str]]] = {
    "rows": ("series", "BTC", "ETH", set()),
    "definition": ("conditions", "fine", "late", set()),
    "columns_of_a_mart": ("conditions", "symbol,", "1 as more, symbol,", {"conditions"}),
    "columns_of_a_view": ("status", "symbol from", "symbol, 2 as more from", {"status"}),
    "columns_of_a_table": ("series", "select 1", "select 1 as more, 1", {"series"}),
    "a_length": ("series", "varchar(8)", "varchar(9)", {"series", "status", "conditions"}),
    "its_kind": ("series", "table_in_place", "table", {"series", "status", "conditions"}),
}


class Built:
    """The dbt project, and the database that it is built in."""

    def __init__(self, directory: Path, database: Database) -> None:
        self.directory, self.database = directory, database
        (directory / "macros").mkdir()
        macros = ROOT / "dbt_project" / "macros"
        shutil.copy(macros / "dbt_overrides" / "materializations.sql", directory / "macros")
        text = (macros / "incremental" / "upgrade.sql").read_text()
        set_aside = text[text.index("{% macro set_aside") :].partition("{% endmacro %}")
        (directory / "macros" / "upgrade.sql").write_text("".join(set_aside[:2]))
        shutil.copy(ROOT / "profiles.yml", directory)
        (directory / "dbt_project.yml").write_text(json.dumps({"name": "in_place", "profile": "market_warehouse"}))
        (directory / "models").mkdir()
        for case in CHANGES:
            for model, text in MODELS.items():
                self.write(case, model, text)

    def write(self, case: str, model: str, text: str) -> None:
        text = text.replace("ref('", f"ref('{case}_")
        (self.directory / "models" / f"{case}_{model}.sql").write_text(text)

    def build(self, *options: str) -> None:
        outcome = dbt_process.invoke(self.directory, "build", options, self.database.environment)
        assert outcome.success, outcome.problem or [node.message for node in outcome.nodes if node.status == "error"]

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.database.dsn) as connection:
            return connection.execute(statement.encode()).fetchall()

    def numbers(self) -> dict[str, int]:
        """The number of each relation in Postgres's catalogs: one that is made anew gets another."""
        return dict(self.query("select relname, oid from pg_class where relnamespace = 'marts'::regnamespace"))

    def relations(self) -> set[str]:
        """All that are there but indexes."""
        return {
            name
            for (name,) in self.query("select table_name from information_schema.tables where table_schema = 'marts'")
        }


@pytest.fixture(scope="module")
def built(postgres: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Built]:
    database = Database(postgres, "materializations")
    database.create()
    yield Built(tmp_path_factory.mktemp("in_place"), database)
    database.drop()


def test_a_change_makes_anew_only_what_gets_other_columns(built: Built) -> None:
    built.build()
    before, there = built.numbers(), built.relations()
    for case, (model, old, new, _) in CHANGES.items():
        assert old in MODELS[model]
        built.write(case, model, MODELS[model].replace(old, new))
    built.build()
    after = built.numbers()
    for case, (_, _, _, anew) in CHANGES.items():
        assert {model for model in MODELS if before[f"{case}_{model}"] != after[f"{case}_{model}"]} == anew, case
        expected = {"rows": ("ETH", "fine"), "definition": ("BTC", "late")}.get(case, ("BTC", "fine"))
        assert built.query(f"select symbol, word from marts.{case}_conditions") == [expected], case
        indexes = built.query(f"select indexdef from pg_indexes where tablename = '{case}_series'")
        assert len(indexes) == 1 and "UNIQUE" in indexes[0][0], case
    assert built.relations() == there, "a build leaves nothing else behind"


def test_a_build_waits_for_no_reader_and_hides_nothing_from_it(built: Built) -> None:
    before = built.numbers()
    read = b"select * from marts.rows_conditions"
    with psycopg.connect(built.database.dsn) as reader:
        reader.execute("set transaction isolation level repeatable read")
        seen = reader.execute(read).fetchall()
        # It holds its locks until its end: a build that had to wait for it would not come to one.
        built.write("rows", "series", MODELS["series"].replace("BTC", "SOL"))
        built.build("--select", "+rows_conditions")
        assert reader.execute(read).fetchall() == seen
    assert built.query(read.decode()) == [("SOL", "fine")] and built.numbers() == before


def test_a_full_refresh_writes_the_table_in_place(built: Built) -> None:
    before, there = built.numbers(), built.relations()
    built.write("rows", "series", MODELS["series"].replace("BTC", "ADA"))
    built.build("--select", "+rows_conditions", "--full-refresh")
    assert built.numbers() == before and built.relations() == there
    assert built.query("select symbol, word from marts.rows_conditions") == [("ADA", "fine")]


def test_readers_of_what_changes_its_columns_read_it_until_they_are_built(built: Built) -> None:
    built.write("definition", "status", MODELS["status"].replace("symbol from", "symbol, 2 as more from"))
    built.write("definition", "series", MODELS["series"].replace("select 1", "select 7 as more, 1"))
    built.build("--select", "definition_series", "definition_status")
    assert built.query("select symbol, word from marts.definition_conditions") == [("BTC", "late")]
    assert built.query("select count(*) from information_schema.tables where table_schema = 'former_version'")[0][0] > 0
    assert built.query("select more from marts.definition_series") == [(7,)]


def test_two_that_give_way_at_once_make_one_place_for_what_they_were(built: Built) -> None:
    built.write("columns_of_a_mart", "conditions", MODELS["conditions"].replace("symbol,", "2 as less, symbol,"))
    with psycopg.connect(built.database.dsn) as connection:
        connection.execute("drop schema former_version cascade")
    outcomes: list[Exception | None] = []

    def build() -> None:
        try:
            built.build("--select", "columns_of_a_mart_conditions")
        except Exception as error:
            outcomes.append(error)
        else:
            outcomes.append(None)

    with psycopg.connect(built.database.dsn) as another:
        another.execute("create schema former_version")
        building = Thread(target=build)
        building.start()
        waiting = "select from pg_stat_activity where wait_event_type = 'Lock' and query like '%former_version%'"
        deadline = time.monotonic() + 60
        while not built.query(waiting) and building.is_alive() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert building.is_alive()
    building.join()
    assert outcomes == [None]
    assert built.query("select less, symbol from marts.columns_of_a_mart_conditions") == [(2, "BTC")]
