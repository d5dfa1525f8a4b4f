"""What each of our database sessions asks for, whatever is set for its role or server. Imports nothing: dbt's start reads it.

Without it an analyst's open transaction stops a build for ever, and a time limit meant for analysts stops it half-way.
"""

from __future__ import annotations

SETTINGS = {
    # A lock that is not had by then is held by a session that is left open; the message names it.
    "lock_timeout": "60s",
    "statement_timeout": "0",
    # The session that holds the run lock says nothing for hours.
    "idle_session_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    # Drivers read no dates but these, whatever the server's admin likes.
    "datestyle": "ISO",
    # Machine code for a query of 300 expressions takes Postgres 15 to 18 longer than running it ever does: 27 s of CPU for
    # data_corrections without any change, a third of a build of 300,000 bars. The embedded server has it off as well.
    "jit": "off",
}


def options(users: str = "", **more: str) -> str:
    """libpq options of a session of ours: SETTINGS, then `more`, then the user's own (PGOPTIONS), which win."""
    ours = " ".join(f"-c {name}={value}" for name, value in {**SETTINGS, **more}.items())
    return users if ours in users else f"{ours} {users}".strip()
