"""The log of every command: lines with UTC time, level and run, or JSON objects; secrets are taken out of both.

Records may carry `source` and `symbol` (`log.info(..., extra={"symbol": "BTC"})`); the run's id is set once for all.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from types import TracebackType

from extract.core import settings
from extract.core.redaction import RedactingFormatter, redact

# Libraries that log what we say ourselves, or what nobody can act on.
NOISY = ("dlt", "apprise", "yfinance", "urllib3", "pyrate_limiter", "psycopg", "py.warnings")
FIELDS = ("source", "symbol", "timeframe", "step")

_run_id: str | None = None


class _RunFilter(logging.Filter):
    """Gives each record the id of the run it belongs to."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.run_id = _run_id
        record.run = f" [{_run_id[:8]}]" if _run_id else ""
        return True


class JsonFormatter(logging.Formatter):
    """One JSON object per line, traceback included."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as a line: time with its zone, level, logger, message, run_id, and what else is known."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": redact(record.getMessage()),
            "run_id": getattr(record, "run_id", None),
        }
        line |= {name: value for name in FIELDS if (value := getattr(record, name, None)) is not None}
        if record.exc_info:
            line["traceback"] = redact(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False, default=str)


def configure() -> None:
    """Set up the log of this process, on stderr, in the form that LOG_FORMAT names."""
    try:
        is_json = settings.load().log_format == "json"
    except settings.ConfigurationError:
        # It is logged in a moment.
        is_json = False
    handler = logging.StreamHandler()
    handler.addFilter(_RunFilter())
    if is_json:
        handler.setFormatter(JsonFormatter())
    else:
        formatter = RedactingFormatter("%(asctime)s %(levelname)s%(run)s %(message)s", "%Y-%m-%d %H:%M:%SZ")
        formatter.converter = time.gmtime
        handler.setFormatter(formatter)
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.captureWarnings(True)
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    sys.excepthook = _tell_of_uncaught


def _tell_of_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """What a library's C code can raise nowhere, it prints: psycopg2 where the server cuts off a COPY, which dlt then tries
    again. A line of the log instead of a traceback past it."""
    cause: BaseException = error
    while (before := cause.__cause__ or cause.__context__) is not None:
        cause = before
    logging.getLogger("market").warning("%s: %s", type(cause).__name__, " ".join(str(cause).split()))


def tell(message: str) -> None:
    """Say why a command ends: a plain line, or one of the log's objects where that is what reads it."""
    root = logging.getLogger()
    if any(isinstance(handler.formatter, JsonFormatter) for handler in root.handlers):
        logging.getLogger("market").error("%s", message)
    else:
        print(redact(message), file=sys.stderr)


@contextmanager
def of_run(run_id: str) -> Iterator[None]:
    """All that is logged in the block belongs to this run."""
    global _run_id
    before, _run_id = _run_id, run_id
    try:
        yield
    finally:
        _run_id = before
