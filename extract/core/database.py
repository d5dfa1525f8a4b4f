"""The warehouse connection of the extract side: URL, pool, migrations, and what a failed connection or lock means."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from urllib.parse import quote

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg_pool import ConnectionPool, PoolTimeout

from extract import migrations
from extract.core import embedded_server, locks, refusal, session, settings
from extract.core.locks import Holder, Lock
from extract.core.locks import LockHeld as LockHeld
from extract.core.refusal import Refusal

# So many locks of one session are worth a word: each has room for 64 on average, and a build's largest model takes less.
MANY_LOCKS = 500
# Long enough for a server across the world, short enough for somebody who waits for a command.
CONNECT_SECONDS = 10

# Postgres' hint names the setting in every language.
_LOCK_TABLE = "max_locks_per_transaction"
MAKE_ROOM = "close sessions, or raise max_connections, and try again"
# SQLSTATEs: the transaction may not write; the user may not do that; a lock was not had within lock_timeout.
_READ_ONLY = "25006"
_MAY_NOT = "42501"
_LOCK_NOT_AVAILABLE = "55P03"


class Unreachable(Exception):
    """The warehouse's server cannot be used at the moment (exit code 1); the message says why and what to do."""


def session_options(**more: str) -> str:
    """libpq options of a session of ours: what each asks for, then `more`, then PGOPTIONS, which win."""
    return session.options(settings.load().pgoptions, **more)


@lru_cache(maxsize=1)
def url() -> str:
    """The warehouse as a URL, what our sessions ask for included: the server PGHOST names, or else the embedded one,
    started if needed. A server that says nothing is given up: `market status` waited for one for ever."""
    return f"{_address()}?connect_timeout={CONNECT_SECONDS}&options={quote(session_options())}"


def _address() -> str:
    chosen = settings.load()
    if chosen.pghost is None:
        return embedded_server.ensure_running(database=chosen.pgdatabase).dsn(chosen.pgdatabase)
    password = chosen.pgpassword.get_secret_value() if chosen.pgpassword else _password_of_libpq(chosen)
    user, password, host = (quote(part, safe="") for part in (chosen.pguser, password, chosen.pghost))
    return f"postgresql://{user}:{password}@{host}:{chosen.pgport}/{quote(chosen.pgdatabase, safe='')}"


def _as_refused() -> str:
    """Where we connect to, in libpq's form: without a password there is no URL, as dlt insists on one."""
    chosen = settings.load()
    if chosen.pghost is None:
        return url()
    return make_conninfo(
        host=chosen.pghost,
        port=chosen.pgport,
        user=chosen.pguser,
        password=chosen.pgpassword.get_secret_value() if chosen.pgpassword else None,
        dbname=chosen.pgdatabase,
        options=session_options(),
    )


def _password_of_libpq(chosen: settings.Settings) -> str:
    """The password from a password file; a placeholder where the server asks for none, because dlt insists on one."""
    with psycopg.connect(
        host=chosen.pghost,
        port=chosen.pgport,
        user=chosen.pguser,
        dbname=chosen.pgdatabase,
        connect_timeout=CONNECT_SECONDS,
    ) as connection:
        return connection.info.password or "none"


@lru_cache(maxsize=1)
def pool() -> ConnectionPool:
    """Connections for state and budgets. Unqualified names mean schema `ops` (the rate limiter's tables)."""
    # The pool itself would try for half a minute, and then not say what is wrong.
    psycopg.connect(url()).close()
    return ConnectionPool(
        url(),
        min_size=1,
        max_size=8,
        open=True,
        # A session that was terminated while it waited in the pool is replaced, not handed out.
        check=ConnectionPool.check_connection,
        kwargs={"options": session_options(search_path="ops,public", timezone="UTC")},
    )


def meaning_of(error: BaseException) -> Unreachable | settings.ConfigurationError | None:
    """What an error, or the one that it came of, means where it is the server's: Unreachable where it passes by itself,
    ConfigurationError where somebody has to change a setting; None where it is none of these."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        # psycopg, and psycopg2 under dlt, whose exceptions have other classes and the same states.
        state = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
        if state == _READ_ONLY:
            return settings.ConfigurationError(
                "the server lets nobody write (a standby, or default_transaction_read_only is on): point PGHOST at the"
                " primary, or switch that off for this user"
            )
        if state == _MAY_NOT:
            return settings.ConfigurationError(
                f"user {settings.load().pguser} has not the rights for this ({_one_line(cause)}): run `market roles` as an"
                " administrator, which says how to give them"
            )
        if state == _LOCK_NOT_AVAILABLE:
            return Unreachable(f"a lock was not to be had in time ({_one_line(cause)}): {blocking_sessions()}")
        if isinstance(cause, PoolTimeout):
            return _of_the_pool(cause)
        if has_no_lock_left(str(cause)):
            return _without_locks(_one_line(cause))
        if state and refusal.PASSING.fullmatch(state):
            return _passing(_one_line(cause))
        # A connection that was refused or not had in time (a subclass) has no state.
        if not state and any(kind.__name__ == "OperationalError" for kind in type(cause).__mro__):
            return _of_connecting(_one_line(cause))
        cause = cause.__cause__ or cause.__context__
    return None


def _of_the_pool(error: PoolTimeout) -> Unreachable | settings.ConfigurationError:
    """The pool keeps to itself why it could not connect: another connection says it."""
    try:
        psycopg.connect(url()).close()
    except psycopg.OperationalError as cause:
        return _of_connecting(_one_line(cause))
    return _passing(_one_line(error))


def has_no_lock_left(text: str) -> bool:
    """Whether a server's refusal says that its table of locks, which all sessions share, is full."""
    return _LOCK_TABLE in text


def _without_locks(text: str) -> Unreachable:
    return Unreachable(f"the server has no lock left ({text}): {sessions_with_most_locks()}")


def _passing(text: str) -> Unreachable:
    if refusal.is_full(text):
        return _full(text)
    return Unreachable(f"the warehouse does not answer: {text} (`market doctor` looks at it)")


def _full(text: str) -> Unreachable:
    return Unreachable(f"the warehouse has no free connection ({text}): {MAKE_ROOM}")


def _of_connecting(text: str) -> Unreachable | settings.ConfigurationError:
    """What a failed connection means: a refusal by a server that runs is about our settings, unless it passes."""
    if has_no_lock_left(text):
        return _without_locks(text)
    chosen = settings.load()
    where = f"{chosen.pghost}:{chosen.pgport}" if chosen.pghost else "the embedded server"
    reason = refusal.of(text, _as_refused(), CONNECT_SECONDS)
    if reason is Refusal.OURS:
        return settings.ConfigurationError(
            f"{where} refuses user {chosen.pguser}, database {chosen.pgdatabase}: {text}: correct PGUSER, PGPASSWORD,"
            " PGDATABASE or PGOPTIONS, or create that database: createdb "
            f"{shlex.quote(chosen.pgdatabase)}"
        )
    if reason is Refusal.FULL:
        return _full(text)
    return Unreachable(
        f"the warehouse does not answer at {where}: {text} (is it running? PGHOST and PGPORT say where it is; `market doctor`"
        " looks at it)"
    )


def _one_line(error: BaseException) -> str:
    return " ".join((str(error).strip() or type(error).__name__).split())


def migrate() -> list[migrations.Migration]:
    """Bring schemas `ops` and `raw_*` to the version of this product; returns the migrations that were applied.

    Raises ConfigurationError where the user may not.
    """
    with pool().connection() as connection:
        return migrations.migrate(connection)


@contextmanager
def held(lock: Lock, purpose: str) -> Iterator[Holder]:
    """Hold a lock until the end of the block; it goes with the connection, so a killed process leaves none behind.

    Raises LockHeld with the holder's purpose, process, session and start.
    """
    name = f"market {purpose} (process {os.getpid()})"
    with psycopg.connect(url(), autocommit=True, application_name=name) as connection:
        if connection.execute("select to_regclass('ops.locks')").fetchone() == (None,):
            migrate()
        holder = locks.take(connection, lock, name)
        try:
            yield holder
        finally:
            holder.release()


@contextmanager
def run_lock(purpose: str) -> Iterator[Holder]:
    """Hold the lock of whatever loads: extract, run, backfill and prune exclude each other by it. Raises LockHeld."""
    with held(Lock.RUN, purpose) as holder:
        yield holder


def lock_holder(connection: psycopg.Connection) -> str | None:
    """Who holds that lock, in words; None if nobody does."""
    return locks.holder_of(connection, Lock.RUN)


def blocking_sessions() -> str:
    """Which sessions hold locks on our relations, in words; asked right after a lock was not had in time."""
    with suppress(psycopg.Error), psycopg.connect(url()) as connection:
        if connection.execute("select to_regclass('ops.blocking_sessions')").fetchone() != (None,):
            found = connection.execute(
                "select description from ops.blocking_sessions order by xact_start nulls last, pid limit 5"
            ).fetchall()
            return "; ".join(row[0] for row in found) or "the session that held it has ended meanwhile: try again"
    return "look at pg_stat_activity for the session that holds it"


def words_of_lock_timeout() -> str:
    """What the server says, in its own language, of a lock that was not had in time: dbt hands over the words alone."""
    with suppress(psycopg.Error), psycopg.connect(url()) as holding, psycopg.connect(url()) as waiting:
        return locks.words_of_timeout(holding, waiting)
    return "lock timeout"


def sessions_with_most_locks() -> str:
    """Which sessions fill the server's table of locks, in words, and what to do. Where it is quite full nobody can connect."""
    reported = []
    with suppress(psycopg.Error), psycopg.connect(url()) as connection:
        found = connection.execute(
            "select activity.pid, concat_ws(', ', activity.usename, nullif(activity.application_name, ''), activity.state),"
            " count(*) from pg_locks as locks inner join pg_stat_activity as activity on activity.pid = locks.pid"
            " where activity.pid <> pg_backend_pid() group by 1, 2 order by 3 desc, 1 limit 3"
        ).fetchall()
        reported = [
            f"session {pid} ({who}) holds {number}: let it end, or end it with select pg_terminate_backend({pid})"
            for pid, who, number in found
            if number >= MANY_LOCKS
        ]
    return "; ".join([*reported, f"end what other programs have left open, or raise {_LOCK_TABLE}, and try again"])
