"""Leads `dbt` and `sqlfluff` to the warehouse and the settings that `market` uses.

Those two read nothing but the environment. `make setup` runs this module, which writes one line into the .venv's
site-packages; with it, a Python of that .venv that is started as dbt or sqlfluff first fills in what the environment
leaves open: from `.env`, then, where PGHOST is still unset, the address of the embedded server. The password stays in
the file that PGPASSFILE names. Any other program is left alone, so that a PGHOST in its environment is the user's.
"""

from __future__ import annotations

import os
import sysconfig
from pathlib import Path

from extract import session

# Run at the start of every Python of this .venv: it costs the others a microsecond, and imports nothing for them.
HOOK = (
    "import sys; {'dbt', 'sqlfluff', 'dbt.cli.main'} & {word.rpartition('/')[2] for word in sys.orig_argv[:3]}"
    " and __import__('scripts.environment').environment.lead()\n"
)


def hook_file() -> Path:
    """Where Python looks for such lines; its name sorts after the one that makes this checkout importable."""
    return Path(sysconfig.get_path("purelib")) / "market_environment.pth"


def lead() -> None:
    """Complete the environment of this process."""
    read_settings_file()
    lead_to_embedded_server()
    # dbt has no setting for it: libpq reads what a session asks for from here.
    os.environ["PGOPTIONS"] = session.options()


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


if __name__ == "__main__":
    hook_file().write_text(HOOK)
