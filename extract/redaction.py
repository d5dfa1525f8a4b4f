"""The one place where secrets are taken out of text, and the log filter that applies it to every line."""

from __future__ import annotations

import logging
import re

from extract import settings

_IN_URL = re.compile(r"(?i)((?:api_?key|signature|crumb|token)=)[^&\s\"']+")
_USER_INFO = re.compile(r"(://[^:/\s@]+:)[^@\s/]+@")


def redact(text: str) -> str:
    """The text without keys, passwords and tokens."""
    try:
        secrets = settings.load().secrets()
    except settings.ConfigurationError:
        # Its message is redacted like any other, and nothing was asked with the keys yet.
        secrets = []
    for secret in secrets:
        text = text.replace(secret, "***")
    return _USER_INFO.sub(r"\1***@", _IN_URL.sub(r"\1***", text))


class RedactingFormatter(logging.Formatter):
    """Formats a record, traceback included, then redacts it."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))
