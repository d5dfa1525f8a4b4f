"""`market unblock SOURCE`: lift what keeps a source from being asked, its block and its open circuit breaker."""

from __future__ import annotations

from extract.core import database, sources
from extract.core.settings import ConfigurationError


def names() -> dict[str, tuple[str, ...]]:
    """The names under which the hosts of each source keep their state; a host that has one of its own is also unblocked
    alone."""
    found = {}
    for source in sources.listed().values():
        found[source.name] = (source.name, *source.hosts)
        found |= {host: (host,) for host in source.hosts}
    return found


def unblock(source: str) -> list[str]:
    """Delete the source's block and close its breaker; says what was lifted, one line each.

    A run that is under way keeps what it knew. Raises ConfigurationError for an unknown source.
    """
    known = names()
    if source not in known:
        raise ConfigurationError(f"unknown source {source!r}; known are {', '.join(known)}")
    lifted = []
    with database.pool().connection() as connection:
        for name in known[source]:
            block = connection.execute(
                "update ops.source_budget set blocked_until = null, changed_at = now()"
                " from (select budget, blocked_until from ops.source_budget where budget = %s for update) as before"
                " where source_budget.budget = before.budget and before.blocked_until > now()"
                " returning to_char(before.blocked_until, 'YYYY-MM-DD HH24:MI:SS')",
                (name,),
            ).fetchone()
            if block:
                lifted.append(f"{name}: may be asked again (it was to be left alone until {block[0]} UTC)")
            breaker = connection.execute(
                "update ops.circuit_breaker set state = 'closed', failures = 0, successes = 0, changed_at = now()"
                " where source = %s and state <> 'closed' returning source",
                (name,),
            ).fetchone()
            if breaker:
                lifted.append(f"{name}: its circuit breaker is closed")
    return lifted
