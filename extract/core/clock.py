"""The current time of the pipeline: WAREHOUSE_NOW where it is set (tests, replays), else the real UTC time."""

from __future__ import annotations

from datetime import UTC, datetime

from extract.core import settings


def now() -> datetime:
    """Now, in UTC."""
    return settings.load().warehouse_now or datetime.now(UTC)
