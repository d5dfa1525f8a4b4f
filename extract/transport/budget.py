"""What each source still allows, recorded across processes in schema `ops`.

Polygon: a fixed number of requests a minute, counted by us (it sends no quota header).
Binance: a weight a minute, counted by Binance and reported in a header.
All: the instant before which a source wants no request at all (429 with a long Retry-After, 418).
"""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

from psycopg import sql
from pyrate_limiter import Duration, Limiter, PostgresBucket, Rate, SingleBucketFactory

from extract.core import database

# The part of a minute's weight we use: other programs may share the address.
WEIGHT_SHARE = 0.9
# Seconds between two looks whether a request may go.
BETWEEN_TRIES = 0.5
# How the rate limiter's table is named before the source; tests/extract/test_libraries.py notices another name.
TABLE = "ratelimit___"


class Spent(Exception):
    """The budget has no room for a request that does not want to wait."""


class Budget(Protocol):
    """Something that makes a request wait until it may go; one that may not wait gets `Spent` instead."""

    def wait(self, weight: int = 1, may_wait: bool = True) -> None: ...

    def remaining(self) -> int: ...


class Block:
    """The instant until which a source has asked us to stay away."""

    def __init__(self, source: str) -> None:
        self._source = source
        with database.pool().connection() as connection:
            row = connection.execute(
                "select blocked_until from ops.source_budget where budget = %s", (source,)
            ).fetchone()
        self._until: datetime | None = row[0] if row else None

    @property
    def until(self) -> datetime | None:
        """None when the source may be asked."""
        return self._until if self._until and self._until > datetime.now(UTC) else None

    def set(self, seconds: float) -> datetime:
        self._until = datetime.now(UTC) + timedelta(seconds=seconds)
        with database.pool().connection() as connection:
            connection.execute(
                "insert into ops.source_budget (budget, blocked_until) values (%(budget)s, %(until)s)"
                " on conflict (budget) do update set blocked_until = %(until)s, changed_at = now()",
                {"budget": self._source, "until": self._until},
            )
        return self._until


class RequestsPerMinute:
    """At most `allowed` requests in any 60 s, over all processes that share the warehouse."""

    def __init__(self, source: str, allowed: int) -> None:
        self._source, self._allowed = source, allowed
        self._bucket = PostgresBucket(database.pool(), source, [Rate(allowed, Duration.MINUTE)])
        # Old entries go once per run; the library's own thread for it would outlive the pool.
        self._limiter = Limiter(SingleBucketFactory(self._bucket, schedule_leak=False))
        self._bucket.leak(int(self._bucket.now()))  # type: ignore[no-untyped-call]
        # One thread at a time: the bucket answers contention with a refusal.
        self._lock = threading.Lock()
        self._queue = threading.Lock()

    def wait(self, weight: int = 1, may_wait: bool = True) -> None:
        if self._try():
            return
        if not may_wait:
            raise Spent(f"the budget of {self._allowed} requests a minute for {self._source} is spent")
        # Only the first in the queue keeps trying.
        with self._queue:
            while not self._try():
                time.sleep(BETWEEN_TRIES)

    def _try(self) -> bool:
        with self._lock:
            return bool(self._limiter.try_acquire("request", blocking=False))

    def remaining(self) -> int:
        """What is left of the current minute."""
        with database.pool().connection() as connection:
            row = connection.execute(
                sql.SQL("select count(*) from {} where item_timestamp > now() - interval '60 seconds'").format(
                    sql.Identifier(TABLE + self._bucket.table)
                )
            ).fetchone()
        assert row is not None
        return max(0, self._allowed - int(row[0]))


class WeightPerMinute:
    """Keeps under the weight an exchange allows per clock minute, going by the weight it says we have used."""

    def __init__(self, budget: str, allowed: int) -> None:
        self._budget, self._allowed = budget, allowed
        self._lock = threading.Lock()
        with database.pool().connection() as connection:
            row = connection.execute(
                "select extract(epoch from window_started_at), used from ops.source_budget where budget = %s", (budget,)
            ).fetchone()
        self._minute, self._used = (int(row[0]) // 60, int(row[1])) if row and row[0] is not None else (0, 0)

    def wait(self, weight: int = 1, may_wait: bool = True) -> None:
        while True:
            with self._lock:
                minute = int(time.time()) // 60
                if minute != self._minute:
                    self._minute, self._used = minute, 0
                if self._used + weight <= self._allowed * WEIGHT_SHARE or self._used == 0:
                    self._used += weight
                    return
            if not may_wait:
                raise Spent(f"the weight of {self._allowed} a minute for {self._budget} is spent")
            time.sleep(60 - time.time() % 60 + 0.1)

    def observe(self, used: int) -> None:
        """Take over the exchange's own count; the database learns it only when it begins to matter.

        One far above what is allowed is none: we would have been refused before.
        """
        if used > 2 * self._allowed:
            return
        with self._lock:
            self._used = max(self._used, used)
            minute = self._minute
        if used > self._allowed / 2:
            with database.pool().connection() as connection:
                connection.execute(
                    "insert into ops.source_budget (budget, used, allowed, window_started_at)"
                    " values (%(budget)s, %(used)s, %(allowed)s, to_timestamp(%(minute)s))"
                    " on conflict (budget) do update set used = %(used)s, allowed = %(allowed)s,"
                    " window_started_at = to_timestamp(%(minute)s), changed_at = now()",
                    {"budget": self._budget, "used": used, "allowed": self._allowed, "minute": minute * 60},
                )

    def remaining(self) -> int:
        return max(0, self._allowed - self._used)
