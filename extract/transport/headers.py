"""Pure reading of answers' headers: a missing, merged or absurd one is read as what it can mean, and never an error."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

# A proxy that merges two equal headers joins them with a comma: "10, 10".
_NUMBER = re.compile(r"\s*-?[0-9]+(?:\.[0-9]*)?\s*", re.ASCII)
_COUNT = re.compile(r"\s*[0-9]{1,15}\s*", re.ASCII)


def retry_after(headers: Mapping[str, str]) -> float:
    """The seconds the Retry-After header asks for, as a number, merged numbers (the largest) or a date; 0 where there
    is none, or none that can be understood, or one that lies in the past."""
    text = str(headers.get("Retry-After") or "")
    pieces = text.split(",")
    if all(_NUMBER.fullmatch(piece) for piece in pieces):
        seconds = max(float(piece) for piece in pieces)
    else:
        try:
            named = parsedate_to_datetime(text)
            named = named if named.tzinfo else named.replace(tzinfo=UTC)
            seconds = (named - datetime.now(UTC)).total_seconds()
        except (TypeError, ValueError, OverflowError, IndexError):
            return 0.0
    return max(0.0, seconds) if math.isfinite(seconds) else 0.0


def count(headers: Mapping[str, str], name: str) -> int | None:
    """A header that counts something; of merged ones the largest. None where there is none that is a count."""
    pieces = str(headers.get(name) or "").split(",")
    if not all(_COUNT.fullmatch(piece) for piece in pieces):
        return None
    return max(int(piece) for piece in pieces)
