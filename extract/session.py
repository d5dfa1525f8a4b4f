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
    # Compiling a query costs more than our queries on the bars of a day: of a build on stock PostgreSQL 15 (8.3 s of CPU),
    # 2.7 s were spent on it. The embedded server has it off as well.
    "jit": "off",
}


def options(users: str = "", **more: str) -> str:
    """libpq options of a session of ours: SETTINGS, then `more`, then the user's own (PGOPTIONS), which win."""
    ours = " ".join(f"-c {name}={value}" for name, value in {**SETTINGS, **more}.items())
    return users if ours in users else f"{ours} {users}".strip()
