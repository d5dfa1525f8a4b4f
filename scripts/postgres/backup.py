"""`market backup` and `market restore`: what cannot be made again, in one file, and back into a database.

Data flow: raw_*, ops, snapshots -> pg_dump (custom format) -> FILE -> pg_restore -> SQL -> psql -> a database -> dbt build.

What is in `staging`, `intermediate` and `marts` follows from these three, so it is not in the file. The programs are those
of the embedded server (or PG_BIN), which are there on every machine and as new as any server we support.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql

from extract import migrations
from extract.core import clock, database, provenance, settings, sources
from extract.core.settings import ConfigurationError
from scripts.postgres import binaries

SCHEMAS = ("raw_*", "ops", "snapshots")
# Session settings that newer programs write and servers before 17 do not know.
_UNKNOWN_BEFORE_17 = re.compile(rb"^SET transaction_timeout = .*$", re.MULTILINE)


class BackupFailed(Exception):
    """A program of Postgres did not do its work (exit code 1); the message is what it reported."""


def backup(file: Path | None = None) -> Path:
    """Dump what must be kept into a file, by default a new one in .warehouse/backups; returns it.

    Readers and runs go on meanwhile: the dump is of one instant. Raises BackupFailed, and ConfigurationError where the
    file is there already or nothing was ever loaded.
    """
    if file is None:
        folder = settings.project_directory() / ".warehouse" / "backups"
        name = re.sub(r"[^A-Za-z0-9_-]+", "_", settings.load().pgdatabase)
        file = folder / f"{name}-{clock.now():%Y%m%dT%H%M%SZ}.dump"
    if file.exists():
        raise ConfigurationError(f"{file} is there already: name another file")
    with psycopg.connect(database.url()) as connection:
        if not provenance.holds_answers(connection):
            raise ConfigurationError(f"database {connection.info.dbname} holds no answers: there is nothing to keep")
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_name(file.name + ".unfinished")
    schemas = [word for schema in SCHEMAS for word in ("--schema", schema)]
    with _address(settings.load().pgdatabase) as environment:
        _run(["pg_dump", "--format", "custom", *schemas, "--file", str(unfinished)], environment)
    unfinished.rename(file)
    return file


def restore(file: Path, name: str | None = None) -> str:
    """Fill a database from a dump, by default the one that PGDATABASE names; made if it is missing. Returns what is in
    it, in words.

    Raises ConfigurationError for a file that is no dump and for a database that holds answers, BackupFailed otherwise. A
    database that this made and could not fill is dropped again.
    """
    chosen = name or settings.load().pgdatabase
    if not file.exists():
        raise ConfigurationError(f"{file} is not there")
    with _address("postgres") as environment:
        try:
            _run(["pg_restore", "--list", str(file)], environment)
        except BackupFailed as problem:
            raise ConfigurationError(f"{file} is no dump of `market backup`: {problem}") from None
    is_new = _create(chosen)
    try:
        with _address(chosen) as environment, tempfile.TemporaryDirectory() as directory:
            script = Path(directory) / "restore.sql"
            _run(["pg_restore", "--no-owner", "--no-privileges", "--file", str(script), str(file)], environment)
            _leave_out_unknown_settings(script)
            once = ["--single-transaction", "--set", "ON_ERROR_STOP=1"]
            _run(["psql", "--no-psqlrc", "--quiet", *once, "--file", str(script)], environment)
        with _connected(chosen) as connection:
            migrations.migrate(connection)
            answers = _count(connection)
    except BaseException:
        if is_new:
            with _connected("postgres", autocommit=True) as connection:
                connection.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(chosen)))
        raise
    return f"{answers:,} answers are in database {chosen}; now PGDATABASE={_quoted(chosen)} make build"


def _count(connection: psycopg.Connection) -> int:
    """How many answers there are; 0 is an error of the dump."""
    found = 0
    for schema in sources.schemas():
        if connection.execute("select to_regclass(%s)", (f"{schema}.responses",)).fetchone() != (None,):
            row = connection.execute(f"select count(*) from {schema}.responses").fetchone()
            found += row[0] if row else 0
    if not found:
        raise BackupFailed("the dump holds no answers")
    return found


def _create(name: str) -> bool:
    """Make the database unless it is there; returns whether it was made. Raises ConfigurationError if it is in use."""
    with _connected("postgres", autocommit=True) as connection:
        if not connection.execute("select 1 from pg_database where datname = %s", (name,)).fetchone():
            # Where a server was set up without a locale, its own template has no encoding.
            creating = sql.SQL("create database {} template template0 encoding 'UTF8'")
            connection.execute(creating.format(sql.Identifier(name)))
            return True
    with _connected(name) as connection:
        row = connection.execute(
            "select count(*) from pg_namespace where nspname ~ '^(raw_|ops$|snapshots$)'"
        ).fetchone()
        if row and row[0]:
            raise ConfigurationError(
                f"database {name} has schemas of a warehouse: name another one, e.g. --database {_quoted(name + '_new')}"
            )
    return False


@contextmanager
def _connected(name: str, autocommit: bool = False) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database.url(), dbname=name, autocommit=autocommit) as connection:
        yield connection


@contextmanager
def _address(name: str) -> Iterator[dict[str, str]]:
    """The environment that leads Postgres's programs to a database of our server; the password is in no argument."""
    info = psycopg.conninfo.conninfo_to_dict(database.url())
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PG")}
    environment |= {"PGDATABASE": name, "PGTZ": "UTC", "PGCLIENTENCODING": "UTF8"}
    for variable, part in (("PGHOST", "host"), ("PGPORT", "port"), ("PGUSER", "user"), ("PGPASSWORD", "password")):
        environment[variable] = str(info[part])
    yield environment


def _leave_out_unknown_settings(script: Path) -> None:
    """What the head of a script sets and an older server would stumble over; only the head is looked at."""
    with psycopg.connect(database.url()) as connection:
        if connection.info.server_version >= 170_000:
            return
    head_bytes = 10_000
    with script.open("r+b") as file:
        head = file.read(head_bytes)
        # Blanks of the same length: the rest of a large file stays where it is.
        blanked = _UNKNOWN_BEFORE_17.sub(lambda found: b" " * len(found[0]), head)
        file.seek(0)
        file.write(blanked)


def _run(command: list[str], environment: dict[str, str]) -> None:
    program = binaries() / command[0]
    done = subprocess.run(
        [str(program), *command[1:]], env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    if done.returncode:
        raise BackupFailed(f"{command[0]}: {' '.join(done.stderr.split())[:500]}")


def _quoted(name: str) -> str:
    return name if re.fullmatch(r"\w+", name) else f'"{name}"'
