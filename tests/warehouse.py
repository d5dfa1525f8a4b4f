"""A warehouse for tests: one database, one private copy of the dbt project, raw rows put there as extract would.

Data flow: plain bars -> provider payload (payloads.py) -> raw_<provider>.responses + _dlt_loads -> dbt -> query().
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol

import pandas as pd
import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from extract import migrations
from extract.core import settings
from extract.symbols import registry_file
from scripts.postgres import Server
from scripts.site.reference_formulas import STEP
from tests import dbt_process, payloads
from tests.oracle.bars import Bar

ROOT = Path(__file__).parents[1]
PROJECT_FILES = ("dbt_project.yml", "profiles.yml", "selectors.yml")
ASSET_COLUMNS = (
    "symbol", "asset_class", "timeframes", "polygon", "binance", "binance_futures", "yahoo", "coinmetrics",
    "calendar", "active_from", "active_to", "source_priority", "enabled",
)  # fmt: skip
RAW_COLUMNS = (
    "run_id", "symbol", "asset_class", "provider_symbol", "endpoint", "origin", "timeframe", "window_start",
    "window_end", "status", "payload", "bad_payload", "payload_sha", "row_count", "http_status", "response_ms",
    "quota_remaining", "breaker_state", "error", "requested_at", "fetched_at",
    "first_row_at", "last_row_at",
)  # fmt: skip
NOW = datetime(2026, 1, 1, tzinfo=UTC)
# psycopg reads no dates but these, whatever the server's admin likes; psycopg is the tests' own here.
ISO_DATES = "-c datestyle=ISO"


@dataclass(frozen=True)
class Database:
    """One database of the test server."""

    server: Server
    name: str

    @property
    def dsn(self) -> str:
        return self.server.dsn(self.name)

    @property
    def environment(self) -> dict[str, str]:
        """The PG* variables that lead here."""
        return self.server.environment(self.name)

    def create(self, template: str = "template1") -> None:
        """Make it, as the template is; one of that name is dropped first."""
        self.drop()
        with psycopg.connect(self.server.dsn("postgres"), autocommit=True) as connection:
            # Half of what it takes to copy through the log.
            copying = sql.SQL("create database {} template {} strategy file_copy")
            connection.execute(copying.format(sql.Identifier(self.name), sql.Identifier(template)))

    def drop(self) -> None:
        with psycopg.connect(self.server.dsn("postgres"), autocommit=True) as connection:
            connection.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(self.name)))


@dataclass
class Project:
    """A copy of the dbt project, so that a test can have its own assets.csv."""

    directory: Path

    @classmethod
    def copy(cls, source: Path, directory: Path, *, described: bool = True) -> Project:
        """described: builds write the descriptions into the database, too, which takes a tenth of their time."""
        shutil.copytree(source / "dbt_project", directory / "dbt_project")
        # Whatever the registry of this checkout holds; released versions track theirs.
        if (source / registry_file.EXAMPLE).exists():
            shutil.copy(source / registry_file.EXAMPLE, directory / settings.ASSETS)
        for name in PROJECT_FILES:
            if (source / name).exists():
                shutil.copy2(source / name, directory / name)
        if not described:
            file = directory / "dbt_project.yml"
            text, found = re.subn(
                r"(persist_docs:\n +relation:) true\n( +columns:) true", r"\1 false\n\2 false", file.read_text()
            )
            assert found, "dbt_project.yml says otherwise what is described"
            file.write_text(text)
            # All such copies are of one age, as their other files are: what one of them is parsed to serves all.
            os.utime(file, ns=(0, 0))
        return cls(directory)

    def restore_seeds(self) -> None:
        """Every seed as it is in this checkout, the registry as an example; those that a test added stay."""
        for seed in (ROOT / "dbt_project/seeds").glob("*.csv"):
            shutil.copy2(seed, self.directory / "dbt_project/seeds")
        shutil.copy(ROOT / registry_file.EXAMPLE, self.directory / settings.ASSETS)

    def write_assets(self, rows: Sequence[Mapping[str, str]]) -> None:
        with (self.directory / "dbt_project" / "seeds" / "assets.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, ASSET_COLUMNS, restval="", lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)

    def add_session_exceptions(self, hours: Mapping[date, str]) -> None:
        """The exceptions of New York as they are in the project, and these: day -> "opens,closes", "," for closed. The
        next call takes their place. To be followed by Warehouse.assets(), after which seeds are read again."""
        name = "dbt_project/seeds/session_exceptions.csv"
        added = [f"XNYS,{day},{told}\n" for day, told in hours.items()]
        (self.directory / name).write_text("".join([(ROOT / name).read_text(), *added]))


class BuildFailed(AssertionError):
    """dbt did not build everything; the message names each node and its error."""


@dataclass
class Answer:
    """One raw row to be. Times default to the warehouse's `now`, the window to nothing known."""

    endpoint: str
    symbol: str | None = None
    payload: payloads.Payload | None = None
    timeframe: str | None = None
    window: tuple[datetime, datetime] | None = None
    requested_at: datetime | None = None
    fetched_at: datetime | None = None
    status: str = "ok"
    origin: str = "rest"
    values: dict[str, Any] = field(default_factory=dict)


@dataclass
class Warehouse:
    """See the module. `now` stands for the current time in loads and builds (WAREHOUSE_NOW); `seconds` is what each
    node of the last build took."""

    database: Database
    project: Project
    now: datetime = NOW
    environment: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    # Selections of which the staging views are there.
    _staged: set[str | None] = field(default_factory=set)
    # The seeds that are there, as they were loaded.
    _seeded: dict[str, bytes] = field(default_factory=dict)
    # Selections of which the views are there, or whether each one that is there is as it should be; and the project and
    # settings that they were made from.
    _viewed: set[str | None] = field(default_factory=set)
    _is_prepared: bool = False
    _viewed_as: object = None
    _asset_class: dict[str, str] = field(default_factory=dict)
    _loads: int = 0

    # ------------------------------------------------------------ registry and raw rows

    def reset(self) -> None:
        """A database with the landing tables, an empty registry, and what follows from no answer: staging and seeds."""
        self.assets([])
        template = _prepared(self.database.server, self.project)
        self.database.create(template.database.name)
        self._staged.clear()
        self._viewed.clear()
        self._is_prepared = True
        self._viewed_as, self._seeded = template._viewed_as, dict(template._seeded)

    def assets(self, rows: Sequence[Mapping[str, str]]) -> None:
        """Replace the registry. Missing cells are empty; see crypto() and stock() for usual rows."""
        self._asset_class = {row["symbol"]: row["asset_class"] for row in rows}
        self.project.write_assets(rows)

    def load(
        self,
        provider: str,
        *answers: Answer,
        load_id: str | None = None,
        uncommitted: bool = False,
        knows_later_splits: bool = True,
    ) -> str:
        """Write the answers as one dlt load and return its id. Uncommitted: without its line in `_dlt_loads`.
        knows_later_splits: Yahoo was asked for the events after old windows of bars, as extract does."""
        self._loads += 1
        if provider == "yahoo" and knows_later_splits:
            answers = (*answers, *filter(None, map(self._events_after, answers)))
        load_id = load_id or f"{1_700_000_000 + self._loads}.{self._loads:06d}"
        with psycopg.connect(self.database.dsn) as connection:
            with connection.cursor() as cursor:
                cursor.executemany(
                    sql.SQL("insert into {}.responses ({}, _dlt_load_id) values ({})").format(
                        sql.Identifier(f"raw_{provider}"),
                        sql.SQL(", ").join(map(sql.Identifier, RAW_COLUMNS)),
                        sql.SQL(", ").join([sql.Placeholder()] * (len(RAW_COLUMNS) + 1)),
                    ),
                    [(*self._row(answer), load_id) for answer in answers],
                )
            if not uncommitted:
                self._commit(connection, provider, load_id)
        return load_id

    def commit(self, provider: str, load_id: str) -> None:
        """Give an uncommitted load its line."""
        self._loads += 1
        with psycopg.connect(self.database.dsn) as connection:
            self._commit(connection, provider, load_id)

    def _commit(self, connection: psycopg.Connection, provider: str, load_id: str) -> None:
        connection.execute(
            sql.SQL(
                "insert into {0}._dlt_loads (load_id, schema_name, status, inserted_at)"
                " select %s, %s, 0, timestamptz '2000-01-01 00:00:00+00' + %s * interval '1 second'"
            ).format(sql.Identifier(f"raw_{provider}")),
            # Commit times are a count: equal in every warehouse that is given the same loads.
            (load_id, provider, self._loads),
        )

    def correct(self, symbol: str, timeframe: str, opened: datetime, bar: Bar | None, by: str = "a tester") -> None:
        """Record a correction of a bar by hand; None withdraws it. As `market correct` does, without its checks."""
        self._loads += 1
        values: list[Decimal | None] = [None] * 6
        if bar is not None:
            values = [bar.open, bar.high, bar.low, bar.close, bar.volume, bar.taker_buy_volume]
            if self._asset_class[symbol] != "crypto":
                values[5] = None
        with psycopg.connect(self.database.dsn) as connection:
            connection.execute(
                "insert into ops.manual_corrections (symbol, asset_class, timeframe, opened_at, is_withdrawal, open, high,"
                " low, close, volume, taker_buy_volume, reason, corrected_by, corrected_at, recorded_at)"
                " values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, 'a test', %s, %s,"
                " timestamptz '2000-01-01 00:00:00+00' + %s * interval '1 second')",
                (
                    symbol, self._asset_class[symbol], timeframe, opened, bar is None, *values, by, self.now,
                    self._loads,
                ),
            )  # fmt: skip

    def correct_split(self, symbol: str, ex_date: date, change: str, split: tuple[int, int] | None = None) -> None:
        """Record a split set, struck or given back by hand, as `market correct` does, without its checks."""
        self._loads += 1
        with psycopg.connect(self.database.dsn) as connection:
            connection.execute(
                "insert into ops.manual_actions (symbol, asset_class, kind, ex_date, change, split_to, split_from,"
                " reason, corrected_by, corrected_at, recorded_at) values (%s, %s, 'split', %s, %s, %s, %s, 'seen',"
                " 'a tester', %s, timestamptz '2000-01-01 00:00:00+00' + %s * interval '1 second')",
                (
                    symbol, self._asset_class[symbol], ex_date, change, *(split or (None, None)), self.now, self._loads,
                ),
            )  # fmt: skip

    def _row(self, answer: Answer) -> tuple[Any, ...]:
        fetched_at = answer.fetched_at or self.now
        text = None if answer.payload is None else payloads.to_json(answer.payload)
        start, end = answer.window or (None, None)
        values = {
            "run_id": "test",
            "symbol": answer.symbol,
            "asset_class": self._asset_class.get(answer.symbol or ""),
            "endpoint": answer.endpoint,
            "origin": answer.origin,
            "timeframe": answer.timeframe,
            "window_start": start,
            "window_end": end,
            "status": answer.status,
            "payload": text,
            "payload_sha": None if text is None else hashlib.sha256(text.encode()).hexdigest(),
            "row_count": None
            if answer.payload is None or "row_count" in answer.values
            else payloads.row_count(answer.payload),
            "http_status": 200,
            "response_ms": 1,
            "breaker_state": "CLOSED",
            "requested_at": answer.requested_at or fetched_at,
            "fetched_at": fetched_at,
            **answer.values,
        }
        return tuple(values.get(column) for column in RAW_COLUMNS)

    def _events_after(self, answer: Answer) -> Answer | None:
        """The answer that there are none; None where its window goes up to when it was asked."""
        asked_at = answer.fetched_at or self.now
        if answer.endpoint != "bars" or answer.window is None or answer.window[1] >= asked_at - timedelta(days=1):
            return None
        if self._asset_class.get(answer.symbol or "", "crypto") == "crypto":
            return None
        window = (answer.window[1], asked_at)
        return Answer("events", answer.symbol, window=window, fetched_at=asked_at, status="unchanged", origin="chart")

    def load_bars(self, provider: str, symbol: str, timeframe: str, bars: Sequence[Bar], **answer: Any) -> str:
        """Load one bar answer; `bars` hold the provider's own prices, the window goes from the earliest to the latest."""
        return self.load(provider, bar_answer(provider, symbol, timeframe, bars, **answer))

    # ------------------------------------------------------------ dbt

    def build(
        self,
        select: str | None = None,
        *,
        full_refresh: bool = False,
        empty: bool = False,
        tests: bool = False,
        unit_tests: bool = True,
        without_staging: bool = False,
        time_zone: str | None = None,
        command: str = "build",
        variables: Mapping[str, object] | None = None,
    ) -> dict[str, str]:
        """`dbt build`; returns each relation's message (e.g. 'MERGE 5'). BuildFailed if any node failed.

        tests: run data tests and unit tests, too. unit_tests=False: only data tests; the others test the SQL whatever the
        data, and run in a first build and in a warehouse in use already (test_postgres_15.py, test_hostile_payloads.py).
        time_zone: TZ of the process and of its database sessions.
        without_staging: leave out seeds and staging views, which an earlier build made and which have not changed
        since. A plain build leaves out seeds, and those views of a selection that was built before, that would be as they
        are.
        variables: for --vars.
        """
        is_plain = not (tests or full_refresh or empty or time_zone)
        seeds = {path.stem: path.read_bytes() for path in self.project.directory.glob("dbt_project/seeds/*.csv")}
        there = self.query("select tablename from pg_tables where schemaname = 'seeds'") if is_plain else []
        left_out = [
            f"market_warehouse.{row['tablename']}"
            for row in there
            if (name := row["tablename"]) in seeds and self._seeded.get(name) == seeds[name]
        ]
        excluded_kinds = ["seed"] if without_staging else []
        without_staging = without_staging or (is_plain and select in self._staged)
        arguments = ["--select", *select.split()] if select else []
        if full_refresh:
            arguments.append("--full-refresh")
        if empty:
            arguments.append("--empty")
        excluded_kinds += [] if tests else ["test"]
        excluded_kinds += [] if tests and unit_tests else ["unit_test"]
        if excluded_kinds:
            arguments += ["--exclude-resource-type", *excluded_kinds]
        left_out += ["market_warehouse.staging"] if without_staging else []
        # How much is computed at a time, and options of the session, are in no view.
        settings_of_views = {
            name: value
            for name, value in self.environment.items()
            if name != "PGOPTIONS" and not name.startswith("FEATURE_COMPUTATION_")
        }
        viewed_as = (dbt_process.state(self.project.directory), settings_of_views, variables)
        if viewed_as != self._viewed_as:
            self._viewed.clear()
            self._is_prepared = False
        self._viewed_as = viewed_as
        outcome = dbt_process.invoke(
            self.project.directory,
            command,
            arguments,
            self.build_environment(),
            variables=json.dumps(dict(variables)) if variables else None,
            time_zone=time_zone,
            exclude=left_out,
            without_unchanged_views=(is_plain and command == "build" and (self._is_prepared or select in self._viewed)),
        )
        loaded, self._seeded = self._seeded, {}
        self._is_prepared = False
        self._viewed.discard(select)
        if outcome.problem is not None:
            raise BuildFailed(outcome.problem)
        failed = [f"{n.name}: {n.message}" for n in outcome.nodes if n.status in ("error", "fail", "runtime error")]
        self.seconds = {node.relation: node.seconds for node in outcome.nodes}
        if failed or not outcome.success:
            raise BuildFailed("\n".join(failed))
        self._seeded = loaded | {node.name: seeds[node.name] for node in outcome.nodes if node.name in seeds}
        if command == "build" and not empty:
            self._staged.add(select)
            self._viewed.add(select)
        return {node.relation: node.message for node in outcome.nodes}

    def operate(self, macro: str) -> None:
        """`dbt run-operation`. BuildFailed if it failed."""
        outcome = dbt_process.invoke(self.project.directory, "run-operation", [macro], self.build_environment())
        if not outcome.success:
            raise BuildFailed(outcome.problem or str(outcome.nodes))

    def build_environment(self) -> dict[str, str]:
        """What dbt's environment has beyond this process's: the database, the settings, the clock."""
        return {**self.database.environment, **self.environment, "WAREHOUSE_NOW": self.now.isoformat()}

    # ------------------------------------------------------------ answers

    def query(self, statement: str, *parameters: Any) -> list[dict[str, Any]]:
        with psycopg.connect(self.database.dsn, row_factory=dict_row, options=ISO_DATES) as connection:
            return connection.execute(statement.encode(), parameters or None).fetchall()

    def execute(self, statement: str) -> None:
        with psycopg.connect(self.database.dsn, autocommit=True) as connection:
            connection.execute(statement.encode())

    def frame(self, statement: str, *parameters: Any) -> pd.DataFrame:
        """The rows as a frame of objects: numeric stays Decimal, NULL stays None."""
        with psycopg.connect(self.database.dsn, options=ISO_DATES) as connection:
            cursor = connection.execute(statement.encode(), parameters or None)
            columns = [column.name for column in cursor.description or ()]
            return pd.DataFrame(cursor.fetchall(), columns=columns, dtype=object)


_templates: dict[object, Warehouse] = {}


def _prepared(server: Server, project: Project) -> Warehouse:
    """A warehouse of this project with landing tables, staging and the seeds of an empty registry, to copy."""
    key = (server.home, dbt_process.state(project.directory))
    if key not in _templates:
        template = Warehouse(Database(server, f"warehouse_template_{len(_templates)}"), project)
        template.database.create()
        with psycopg.connect(template.database.dsn) as connection:
            migrations.migrate(connection)
        template.build("market_warehouse.staging resource_type:seed")
        # It is another one where the old system's table is there.
        template.execute("drop view staging.stg_legacy__market_data")
        _templates[key] = template
    return _templates[key]


def in_shards(workers: int, bars: int = 200) -> dict[str, str]:
    """Settings by which so many processes compute a mart, `bars` bars at a time: any small one is then large enough."""
    return {"FEATURE_COMPUTATION_WORKERS": str(workers), "FEATURE_COMPUTATION_SHARD_BARS": str(bars)}


def bar_answer(provider: str, symbol: str, timeframe: str, bars: Sequence[Bar], **answer: Any) -> Answer:
    """One bar answer in the provider's form. Keywords of yahoo_chart(): splits, dividends, time_zone."""
    window = answer.pop("window", None)
    if window is None and bars:
        stamps = [one.timestamp for one in bars]
        window = (min(stamps), max(stamps) + STEP[timeframe])
    payload: payloads.Payload
    if provider == "yahoo":
        chart = {
            name: answer.pop(name)
            for name in ("splits", "dividends", "capital_gains", "time_zone", "day_starts_at")
            if name in answer
        }
        payload = payloads.yahoo_chart(bars, timeframe, **chart)
        answer.setdefault("origin", "chart")
    elif provider == "polygon":
        payload = payloads.polygon_bars(bars, timeframe)
    elif answer.get("origin") == "archive":
        payload = payloads.binance_archive(bars, timeframe, f"{symbol}-{timeframe}")
    else:
        payload = payloads.binance_klines(bars, timeframe)
    return Answer("bars", symbol, payload, timeframe, window, **answer)


def crypto(symbol: str = "BTC", timeframes: str = "5m 1h 1d", **cells: str) -> dict[str, str]:
    """A registry row of a coin that all providers have."""
    row = {
        "symbol": symbol, "asset_class": "crypto", "timeframes": timeframes, "polygon": f"X:{symbol}USD",
        "binance": f"{symbol}USDT", "binance_futures": f"{symbol}USDT", "yahoo": f"{symbol}-USD",
        "coinmetrics": symbol.lower(), "calendar": "24/7", "source_priority": "binance polygon yahoo",
        "enabled": "true",
    }  # fmt: skip
    return row | cells


def stock(symbol: str = "AAPL", timeframes: str = "5m 1h 1d", **cells: str) -> dict[str, str]:
    """A registry row of a US stock."""
    row = {
        "symbol": symbol, "asset_class": "stock", "timeframes": timeframes, "polygon": symbol, "yahoo": symbol,
        "calendar": "XNYS", "enabled": "true",
    }  # fmt: skip
    return row | cells


class MakeProject(Protocol):
    """See tests/conftest.py."""

    def __call__(self, name: str, *, described: bool = False) -> Project: ...


class MakeWarehouse(Protocol):
    """See tests/conftest.py."""

    def __call__(self, name: str, *, described: bool = False) -> Warehouse: ...
