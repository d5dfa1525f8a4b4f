"""Whatever providers and people say and in whatever order: a warehouse that was built step by step holds what one holds
that was built at once.

A seed is a random history (tests/dbt/histories.py) of a few steps; after each the incremental warehouse is built, now and
then only half-way; after the last one a second warehouse is built from nothing, with as many workers as the seed says.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import psycopg
from psycopg import sql

from scripts.postgres import Server
from tests.dbt import test_incremental_equals_full as equality
from tests.dbt.histories import History, crypto_history, stock_history
from tests.reliability.campaign import ROOT, Campaign, Play, Played
from tests.reliability.stage import parsed_before
from tests.warehouse import Database, Project, Warehouse, in_shards

STEPS = 3
WORKERS = (1, 2, 4)
KEPT = "kept_empty"
# Before any history.
BEGINNING = datetime(2024, 5, 1, tzinfo=UTC)


def empty_again(warehouse: Warehouse) -> None:
    """Seeds, staging views, and models without a row: a third of the time that making them takes."""
    warehouse.database.drop()
    with psycopg.connect(warehouse.database.server.dsn("postgres"), autocommit=True) as connection:
        connection.execute(
            sql.SQL("create database {} template {}").format(
                sql.Identifier(warehouse.database.name), sql.Identifier(KEPT)
            )
        )
    warehouse.project.add_session_exceptions({})
    warehouse.environment.clear()
    warehouse._loads = 0
    warehouse._staged.add(equality.SELECTED)


def both_markets(seed: int, warehouses: Sequence[Warehouse]) -> History:
    """Coins and stocks in one warehouse: dbt's time for a node is most of a build of a few bars, so one build serves both."""
    coins, stocks = crypto_history(seed, []), stock_history(seed, [])
    return History(
        seed,
        warehouses,
        stocks.now,
        coins.registry | stocks.registry,
        coins.initial_bars | stocks.initial_bars,
    )


def play_history(incremental: Warehouse, full: Warehouse, seed: int, played: Played) -> None:
    """One seed; see the module."""
    for warehouse in (incremental, full):
        empty_again(warehouse)
    history = both_markets(seed, [incremental, full])
    # Shared with the history: what happened so far is told of a seed that fails.
    played.story = history.journal
    chance = random.Random(f"{seed} builds")
    workers = (WORKERS[seed % 3], WORKERS[seed // 3 % 3])
    incremental.environment |= in_shards(workers[0])
    history.begin()
    history.disagree()
    incremental.build(equality.SELECTED)
    for _ in range(STEPS):
        for _ in range(chance.choice((1, 3, 6))):
            played.counts["actions"] += len(history.step())
        if chance.random() < 0.2:
            last = chance.choice(equality.HALF_WAY)
            incremental.build(f"+{last} {equality.READERS_OF_PAYLOADS}")
            history.journal.append(f"a build broken off after {last}")
            history.step()
        incremental.build(equality.SELECTED)
        history.journal.append("built")
    full.environment |= in_shards(workers[1])
    equality.build_anew(full)
    equality.assert_equal(incremental, full, history)
    played.counts["histories"] += 1
    played.counts[f"{workers[0]} workers against {workers[1]}"] += 1
    played.counts["rows compared"] += sum(equality.rows_of(full, "marts.market_data_v2").values())
    if seed % 5 == 0:
        before = equality.row_versions(incremental)
        incremental.build(equality.SELECTED)
        assert equality.row_versions(incremental) == before, "a build without news wrote rows"


@contextmanager
def opened(server: Server, directory: Path) -> Iterator[Play]:
    """Two warehouses that have nothing yet."""
    shutil.rmtree(directory, ignore_errors=True)
    made = []
    for name in ("incremental", "full"):
        (directory / name).mkdir(parents=True)
        made.append(Warehouse(Database(server, name), Project.copy(ROOT, directory / name, described=False)))
    kept = Warehouse(Database(server, KEPT), made[0].project, BEGINNING)
    kept.reset()
    with parsed_before(made[0].project):
        kept.build(equality.SELECTED)
    yield lambda seed, played: play_history(made[0], made[1], seed, played)


HISTORIES = Campaign(
    "histories",
    "after any history of answers, corrections, splits, registry, calendar and settings, built step by step equals built at once",
    opened,
)
