"""What of dbt's own macros the project replaces: all of it is listed, and each is still needed.

Data flow: dbt's macros by name + ours -> the table in docs/develop/dbt_overrides.md; a project without ours -> what dbt
does then.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from scripts.postgres import Server
from tests import dbt_process
from tests.conftest import ROOT
from tests.warehouse import Database, MakeProject

pytestmark = pytest.mark.builds

PAGE = ROOT / "docs" / "develop" / "dbt_overrides.md"
ROWS = 5000
MODELS = {
    "series": "{{ config(materialized='table') }} select 1 as series_id",
    "status": "{{ config(materialized='view', schema='readers') }} select series_id from {{ ref('series') }}",
    "bars": (
        "{{ config(materialized='table') }} select id, case when id = 1 then {{ var('first', 0) }} else id end as close,"
        f" now() as updated_at from generate_series(1, {ROWS}) as numbers (id)"
    ),
}
CONTRACT = {
    "models": [
        {
            "name": "typed",
            "config": {"materialized": "table", "contract": {"enforced": True}},
            "columns": [{"name": "id", "data_type": "integer"}],
        }
    ]
}
SNAPSHOT = {
    "snapshots": [
        {
            "name": "history",
            "relation": "ref('bars')",
            "config": {
                "unique_key": "id", "strategy": "check", "check_cols": ["close"], "updated_at": "updated_at",
                "hard_deletes": "ignore", "indexes": [{"columns": ["id"]}],
            },
        }
    ]
}  # fmt: skip


def invoke(directory: Path, command: str, *options: str) -> Any:
    from dbt.cli.main import dbtRunner

    places = ["--project-dir", str(directory), "--profiles-dir", str(directory), "--target-path", f"{directory}/target"]
    outcome = dbtRunner().invoke([command, "--quiet", "--log-level-file", "none", *options, *places])
    results: Any = outcome.result
    assert outcome.success, outcome.exception or [result.message for result in results]
    return results


class Plain:
    """A dbt project that replaces nothing, built three times: as it is, again, and with one changed bar."""

    def __init__(self, directory: Path, database: Database) -> None:
        self.database, self.directory = database, directory
        shutil.copy(ROOT / "profiles.yml", directory)
        flags = {"warn_error_options": {"silence": ["SnapshotTimestampWarning"]}}
        (directory / "dbt_project.yml").write_text(
            json.dumps({"name": "plain", "profile": "market_warehouse", "flags": flags})
        )
        (directory / "models").mkdir()
        (directory / "snapshots").mkdir()
        for name, text in MODELS.items():
            (directory / "models" / f"{name}.sql").write_text(text)
        (directory / "models" / "typed.sql").write_text("select 1 as id")
        (directory / "models" / "typed.yml").write_text(json.dumps(CONTRACT))
        (directory / "snapshots" / "history.yml").write_text(json.dumps(SNAPSHOT))
        (directory / "seeds").mkdir()
        (directory / "seeds" / "assets.csv").write_text("symbol\nBTC\n")
        self.made: list[dict[str, int]] = []
        self.files: list[list[tuple[Any, ...]]] = []
        self.read: list[int] = []
        for first in (0, 0, 1):
            invoke(directory, "build", "--vars", json.dumps({"first": first}))
            self.made.append(dict(self.query("select relname, cast(oid as bigint) from pg_class")))
            self.files.append(self.query("select relfilenode from pg_class where relname = 'assets'"))
            self.read.append(self.rows_read())

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.database.dsn) as connection:
            return connection.execute(statement.encode()).fetchall()

    def rows_read(self) -> int:
        """How many rows of the history were read by scans of the whole table, all builds together."""
        self.query("select pg_stat_force_next_flush()")
        return int(self.query("select seq_tup_read from pg_stat_user_tables where relname = 'history'")[0][0])


@pytest.fixture(scope="module")
def plain(postgres: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plain]:
    database = Database(postgres, "overrides")
    database.create()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in database.environment.items():
            patch.setenv(name, value)
        yield Plain(tmp_path_factory.mktemp("plain"), database)
    database.drop()


def test_dbt_still_makes_an_unchanged_view_again(plain: Plain) -> None:
    assert plain.made[0]["status"] != plain.made[1]["status"]


def test_dbt_still_names_schemas_after_the_target(plain: Plain) -> None:
    assert plain.query("select table_schema from information_schema.views where table_name = 'status'") == [
        ("marts_readers",)
    ]


def test_dbt_still_truncates_seeds(plain: Plain) -> None:
    assert plain.files[0] != plain.files[1], "a table that is truncated gets another file"


def test_dbt_still_takes_a_percent_sign_of_the_database_for_a_placeholder(
    plain: Plain, postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(postgres, "plain a%b")
    database.create()
    for name, value in database.environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(AssertionError, match="Runtime Error in seed assets"):
        invoke(plain.directory, "seed")
    database.drop()


def test_dbts_snapshot_still_reads_all_versions_to_find_one(plain: Plain) -> None:
    changed = plain.query("select count(*) from marts.history where id = 1 and dbt_valid_to is not null")
    assert changed == [(1,)] and plain.read[2] - plain.read[1] >= ROWS


def test_dbts_snapshot_still_ends_a_version_by_its_hash_alone(plain: Plain) -> None:
    (statement,) = plain.directory.glob("target/run/plain/snapshots/**/*.sql")
    text = statement.read_text()
    assert "dbt_scd_id" in text and "update" in text and "dbt_unique_key =" not in text and ".id" not in text


def test_dbt_still_fills_a_table_with_a_contract_by_an_insert(plain: Plain) -> None:
    assert "insert into" in (plain.directory / "target/run/plain/models/typed.sql").read_text()


def replaced(macros: list[tuple[str, str]]) -> set[str]:
    """Of macros, (package, name): names of ours that take the place of one of dbt's: of the same name, or an
    implementation for Postgres of what dbt dispatches."""
    of_dbt = ("dbt", "dbt_postgres")
    theirs = {name for package, name in macros if package in of_dbt}
    dispatched = {f"{engine}__{name}" for name in theirs for engine in ("postgres", "default")}
    # A materialization for all engines gives way to one for Postgres.
    dispatched |= {name.removesuffix("default") + "postgres" for name in theirs if name.startswith("materialization_")}
    built_in = {"ref", "source", "config"}
    ours = {name for package, name in macros if package not in of_dbt}
    return ours & (theirs | dispatched | built_in)


def test_every_replacement_is_listed(projects: MakeProject) -> None:
    manifest = dbt_process.manifest_of(projects("warehouse").directory)
    macros = [(macro.package_name, macro.name) for macro in manifest.macros.values()]
    listed = set(re.findall(r"^\| `(\w+)` \|", PAGE.read_text(), re.M))
    assert replaced(macros) == listed
    more = [("market_warehouse", name) for name in ("ref", "run_hooks", "differs")]
    assert replaced(macros + more) == listed | {"ref", "run_hooks"}
