"""Leads `dbt` and `sqlfluff` to the warehouse and the settings that `market` uses.

Those two read nothing but the environment. `make setup` runs this module, which writes one line into the .venv's
site-packages; with it, a Python of that .venv that is started as dbt or sqlfluff first fills in what the environment
leaves open: from `.env`, then, where PGHOST is still unset, the address of the embedded server. The password stays in
the file that PGPASSFILE names. Any other program is left alone, so that a PGHOST in its environment is the user's.
"""

from __future__ import annotations

import os
import sysconfig
import warnings
from pathlib import Path

from extract.core import session

# Run at the start of every Python of this .venv: it costs the others a microsecond, and imports nothing for them.
HOOK = (
    "import sys; {'dbt', 'sqlfluff', 'dbt.cli.main'} & {word.rpartition('/')[2] for word in sys.orig_argv[:3]}"
    " and __import__('scripts.environment').environment.configure_environment()\n"
)


HOOK_FILE = "market_environment.pth"


def hook_file() -> Path:
    """Where Python looks for such lines; its name sorts after the one that makes this checkout importable."""
    return Path(sysconfig.get_path("purelib")) / HOOK_FILE


def configure_environment() -> None:
    """Complete the environment of this process."""
    # Of a library of dlt's, about a faster part that it no longer uses: two lines before all that dbt says.
    warnings.filterwarnings("ignore", message=r"sqlglot\[rs\]")
    make_registry()
    read_settings_file()
    use_embedded_server()
    # dbt has no setting for it: libpq reads what a session asks for from here.
    os.environ["PGOPTIONS"] = session.options(os.environ.get("PGOPTIONS", ""))
    if os.environ.get("LOG_FORMAT") == "json":
        os.environ.setdefault("DBT_LOG_FORMAT", "json")
    keep_the_clock_of_the_demo()


def make_registry() -> None:
    """The registry is a seed that dbt needs, and a fresh clone has only its example."""
    from extract.symbols import registry_file

    registry_file.ensure()


def read_settings_file() -> None:
    """Put the settings of `.env` into the environment, which wins; as in extract, an empty value counts as unset."""
    from dotenv import dotenv_values

    from extract.core.places import ROOT

    for name, value in dotenv_values(ROOT / ".env").items():
        if value and not os.environ.get(name.upper()):
            os.environ[name.upper()] = value


def use_embedded_server() -> None:
    """Unless PGHOST names a server, point the PG* variables at the embedded one, if one was ever made here. It has the
    database that PGDATABASE names, made if it is missing."""
    from extract.core.embedded_server import DATABASE, HOME, Server, chosen_database

    server = Server(HOME)
    if os.environ.get("PGHOST") or not server.is_made():
        return
    database = chosen_database()
    if database != DATABASE and server.is_running():
        server.create_database(database)
    os.environ.update({**server.environment(database), "PGPASSWORD": "", "PGPASSFILE": str(server.passfile)})


def keep_the_clock_of_the_demo() -> None:
    """A database that `make demo` filled has a present of its own: a build that took the real one would find all of it
    thirteen years stale. WAREHOUSE_NOW outranks it. A server that does not answer is dbt's to report."""
    if os.environ.get("WAREHOUSE_NOW") or not os.environ.get("PGHOST"):
        return
    import psycopg

    from extract.core import provenance

    try:
        # The address is in the PG* variables; dbt's name for the database where there is none.
        with psycopg.connect(dbname=os.environ.get("PGDATABASE") or "market", connect_timeout=3) as connection:
            at = provenance.clock(connection)
    except psycopg.Error:
        return
    if at:
        os.environ["WAREHOUSE_NOW"] = at


if __name__ == "__main__":
    hook_file().write_text(HOOK)
    make_registry()
