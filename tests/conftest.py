"""Fixtures of the whole suite: a throw-away Postgres, databases in it, warehouses on them, recorded market data."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from scripts.postgres import SUPERUSER, Server, temporary_postgres
from tests.warehouse import Database, MakeProject, MakeWarehouse, Project, Warehouse

ROOT = Path(__file__).resolve().parent.parent
SHARED_DATA = ROOT.parent / "shared" / "data"

# Durability costs a third of a short test's time, and nobody reads these databases after a crash.
TEST_SERVER_SETTINGS = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
OWN_SETTINGS = (
    "PG", "POLYGON_", "BINANCE_", "YAHOO_", "COINMETRICS_", "ENRICHMENT_", "DBT_", "WAREHOUSE_", "FALLBACK_SOURCE_",
    "DATA_ENRICHMENT_", "FEATURE_COMPUTATION_", "BATCH_SIZE_", "MIN_", "VALIDATE_ON_INSERT", "REVISION_LOOKBACK",
    "API_TOKEN", "ALERT_URLS", "HEALTHCHECK_URL",
)  # fmt: skip
SUITE_SETTINGS = {"PG", "PG_BIN"}

# Files that take longest, the dearest first: with one of these last, one of two workers would wait for it alone.
DEAR = (
    "scripts/test_demo.py", "site/test_build.py", "site/test_site.py", "end_to_end/test_week.py", "scripts/test_api.py",
    "dbt/test_history.py", "dbt/test_incremental_equals_full.py", "extract/test_postgres_15.py",
    "end_to_end/test_binance_variations.py", "scripts/test_locks.py", "dbt/test_registry_changes.py",
    "end_to_end/test_a_hole_to_its_end.py", "end_to_end/test_live_equals_backfill.py", "end_to_end/test_real_markets.py",
    "end_to_end/test_record_and_replay.py", "dbt/test_over_the_years.py", "dbt/test_quality_operations.py",
    "dbt/test_hostile_payloads.py", "dbt/test_quarantine.py", "upgrade/test_upgrade.py", "end_to_end/test_cases.py",
    "end_to_end/test_server_settings.py", "end_to_end/test_rollback.py", "extract/test_answers.py",
    "dbt/test_features_oracle.py", "dbt/test_bars.py", "dbt/test_yahoo_basis.py", "upgrade/test_new_source.py",
    "upgrade/test_new_feature.py", "extract/test_extract.py", "dbt/test_splits_and_registry.py",
    "end_to_end/test_database_names.py", "upgrade/test_new_timeframe.py", "test_wheel.py",
)  # fmt: skip
# Files that read one built warehouse (session fixture `built` of their folder), and so belong to one worker.
SHARING = {
    "site": ("site/test_build.py", "site/test_site.py"),
    "readers": tuple(
        f"scripts/test_{name}.py"
        for name in ("api", "api_reference", "assets", "exports", "frames", "metrics", "reports", "roles", "security")
    ),
}


def _file(nodeid: str) -> str:
    return nodeid.partition("::")[0].removeprefix("tests/")


def _unit_of_work(nodeid: str) -> str:
    return next((name for name, files in SHARING.items() if _file(nodeid) in files), _file(nodeid))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Which tests build, and what comes first."""
    for item in items:
        # Whoever has a copy of the dbt project builds it. Others say so themselves: `pytestmark = pytest.mark.builds`.
        if "projects" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.builds)
    items.sort(key=lambda item: DEAR.index(_file(item.nodeid)) if _file(item.nodeid) in DEAR else len(DEAR))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """A file's tests belong to one worker, as do those of files that share a warehouse (SHARING).

    xdist's own `--dist loadgroup` puts the group into a test's id, which pytest 9.2 does not read any more: tests of a file
    went to both workers, each built the file's warehouse, and those that go on from each other failed.
    """
    from xdist.scheduler import LoadScopeScheduling

    config.option.loadscopereorder = False
    scheduler = LoadScopeScheduling(config, log)
    scheduler._split_scope = _unit_of_work
    return scheduler


@pytest.fixture(autouse=True)
def builds_are_marked(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """`make test-fast` leaves out what builds: a test that builds without the mark fails, so it stays fast."""
    if "dbt.cli.main" not in sys.modules or request.node.get_closest_marker("builds"):
        return
    from dbt.cli.main import dbtRunner

    invoke = dbtRunner.invoke

    def only_reads(self: Any, args: list[str], **options: Any) -> Any:
        if {"build", "run", "retry", "seed", "snapshot", "test", "run-operation"} & set(args):
            pytest.fail(f"it runs dbt {args[0]}: mark it with pytest.mark.builds")
        return invoke(self, args, **options)

    monkeypatch.setattr(dbtRunner, "invoke", only_reads)


@pytest.fixture(scope="session", autouse=True)
def hermetic_environment() -> Iterator[None]:
    """No setting of the caller's shell or `.env` reaches a test, and nothing reports home. `PG=15` in the environment
    (`make test PG=15`) makes every server of the suite one of Debian's PostgreSQL 15."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(OWN_SETTINGS) and name not in SUITE_SETTINGS:
                patch.delenv(name)
        patch.setenv("DBT_SEND_ANONYMOUS_USAGE_STATS", "false")
        patch.setenv("DO_NOT_TRACK", "1")
        patch.setenv("RUNTIME__DLTHUB_TELEMETRY", "false")
        # A build of a few bars is bound by Python: more threads wait for each other, for a fifth more CPU.
        patch.setenv("FEATURE_COMPUTATION_WORKERS", "2")
        # Its log says every statement, and nobody reads it.
        patch.setenv("DBT_LOG_LEVEL_FILE", "none")
        if version := os.environ.get("PG"):
            binaries = Path(f"/usr/lib/postgresql/{version}/bin")
            if not (binaries / "initdb").exists():
                pytest.exit(f"PG={version}: there is no PostgreSQL in {binaries}", returncode=2)
            patch.setenv("PG_BIN", str(binaries))
        yield


@pytest.fixture(scope="session")
def postgres(hermetic_environment: None) -> Iterator[Server]:
    """A throw-away server."""
    with temporary_postgres() as server:
        with psycopg.connect(server.dsn("postgres"), autocommit=True) as connection:
            settings = dict(TEST_SERVER_SETTINGS)
            if connection.info.server_version >= 160000:
                # Stretching a password takes 2.4 of the 3.1 ms of CPU in which a client connects, and dbt connects for
                # each node. Our own is stored once more, less stretched.
                settings["scram_iterations"] = "1"
                connection.execute("set scram_iterations = 1")
                connection.execute(
                    sql.SQL("alter role {} password {}").format(sql.Identifier(SUPERUSER), server.password)
                )
            for name, value in settings.items():
                connection.execute(sql.SQL("alter system set {} = {}").format(sql.Identifier(name), value))
            connection.execute("select pg_reload_conf()")
        yield server


@pytest.fixture(scope="session")
def postgres_15(hermetic_environment: None) -> Iterator[Server]:
    """The oldest server that is supported, as Debian ships it, with stock settings; installed here where this is root's
    machine and it is missing."""
    programs = Path("/usr/lib/postgresql/15/bin")
    if not (programs / "initdb").exists() and os.geteuid() == 0 and shutil.which("apt-get"):
        # No cluster of its own: that would be a server which nobody asked for.
        Path("/etc/postgresql-common").mkdir(exist_ok=True)
        Path("/etc/postgresql-common/createcluster.conf").write_text("create_main_cluster = false\n")
        for command in (["update"], ["install", "-y", "--no-install-recommends", "postgresql-15"]):
            environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
            subprocess.run(["apt-get", "-qq", *command], check=False, capture_output=True, env=environment)
    if not (programs / "initdb").exists():
        pytest.skip("needs PostgreSQL 15: apt-get install postgresql-15")
    with temporary_postgres(programs, {"timezone": "UTC", **TEST_SERVER_SETTINGS}) as server:
        yield server


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The recorded market data beside the checkout."""
    if not (SHARED_DATA / "INDEX.csv").exists():
        pytest.skip("needs the recorded market data in ../shared/data, which this machine does not have")
    return SHARED_DATA


@pytest.fixture
def database(postgres: Server) -> Iterator[Database]:
    """An empty database of this test's own."""
    yield from _database(postgres, f"test_{next(_numbers)}")


_numbers = itertools.count(1)


def _database(postgres: Server, name: str) -> Iterator[Database]:
    database = Database(postgres, name)
    database.create()
    yield database
    database.drop()


@pytest.fixture(scope="session")
def projects(tmp_path_factory: pytest.TempPathFactory) -> MakeProject:
    """Copies of the dbt project by name. One is used again by later tests: dbt then parses only what changed in it."""
    made: dict[str, Project] = {}

    def project(name: str, *, described: bool = False) -> Project:
        if name not in made:
            made[name] = Project.copy(ROOT, tmp_path_factory.mktemp(f"project_{name}"), described=described)
        return made[name]

    return project


@pytest.fixture(scope="module")
def make_warehouse(postgres: Server, projects: MakeProject) -> Iterator[MakeWarehouse]:
    """Warehouses by name: each an empty database with its own copy of the dbt project; made anew, it is empty."""
    made: list[Warehouse] = []

    def make(name: str, *, described: bool = False) -> Warehouse:
        warehouse = Warehouse(Database(postgres, name), projects(name, described=described))
        warehouse.reset()
        made.append(warehouse)
        return warehouse

    yield make
    for warehouse in made:
        warehouse.database.drop()
        # Later files use the project again.
        warehouse.project.restore_seeds()


@pytest.fixture
def warehouse(make_warehouse: MakeWarehouse) -> Warehouse:
    """One empty warehouse."""
    return make_warehouse("warehouse")
