"""The locks of a warehouse, each with a name of its own, held by one session at a time.

A lock is a row of ops.locks that names the holding session, and an advisory lock of that session with a number drawn for
the occasion. The row needs rights that readers lack, so none of them can take a lock: a plain advisory lock with a known
number is free to everybody who may connect. The advisory lock goes with its connection, so a killed holder leaves none,
and no transaction stays open that would keep vacuum from cleaning for the hours of a run. Whoever is done gives it back
before it closes the connection: the server ends a closed session when it gets to it, and a command that began at once
found the lock of the one before.
"""

from __future__ import annotations

import secrets
from contextlib import suppress
from enum import StrEnum
from typing import LiteralString

import psycopg

# The first of the two numbers of our advisory locks; the second is drawn.
ADVISORY_CLASS = 7421
BIGGEST_KEY = 2**31 - 1


class Lock(StrEnum):
    """Every lock that there is. The check of ops.locks has the same names (a migration)."""

    # extract, run, backfill, prune: whatever loads.
    RUN = "run"
    # The collector of liquidations runs for weeks, next to the runs.
    COLLECTOR = "collector"
    # One transaction each: two at once would insert the same rows.
    ALERTS = "alerts"
    ROLES = "roles"


_WORDS = {Lock.RUN: "run", Lock.COLLECTOR: "collector of liquidations"}


class LockHeld(Exception):
    """Another process holds the lock (exit code 75); the message says which."""


class LockLost(Exception):
    """The session that held the lock has ended (server restarted, session terminated): another run may have begun."""


# Who holds a lock: its row names a session that still holds its number. pg_locks shows all sessions to everybody.
HOLDER: LiteralString = """
select locks.purpose, locks.pid, to_char(locks.held_since at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS')
from ops.locks as locks
inner join pg_locks as held on held.pid = locks.pid and held.objid = cast(locks.key as oid)
inner join pg_database as databases on databases.oid = held.database
where
    locks.name = %(name)s and databases.datname = current_database()
    and held.locktype = 'advisory' and held.granted and held.classid = %(class)s and held.objsubid = 2
"""


class Holder:
    """A lock that this process holds."""

    def __init__(self, connection: psycopg.Connection, lock: Lock, key: int) -> None:
        self._connection, self._lock, self._key = connection, lock, key

    def require(self) -> None:
        """Raise LockLost unless the session that holds the lock is still there."""
        try:
            self._connection.execute("select 1")
        except psycopg.OperationalError as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise LockLost(f"the session that held the lock {self._lock} has ended: {reason}; run it again") from None

    def release(self) -> None:
        """Give the lock back; a session that has ended holds none."""
        with suppress(psycopg.OperationalError):
            self._connection.execute("select pg_advisory_unlock(%s, %s)", (ADVISORY_CLASS, self._key))


def take(connection: psycopg.Connection, lock: Lock, purpose: str) -> Holder:
    """Take a lock until it is released or the connection ends. Raises LockHeld with the holder's purpose, session and start."""
    with connection.transaction():
        take_within(connection, lock)
        if holder := holder_of(connection, lock):
            raise LockHeld(f"another {_WORDS.get(lock, lock)} holds the lock: {holder}")
        key = _advisory_lock(connection)
        connection.execute(
            "update ops.locks set pid = pg_backend_pid(), key = %s, purpose = %s, held_since = clock_timestamp()"
            " where name = %s",
            (key, purpose, lock),
        )
    return Holder(connection, lock, key)


def take_within(connection: psycopg.Connection, lock: Lock) -> None:
    """Take a lock until the end of the connection's transaction; waits for another one's, as long as for any lock. It
    takes the right to write the row, which readers have not."""
    connection.execute("insert into ops.locks (name) values (%s) on conflict do nothing", (lock,))
    connection.execute("select from ops.locks where name = %s for update", (lock,))


def asking_for(lock: Lock) -> dict[str, str | int]:
    """The values of HOLDER."""
    return {"name": lock, "class": ADVISORY_CLASS}


def holder_of(connection: psycopg.Connection, lock: Lock) -> str | None:
    """Who holds a lock, in words; None if nobody does."""
    if connection.execute("select to_regclass('ops.locks')").fetchone() == (None,):
        return None
    row = connection.execute(HOLDER, asking_for(lock)).fetchone()
    return f"{row[0]}, connected since {row[2]} UTC, database session {row[1]}" if row else None


def words_of_timeout(holding: psycopg.Connection, waiting: psycopg.Connection) -> str:
    """What the server says of a lock that was not had in time: one session waits a millisecond for the other's."""
    key = _advisory_lock(holding)
    waiting.execute("set lock_timeout = '1ms'")
    try:
        waiting.execute("select pg_advisory_lock(%s, %s)", (ADVISORY_CLASS, key))
    except psycopg.errors.LockNotAvailable as error:
        return error.diag.message_primary or str(error)
    raise AssertionError("a session was given the lock of another one")


def _advisory_lock(connection: psycopg.Connection) -> int:
    """Take an advisory lock for the session under a number that nobody has."""
    while True:
        key = secrets.randbelow(BIGGEST_KEY)
        if connection.execute("select pg_try_advisory_lock(%s, %s)", (ADVISORY_CLASS, key)).fetchone() == (True,):
            return key
