"""Everything at once: two runs, a backfill, analysts who leave transactions open, readers of the mart.

A seed draws who comes when. One run holds the lock, the others are refused; no reader waits longer than a second for a lock
(its session has that as its lock_timeout, so that a slow machine is no failure); afterwards one more run, and every table
is its twin's.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from scripts.postgres import Server
from tests.reliability.campaign import Campaign, Play, Played
from tests.reliability.kills import A_DAY_LATER, BEGINNING, REGISTRY, Twin, a_run, twin_of
from tests.reliability.stage import LONGEST_SECONDS, Stage, differences, exit_code, staged

READERS_WAIT = "1s"
QUERIES = (
    "select count(*), max(close) from marts.market_data_v2",
    "select * from marts.market_data_v2 where symbol = 'BTC' and timeframe = '1d' order by timestamp desc limit 100",
    "select * from marts.bar_gaps limit 100",
    "select * from marts.enrichment_status",
    "select * from marts.data_corrections limit 100",
)


@dataclass
class Readers:
    """People and programs that read; `waited`: what they were told when they had waited for too long."""

    stage: Stage
    pick: random.Random
    waited: list[str] = field(default_factory=list)
    answers: int = 0
    is_over: threading.Event = field(default_factory=threading.Event)

    def read(self) -> None:
        """One statement after the other, each a transaction, as the API and a page do."""
        options = f"-c lock_timeout={READERS_WAIT}"
        with psycopg.connect(self.stage.database.dsn, autocommit=True, options=options) as connection:
            while not self.is_over.wait(0.02):
                query = self.pick.choice(QUERIES)
                try:
                    connection.execute(query.encode()).fetchall()
                    self.answers += 1
                except psycopg.Error as problem:
                    self.waited.append(f"{query}: {problem}")

    def analyse(self, seconds: list[float]) -> None:
        """Transactions that stay open, as a notebook leaves them."""
        for length in seconds:
            try:
                with psycopg.connect(self.stage.database.dsn, options=f"-c lock_timeout={READERS_WAIT}") as connection:
                    connection.execute(self.pick.choice(QUERIES).encode()).fetchall()
                    self.is_over.wait(length)
                    connection.execute(QUERIES[0].encode()).fetchall()
                    self.answers += 1
            except psycopg.Error as problem:
                self.waited.append(f"an analyst: {problem}")
            if self.is_over.is_set():
                return


def refused_or_done(work: Callable[[], int]) -> Callable[[], int]:
    """75 where another run holds the lock, as the command says it."""

    def attempt() -> int:
        from extract.core.database import LockHeld

        try:
            return work()
        except LockHeld:
            return 75

    return attempt


def play_together(stage: Stage, twin: Twin, seed: int, played: Played) -> None:
    """One seed; see the module."""
    pick = random.Random(seed)
    stage.reset("beginning")
    stage.at(A_DAY_LATER)
    readers = Readers(stage, pick)
    lengths = [[pick.choice([0.1, 0.5, 3, 8]) for _ in range(200)] for _ in range(2)]
    threads = [threading.Thread(target=readers.read) for _ in range(2)]
    threads += [threading.Thread(target=readers.analyse, args=(one,)) for one in lengths]
    # Forked before there are threads: a child that inherits a lock of one would wait for it for ever.
    stage.manifest()
    children = []
    for _ in range(3):
        children.append(stage.start(refused_or_done(a_run)))
        time.sleep(pick.choice([0, 0.1, 1]))
    for thread in threads:
        thread.start()
    codes = []
    ends_at = time.monotonic() + LONGEST_SECONDS
    try:
        for child, answer in children:
            codes.append(exit_code(child, ends_at))
            os.close(answer)
    finally:
        readers.is_over.set()
        for thread in threads:
            thread.join()
    played.story.append(f"runs ended with {codes}, {readers.answers} answers to readers")
    assert None not in codes, f"a run did not end: {stage.last_words()}"
    assert set(codes) <= {0, 75} and 0 in codes, f"runs ended with {codes}: {stage.last_words()}"
    assert not readers.waited, (
        f"{len(readers.waited)} readers waited for more than {READERS_WAIT}: {readers.waited[:3]}"
    )
    played.counts["answers to readers"] += readers.answers
    played.counts["runs done"] += codes.count(0)
    played.counts["runs refused"] += codes.count(75)
    last = stage.child(a_run)
    assert last.code == 0, f"one more run ended with {last.code}: {stage.last_words()}"
    found = differences(stage.contents(), twin.contents)
    assert not found, "\n".join(found)


@contextmanager
def opened(server: Server, directory: Path) -> Iterator[Play]:
    """The warehouse before a day's news, and what a single run makes of them."""
    with staged(server, directory, REGISTRY, BEGINNING) as stage:
        first = stage.child(a_run)
        assert first.code == 0, f"the first run ended with {first.code}: {stage.last_words()}"
        stage.keep("beginning")
        twin = twin_of(stage, a_run)
        yield lambda seed, played: play_together(stage, twin, seed, played)


TOGETHER = Campaign(
    "together",
    "runs at once, open transactions, readers: one run at a time, no reader waits a second, every table is its twin's",
    opened,
)
