"""What a symbol is called at a source: the answers of `lookup.py` of the providers' folders, and how they are asked for."""

from __future__ import annotations

import difflib
import logging
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

import orjson

from extract.transport import http

log = logging.getLogger(__name__)
NEAREST = 3


class Unasked(Exception):
    """A source did not answer; the message says why."""


@dataclass(frozen=True)
class Listing:
    """A name at a source. `column` is the registry's; `since` the first day with bars, where the source reports it."""

    column: str
    name: str
    asset_class: str
    description: str
    since: date | None = None
    # Of its sessions, where the source says where it trades.
    calendar: str | None = None


@dataclass
class Found:
    """What the sources know: listings and nearest names by symbol, and why a source could not be asked."""

    listings: dict[str, list[Listing]] = field(default_factory=dict)
    nearest: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    unasked: dict[str, str] = field(default_factory=dict)


@dataclass
class Answers:
    """What one source knows: listings and nearest names by symbol."""

    listings: dict[str, list[Listing]] = field(default_factory=dict)
    nearest: dict[str, list[str]] = field(default_factory=dict)


def once(source: http.Source, what: str, send: Callable[[], http.Response]) -> http.Response:
    """One answer. Raises Unasked where the source is not to be asked, or does not answer."""
    if not source.is_available:
        raise Unasked(f"{what} is left alone after refusals (`market unblock {source.name}` ends it)")
    try:
        return source.checked(send())
    except http.Deferred as problem:
        until = source.block.set(problem.seconds)
        raise Unasked(f"{what} asks to wait until {until:%Y-%m-%d %H:%M} UTC") from None
    except http.Unavailable as problem:
        raise Unasked(f"{what} answers {problem}") from None
    except OSError as problem:
        raise Unasked(f"{what} does not answer: {_reason(problem)}") from None


# What the texts of requests, urllib3 and curl have in common, whatever wraps them; and what it means.
_REASONS = {
    "timed out|timeout": "it took too long",
    "name or service|name resolution|resolve|getaddrinfo|nodename": "its name is not known here (is this machine online?)",
    "refused|connect to": "the connection is refused (is it down, or its base URL set wrongly?)",
    "certificate|ssl|tls": "no secure connection to it (a proxy between, or an old set of certificates?)",
    "proxy": "the proxy does not lead there",
    "unreachable|no route": "no way leads there (is this machine online?)",
    "reset|aborted|closed|broken|empty reply": "it broke the connection off",
}


def _reason(problem: OSError) -> str:
    """Why the network failed, in words: the libraries' own texts are of their insides."""
    text = f"{type(problem).__name__} {problem}".lower()
    return next((words for signs, words in _REASONS.items() if re.search(signs, text)), type(problem).__name__)


def document_of(response: http.Response, what: str) -> Any:
    """The JSON of an answer. Raises Unasked where it is none."""
    try:
        return orjson.loads(response.content)
    except orjson.JSONDecodeError:
        raise Unasked(f"{what} answers something else than JSON (HTTP {response.status_code})") from None


def day_of(value: object, unit: float) -> date | None:
    """A day of so many units since 1970; sources write 0 or nothing where they do not know it."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value == 0:
        return None
    try:
        return datetime.fromtimestamp(value / unit, UTC).date()
    except (ValueError, OverflowError, OSError):
        return None


def iso_day(value: object) -> date | None:
    """A day written as ISO-8601; None of anything else."""
    try:
        return date.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None


def near(symbol: str, names: Iterable[str]) -> list[str]:
    """The names most like a symbol, best first."""
    return difflib.get_close_matches(symbol.upper(), list(dict.fromkeys(names)), n=NEAREST, cutoff=0.5)
