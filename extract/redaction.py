"""The one place where secrets are taken out of text, and the log filter that applies it to every line.

A source may send back what it was sent: a key as it is, percent-encoded, escaped for JSON or HTML, or a part of it.
"""

from __future__ import annotations

import html
import json
import logging
import re
from functools import lru_cache
from urllib.parse import quote, quote_plus

from extract import settings

_IN_URL = re.compile(r"(?i)((?:api_?key|signature|crumb|token)=)[^&\s\"']+")
_USER_INFO = re.compile(r"(://[^:/\s@]+:)[^@\s/]+@")
# So many characters of a key in a row are no coincidence. Passwords and URLs are words that occur elsewhere, too.
PIECE = 8


def redact(text: str) -> str:
    """The text without keys, passwords and tokens."""
    try:
        chosen = settings.load()
    except settings.ConfigurationError:
        # Its message is redacted like any other, and nothing was asked with the keys yet.
        return _without_patterns(text)
    whole = _whole(tuple(chosen.secrets()))
    text = whole.sub("***", text) if whole else text
    pieces = _pieces(tuple(chosen.random_secrets()))
    if pieces:
        text = _without(text, pieces)
    return _without_patterns(text)


def redact_body(body: bytes) -> bytes:
    """A good answer without the keys that it was asked with; it is not looked through for parts of them."""
    for key in settings.load().random_secrets():
        if len(key) >= PIECE:
            for form in {key, quote(key, safe="")}:
                body = body.replace(form.encode(), b"***")
    return body


def _without_patterns(text: str) -> str:
    return _USER_INFO.sub(r"\1***@", _IN_URL.sub(r"\1***", text))


@lru_cache(maxsize=4)
def _whole(secrets: tuple[str, ...]) -> re.Pattern[str] | None:
    """Any of the secrets, in any of its spellings; the longest first, so that none leaves the end of another."""
    forms: set[str] = set()
    for secret in secrets:
        forms |= {secret, json.dumps(secret)[1:-1], html.escape(secret)}
        for encoded in (quote(secret, safe=""), quote(secret), quote_plus(secret)):
            forms |= {encoded, re.sub("%..", lambda code: code[0].lower(), encoded)}
    found = sorted(filter(None, forms), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, found))) if found else None


@lru_cache(maxsize=4)
def _pieces(keys: tuple[str, ...]) -> re.Pattern[str] | None:
    """The places where a piece of a key begins, also overlapping ones."""
    pieces = {key[i : i + PIECE] for key in keys for i in range(len(key) - PIECE + 1)}
    return re.compile(f"(?=({'|'.join(map(re.escape, sorted(pieces)))}))") if pieces else None


def _without(text: str, pieces: re.Pattern[str]) -> str:
    kept: list[str] = []
    done = 0
    for found in pieces.finditer(text):
        if found.start() > done or not kept:
            kept.append(text[done : found.start()])
        done = found.start() + PIECE
    return "***".join([*kept, text[done:]]) if kept else text


class RedactingFormatter(logging.Formatter):
    """Formats a record, traceback included, then redacts it."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))
