"""One circuit breaker per source, recorded in `ops.circuit_breaker` across runs.

Three failures (each after its retries) open it for 300 s; then one trial decides. pybreaker holds the logic.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pybreaker
from psycopg import sql

from extract.core import database
from extract.transport.retry_policy import RETRY_POLICY


class PostgresStorage(pybreaker.CircuitBreakerStorage):
    """Reads the state once and writes every change through.

    The run lock keeps other processes from changing it meanwhile; a read per request cost 12 ms each.
    """

    def __init__(self, source: str) -> None:
        super().__init__(source)
        with database.pool().connection() as connection:
            connection.execute("insert into ops.circuit_breaker (source) values (%s) on conflict do nothing", (source,))
            row = connection.execute(
                "select state, failures, successes, opened_at from ops.circuit_breaker where source = %s", (source,)
            ).fetchone()
        assert row is not None
        self._state, self._failures, self._successes, self._opened_at = row

    def _write(self, **values: Any) -> None:
        assignments = sql.SQL(", ").join(sql.SQL("{} = %s").format(sql.Identifier(name)) for name in values)
        statement = sql.SQL("update ops.circuit_breaker set {}, changed_at = now() where source = %s")
        with database.pool().connection() as connection:
            connection.execute(statement.format(assignments), (*values.values(), self.name))

    @property
    def state(self) -> str:
        return str(self._state)

    @state.setter
    def state(self, state: str) -> None:
        self._state = state
        self._write(state=state)

    @property
    def opened_at(self) -> datetime | None:
        return self._opened_at

    @opened_at.setter
    def opened_at(self, instant: datetime) -> None:
        self._opened_at = instant
        self._write(opened_at=instant)

    @property
    def counter(self) -> int:
        return int(self._failures)

    def increment_counter(self) -> None:
        self._failures += 1
        self._write(failures=self._failures)

    def reset_counter(self) -> None:
        if self._failures:
            self._failures = 0
            self._write(failures=0)

    @property
    def success_counter(self) -> int:
        return int(self._successes)

    def increment_success_counter(self) -> None:
        self._successes += 1

    def reset_success_counter(self) -> None:
        self._successes = 0


def make(
    source: str, record: PostgresStorage, not_failures: tuple[type[BaseException], ...]
) -> pybreaker.CircuitBreaker:
    """The breaker of a source with its record; the exceptions named do not count against it."""
    return pybreaker.CircuitBreaker(
        fail_max=RETRY_POLICY.breaker_failures,
        reset_timeout=RETRY_POLICY.breaker_seconds,
        exclude=[GeneratorExit, KeyboardInterrupt, *not_failures],  # type: ignore[arg-type]
        state_storage=record,
        name=source,
        throw_new_error_on_trip=False,
    )
