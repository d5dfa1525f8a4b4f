"""Why a server refuses a connection, whatever language it speaks.

libpq keeps the SQLSTATE of a refusal to itself: it is in nothing but the trace of what came over the wire. So a refused
connection is tried once more, with that trace. Where libpq has none (it is there on Linux), the words of an English server
have to do.
"""

from __future__ import annotations

import os
import re
import select
from enum import Enum
from time import monotonic

from psycopg.pq import PGconn, Ping, PollingStatus

# A reply in the trace: S "FATAL" V "FATAL" C "53300" M "sorry, too many clients already" ...
_STATE = re.compile(rb'\tErrorResponse\t.*? C "([0-9A-Z]{5})"')
# SQLSTATEs: the server is going down, starting, full, out of memory, or the line broke.
PASSING = re.compile(r"57P0[1-5]|53\d{3}|08\d{3}")
_NO_CONNECTION_LEFT = "53300"
# libpq's own words, of which psycopg brings no other catalogue.
_NONE_GIVEN = "no password supplied"
# The same, then a severity, which is a word of the server's: FATAL in most languages.
_BY_THE_SERVER = re.compile(r"failed: [^\W\d_]+: ")
_FULL = re.compile(r"too many clients|connection slots|too many connections", re.IGNORECASE)
_SOON = re.compile(r"starting up|shutting down|recovery|not yet accepting|not accepting", re.IGNORECASE)


class Refusal(Enum):
    """Why there is no connection."""

    # No server answered; or it did, and took the second attempt.
    NONE = "none"
    # All its connections are taken, by whatever limit.
    FULL = "full"
    # It starts, stops or is out of something.
    SOON = "soon"
    # It does not take us: user, password, database, rights.
    OURS = "ours"


def of(text: str, address: str, seconds: float) -> Refusal:
    """What a refused connection was refused for: its error, on one line, and its address (a URL or what else libpq takes),
    asked once more for so many seconds."""
    if _NONE_GIVEN in text:
        return Refusal.OURS
    if not is_by_the_server(text):
        return Refusal.NONE
    if is_full(text):
        return Refusal.FULL
    if _SOON.search(text) or PGconn.ping(address.encode()) == Ping.REJECT:
        return Refusal.SOON
    state = _state(address, seconds)
    if state is None:
        return Refusal.OURS
    if state == _NO_CONNECTION_LEFT:
        return Refusal.FULL
    return Refusal.SOON if not state or PASSING.fullmatch(state) else Refusal.OURS


def is_by_the_server(text: str) -> bool:
    """Whether a failed connection's error is a server's refusal: else none answered."""
    return _BY_THE_SERVER.search(" ".join(text.split()) + " ") is not None


def is_full(text: str) -> bool:
    """Whether an English server says that it has no connection left."""
    return _FULL.search(text) is not None


def _state(address: str, seconds: float) -> str | None:
    """The SQLSTATE with which the server refuses a connection; "" if it takes it, or says nothing in so many seconds. None
    where libpq writes no trace of it."""
    try:
        # In memory: a password that a server asks for in plain text is in the trace.
        trace = os.memfd_create("libpq trace")
    except (AttributeError, OSError):
        return None
    connection = PGconn.connect_start(address.encode())
    try:
        connection.trace(trace)
        deadline = monotonic() + seconds
        while (status := connection.connect_poll()) in (PollingStatus.READING, PollingStatus.WRITING):
            waiting = select.poll()
            waiting.register(connection.socket, select.POLLIN if status == PollingStatus.READING else select.POLLOUT)
            if not waiting.poll(max(0, deadline - monotonic()) * 1000):
                return ""
        connection.untrace()
        os.lseek(trace, 0, os.SEEK_SET)
        with os.fdopen(os.dup(trace), "rb") as written:
            found = _STATE.findall(written.read())
    finally:
        connection.finish()
        os.close(trace)
    if found:
        return str(found[-1].decode())
    return "" if status == PollingStatus.OK else None
