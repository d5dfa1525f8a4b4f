"""How long the pipeline waits for a source, in seconds. One object, so that tests can shrink it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Patience:
    backoff: tuple[float, ...] = (30, 60, 120)
    # A Retry-After longer than this defers the task to a later run instead of keeping a worker asleep.
    longest_wait: float = 120
    connect: float = 10
    read: float = 30
    breaker_failures: int = 3
    breaker_seconds: float = 300


PATIENCE = Patience()
