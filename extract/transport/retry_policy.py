"""How long the pipeline waits for a source, in seconds. One object, so that tests can shrink it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class RetryPolicy:
    backoff: tuple[float, ...] = (30, 60, 120)
    # A Retry-After longer than this defers the task to a later run instead of keeping a worker asleep.
    longest_wait: float = 120
    # However long a source asks to be left alone, a daily run asks it again; a header of a year was a proxy's mistake.
    longest_block: float = 12 * 3600
    # Binance's longest ban (HTTP 418).
    longest_ban: float = 3 * 86_400
    connect: float = 10
    read: float = 30
    # For all of an answer, however slowly it drips.
    whole: float = 60
    breaker_failures: int = 3
    breaker_seconds: float = 300


RETRY_POLICY = RetryPolicy()
