"""The child that builds for the tests sees every change of the project, fails as dbt does, and leaves no session's state."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import psycopg
import pytest

from scripts.postgres import Server
from tests import dbt_process
from tests.conftest import ROOT
from tests.warehouse import Database, Project, crypto

pytestmark = pytest.mark.builds

# One thread, so one session: the second model would see the first one's setting and temporary table.
LEAVES = (
    "{{ config(materialized='table', pre_hook=[\"set application_name = 'left'\", 'create temp table scratch (a int)',"
    " 'select pg_advisory_lock(4711)']) }} select cast({number} as integer) as number"
)
SEES = (
    "select current_setting('application_name') as name, to_regclass('pg_temp.scratch') as scratch, number,"
    " (select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()) as locks"
    " from {{ ref('leaves') }}"
)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    shutil.copy(ROOT / "profiles.yml", tmp_path)
    options = {"error": ["Deprecations"]}
    project = {"name": "small", "profile": "market_warehouse", "flags": {"warn_error_options": options}}
    (tmp_path / "dbt_project.yml").write_text(json.dumps(project))
    (tmp_path / "models").mkdir()
    write(tmp_path, "leaves", LEAVES.replace("{number}", "1"))
    write(tmp_path, "sees", "{{ config(materialized='table') }} " + SEES)
    return tmp_path


def write(directory: Path, model: str, text: str) -> None:
    (directory / "models" / f"{model}.sql").write_text(text)


def build(directory: Path, database: Database) -> dbt_process.Outcome:
    return dbt_process.invoke(directory, "build", [], {**database.environment, "FEATURE_COMPUTATION_WORKERS": "1"})


def seen(database: Database) -> list[tuple[Any, ...]]:
    with psycopg.connect(database.dsn) as connection:
        return connection.execute("select name, cast(scratch as text), number, locks from marts.sees").fetchall()


def test_changes_are_seen_errors_are_dbts_and_no_session_leaks(directory: Path, database: Database) -> None:
    assert build(directory, database).success
    assert seen(database) == [("market_warehouse_dbt", None, 1, 0)]

    write(directory, "leaves", LEAVES.replace("{number}", "20"))
    outcome = build(directory, database)
    assert [(node.relation, node.status) for node in outcome.nodes] == [("leaves", "success"), ("sees", "success")]
    assert seen(database) == [("market_warehouse_dbt", None, 20, 0)]

    write(directory, "leaves", LEAVES.replace("{number}", "1 / 0"))
    outcome = build(directory, database)
    assert not outcome.success and outcome.problem is None
    assert [node.status for node in outcome.nodes] == ["error", "skipped"]
    assert "division by zero" in outcome.nodes[0].message

    write(directory, "sees", "select {{ ref('nothing') }}")
    outcome = build(directory, database)
    assert not outcome.success and outcome.problem is not None and "'nothing' which was not found" in outcome.problem


def test_an_equal_copy_in_another_database_is_not_parsed_again(
    directory: Path, postgres: Server, tmp_path_factory: pytest.TempPathFactory
) -> None:
    (directory / "seeds").mkdir()
    (directory / "seeds" / "rows.csv").write_text("n\n1\n")
    write(directory, "leaves", "{{ config(materialized='table') }} select n as number from {{ ref('rows') }}")
    other = tmp_path_factory.mktemp("copy") / "project"
    shutil.copytree(directory, other)
    (other / "seeds" / "rows.csv").write_text("n\n7\n")
    first, second = Database(postgres, "first"), Database(postgres, "second")
    dbt_process._parsed.clear()
    for place, database in ((directory, first), (other, second)):
        database.create()
        assert build(place, database).success
    assert len(dbt_process._parsed) == 1
    assert [seen(one)[0][2] for one in (first, second)] == [1, 7]
    # One that differs is parsed as far as it does, and has its own rows, too.
    third = tmp_path_factory.mktemp("changed") / "project"
    shutil.copytree(other, third)
    (third / "seeds" / "rows.csv").write_text("n\n9\n")
    write(third, "leaves", "{{ config(materialized='table') }} select n + 100 as number from {{ ref('rows') }}")
    assert build(third, first).success
    assert len(dbt_process._parsed) == 2 and seen(first)[0][2] == 109
    for database in (first, second):
        database.drop()


def test_views_that_are_as_they_were_are_left_out(directory: Path, database: Database) -> None:
    views = {
        "steady": "select 1 as one",
        "of_steady": "select one from {{ ref('steady') }}",
        "dropped": "select 2 as two",
        "timed": "select cast('{{ env_var('WAREHOUSE_NOW', '2019-01-01') }}' as timestamp with time zone) as now",
        "of_a_table": "select number from {{ ref('leaves') }}",
        "of_that": "select number from {{ ref('of_a_table') }}",
    }
    for name, text in views.items():
        write(directory, name, text)
    made: list[set[str]] = []
    for now in ("2020-01-01", "2020-01-02"):
        outcome = dbt_process.invoke(
            directory,
            "build",
            ["--select", "+path:models"],
            {**database.environment, "WAREHOUSE_NOW": now},
            exclude=["sees"],
            without_unchanged_views=bool(made),
        )
        made.append({node.name for node in outcome.nodes})
        with psycopg.connect(database.dsn) as connection:
            connection.execute("drop view marts.dropped")
    assert made == [{*views, "leaves"}, {"leaves", "dropped", "timed", "of_a_table", "of_that"}]
    with psycopg.connect(database.dsn) as connection:
        assert connection.execute("select extract(day from now) from marts.timed").fetchone() == (2,)


def test_copies_of_the_project_are_equal_until_one_is_changed(tmp_path: Path) -> None:
    copies = [Project.copy(ROOT, tmp_path / name, described=False).directory for name in ("one", "other")]
    Project(copies[0]).write_assets([crypto("BTC", "1h")])
    assert dbt_process.state(copies[0]) == dbt_process.state(copies[1])
    model = copies[1] / "dbt_project" / "models" / "marts" / "market_data" / "market_data_v2.sql"
    model.write_text(model.read_text() + "-- another\n")
    assert dbt_process.state(copies[0]) != dbt_process.state(copies[1])


def test_a_child_that_dies_is_a_failure(directory: Path, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dbt_process, "_run", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    outcome = build(directory, database)
    assert not outcome.success
    assert outcome.problem == "dbt ended without an answer, status 9"
