"""Reading the warehouse: connections that cannot write, and errors in plain words. No dlt, no dbt: answers in a second."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from urllib.parse import quote

import psycopg
import psycopg.conninfo
from psycopg import errors

from extract.core import database, embedded_server, settings

# The role of `market roles` that may read marts and nothing else; connections of readers take it where they may.
READ_ROLE = "market_read"
STATEMENT_TIMEOUT_MS = 5000
# So many symbols are named to somebody who asked for one that is not there: a registry may have thousands.
MOST_NAMES = 12

NOT_BUILT = (
    "the warehouse is not built yet: run `make extract build`, or `make demo` to see it with data that need no key; while"
    " a full refresh is running, wait for its end"
)


class Unreadable(Exception):
    """The warehouse cannot answer; the message says why and what to do. `is_setting`: a setting has to be changed."""

    def __init__(self, message: str, is_setting: bool = False) -> None:
        super().__init__(message)
        self.is_setting = is_setting


def options(role: str | None = None, timeout_ms: int = STATEMENT_TIMEOUT_MS) -> str:
    """libpq options of a reading connection."""
    chosen = {
        "default_transaction_read_only": "on",
        "statement_timeout": str(timeout_ms),
        "timezone": "UTC",
        # The readers' few statements are prepared once; planning enrichment_status takes longer than running it.
        "plan_cache_mode": "force_generic_plan",
        "jit": "off",
    }
    if role:
        chosen["role"] = role
    return " ".join(f"-c {name}={value}" for name, value in chosen.items())


def dsn() -> str:
    """The warehouse's URL, without making an embedded server where there was never one. Raises Unreadable."""
    if settings.load().pghost is None and not embedded_server.Server(embedded_server.HOME).is_made():
        raise Unreadable(NOT_BUILT)
    return database.url()


def public_url(with_password: bool = False) -> str:
    """The warehouse's URL for other programs: without our sessions' options; instead of the password, the libpq password
    file that holds it, where it is the embedded server's. Raises Unreadable."""
    known = psycopg.conninfo.conninfo_to_dict(dsn())
    address = "postgresql://{}{}@{}:{}/{}".format(
        quote(str(known["user"]), safe=""),
        f":{quote(str(known['password']), safe='')}" if with_password and known.get("password") else "",
        quote(str(known["host"]), safe=":"),
        known["port"],
        quote(str(known["dbname"]), safe=""),
    )
    if with_password or settings.load().pghost is not None:
        return address
    passfile = embedded_server.Server(embedded_server.HOME).passfile
    return f"{address}?passfile={quote(str(passfile))}"


@lru_cache(maxsize=1)
def read_role(url: str) -> str | None:
    """The reading role, if it may read this database and this user may take it. The catalogue is asked once."""
    with psycopg.connect(url) as connection:
        row = connection.execute(
            # A role belongs to the whole server: it may be there for another database.
            """
            select pg_has_role(current_user, roles.oid, 'member')
            from pg_roles as roles
            inner join pg_namespace as schemas on has_schema_privilege(roles.oid, schemas.oid, 'usage')
            where roles.rolname = %s and schemas.nspname = 'marts'
            """,
            (READ_ROLE,),
        ).fetchone()
    return READ_ROLE if row and row[0] else None


@contextmanager
def connected(application: str, timeout_ms: int = STATEMENT_TIMEOUT_MS) -> Iterator[psycopg.Connection]:
    """A connection that can only read. What goes wrong with the warehouse is raised as Unreadable."""
    with plain_errors():
        url = dsn()
        chosen = options(read_role(url), timeout_ms)
        with psycopg.connect(url, options=chosen, application_name=f"market {application}") as connection:
            yield connection


@contextmanager
def plain_errors() -> Iterator[None]:
    """Turn the errors of a database that is not there, not built or not open to us into Unreadable."""
    try:
        yield
    except psycopg.Error as error:
        message = in_plain_words(error)
        if message is None:
            raise
        raise Unreadable(message, isinstance(database.meaning_of(error), settings.ConfigurationError)) from None


def in_plain_words(error: psycopg.Error) -> str | None:
    """What an error means for the reader; None if it is none of the expected ones."""
    if isinstance(error, errors.UndefinedFunction) and "market_data_as_of" in str(error):
        return "this warehouse keeps no history yet: run `make build` with the current models"
    if isinstance(error, errors.UndefinedTable | errors.InvalidSchemaName):
        return NOT_BUILT
    if isinstance(error, errors.UndefinedColumn | errors.UndefinedFunction):
        return f"the warehouse was built by another version ({_first_line(error)}): run `make build`"
    if isinstance(error, errors.QueryCanceled):
        return "the warehouse took too long to answer: ask for less, or again later"
    if isinstance(error, errors.InsufficientPrivilege):
        return f"{_first_line(error)}: an administrator grants the right to read by `market roles`"
    if (meant := database.meaning_of(error)) is not None:
        return str(meant)
    if isinstance(error, psycopg.OperationalError):
        return f"the warehouse does not answer: {_first_line(error)} (`market doctor` looks at it)"
    return None


def _first_line(error: psycopg.Error) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def spelled(symbol: str, known: Iterable[str]) -> str:
    """The symbol as the warehouse spells it: itself, or the one that differs from it in upper and lower case alone."""
    alike = {one for one in known if one.casefold() == symbol.casefold()}
    return alike.pop() if len(alike) == 1 else symbol


def unknown_symbol(symbol: str, known: list[str]) -> str:
    """The message for a symbol that is not in the warehouse, with the nearest ones that are, or what there is at all."""
    near = difflib.get_close_matches(symbol.upper(), known, n=3, cutoff=0.5)
    if near:
        return f"unknown symbol {symbol!r}; did you mean {' or '.join(near)}?"
    if not known:
        return f"unknown symbol {symbol!r}; there is none yet (`market add AAPL BTC`, then `make run`)"
    names = sorted(known)
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return f"unknown symbol {symbol!r}; there are {', '.join(names[:MOST_NAMES])}{more} (`market add` looks others up)"
