"""What the stream of forced orders brings: events, messages that nobody documents, and the time for which a connection was
proven to be alive.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import InvalidStatus

from extract.calendar.windows import Window
from extract.core import clock
from extract.load import storable
from extract.load.responses import Answer, BadPayload
from extract.transport import headers
from extract.transport.retry_policy import RETRY_POLICY

# Seconds between two pings, and how long the answer may take.
PING_SECONDS = 10.0

SWITCHING_PROTOCOLS = 101


@dataclass
class Collected:
    """What there is to save: the time watched, the events by Binance's symbol, and messages that nobody documents."""

    watched: list[Window] = field(default_factory=list)
    events: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    bad_messages: list[bytes] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.events or self.bad_messages) or any(start < end for start, end in self.watched)

    def followed_by(self, later: Collected) -> Collected:
        events = {symbol: list(found) for symbol, found in self.events.items()}
        for symbol, found in later.events.items():
            events[symbol] = events.get(symbol, []) + found
        return Collected(self.watched + later.watched, events, self.bad_messages + later.bad_messages)

    @property
    def event_count(self) -> int:
        return sum(len(found) for found in self.events.values())


class Watch:
    """One connection and the time for which it is proven to have been alive."""

    def __init__(self, socket: ClientConnection, collected: list[Window]) -> None:
        self._socket = socket
        self._collected = collected
        self._proven = clock.now()
        self.is_readable = True

    async def prove(self) -> None:
        """Ping, and once that is answered claim the time up to it. Raises TimeoutError, ConnectionClosed."""
        asked_at = clock.now()
        await asyncio.wait_for(await self._socket.ping(), PING_SECONDS)
        if self.is_readable and asked_at >= self._proven:
            self._collected.append((self._proven, asked_at))
            self._proven = asked_at


def answer_of(body: bytes, now: datetime) -> Answer:
    return Answer(now, now, "CLOSED", body, SWITCHING_PROTOCOLS)


def event_of(body: bytes) -> tuple[str, bytes, dict[str, Any]]:
    """The symbol that a message's event is about, what distinguishes it from other events, and the event.

    Raises BadPayload where it is none, or one that cannot be stored: one such would keep all others from being saved.
    """
    storable.check(body)
    try:
        event = orjson.loads(body)["data"]
        order = event["o"]
        if event["e"] == "forceOrder" and isinstance(order["T"], int) and isinstance(order["s"], str):
            # orjson reads deeper nesting than it writes, and says so by a TypeError.
            return order["s"], orjson.dumps(order, option=orjson.OPT_SORT_KEYS), event
    except (orjson.JSONDecodeError, LookupError, TypeError):
        pass
    raise BadPayload(f"not a forceOrder event: {body[:200].decode(errors='replace')}")


def asked_to_wait(problem: InvalidStatus) -> float:
    """The seconds for which a refused handshake asks to be left alone."""
    named = ", ".join(problem.response.headers.get_all("Retry-After"))
    return min(headers.retry_after({"Retry-After": named}), RETRY_POLICY.longest_block)
