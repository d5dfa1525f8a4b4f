"""Leads `dbt` and `sqlfluff` to the warehouse and the settings that `market` uses.

Those two read nothing but the environment. `make setup` writes a line into the .venv's site-packages that calls `main`
whenever its Python starts; for dbt and sqlfluff it then fills in what the environment leaves open: first from
`.env`, then, where PGHOST is still unset, with the address of the embedded server. Its password stays in the password
file that PGPASSFILE names. Every other program is left alone, so that a PGHOST in its environment is always the user's.
"""

from __future__ import annotations

import os
import sys

READERS = {"dbt", "sqlfluff", "dbt.cli.main"}


def main() -> None:
    """Act when this Python was started as one of the readers: `dbt …`, `python .venv/bin/dbt …`, `python -m …`."""
    if any(os.path.basename(word) in READERS for word in sys.orig_argv[:3]):
        read_settings_file()
        lead_to_embedded_server()


def read_settings_file() -> None:
    """Put the settings of `.env` into the environment, which wins; as in extract, an empty value counts as unset."""
    from dotenv import dotenv_values

    from scripts.postgres import ROOT

    for name, value in dotenv_values(ROOT / ".env").items():
        if value and not os.environ.get(name.upper()):
            os.environ[name.upper()] = value


def lead_to_embedded_server() -> None:
    """Unless PGHOST names a server, point the PG* variables at the embedded one, if one was ever made here."""
    from scripts.postgres import HOME, Server

    server = Server(HOME)
    if not os.environ.get("PGHOST") and server.is_made():
        os.environ.update({**server.environment(), "PGPASSWORD": "", "PGPASSFILE": str(server.passfile)})
