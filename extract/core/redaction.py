"""The one place where secrets are taken out of text, and the log filter that applies it to every line.

A source may send back what it was sent: a key as it is, percent-encoded, escaped for JSON or HTML, in base64, in other
case, or a part of any of these.
"""

from __future__ import annotations

import base64
import html
import json
import logging
import re
from functools import lru_cache
from urllib.parse import quote, quote_plus

from extract.core import settings

_IN_URL = re.compile(r"(?i)((?:api_?key|signature|crumb|token)=)[^&\s\"']+")
_USER_INFO = re.compile(r"(://[^:/\s@]+:)[^@\s/]+@")
# So many characters of a key in a row are no coincidence. Passwords and URLs may be words that occur elsewhere, too.
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
            for form in sorted(_forms(key), key=len, reverse=True):
                body = body.replace(form.encode(), b"***")
    return body


def _without_patterns(text: str) -> str:
    return _USER_INFO.sub(r"\1***@", _IN_URL.sub(r"\1***", text))


@lru_cache(maxsize=4)
def _whole(secrets: tuple[str, ...]) -> re.Pattern[str] | None:
    """Any of the secrets, in any of its spellings; the longest first, so that none leaves the end of another."""
    found = sorted({form for secret in secrets for form in _forms(secret)}, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, found))) if found else None


def _forms(secret: str) -> set[str]:
    """A secret as it may turn up in texts: as it is, escaped for JSON or HTML, percent-encoded, in base64 (headers)."""
    forms = {secret, json.dumps(secret)[1:-1], html.escape(secret), base64.b64encode(secret.encode()).decode()}
    for encoded in (quote(secret, safe=""), quote(secret), quote_plus(secret)):
        forms |= {encoded, re.sub("%..", lambda code: code[0].lower(), encoded)}
    return forms - {""}


@lru_cache(maxsize=4)
def _pieces(keys: tuple[str, ...]) -> re.Pattern[str] | None:
    """The places where a piece of a key begins, also overlapping ones."""
    forms = {form for key in keys if len(key) >= PIECE for form in _forms(key)}
    pieces = {form[i : i + PIECE].lower() for form in forms for i in range(len(form) - PIECE + 1)}
    return re.compile(f"(?=({'|'.join(map(re.escape, sorted(pieces)))}))", re.IGNORECASE) if pieces else None


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
