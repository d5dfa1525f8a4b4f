"""Sessions of the New York Stock Exchange."""

from __future__ import annotations

import datetime as dt
import functools
from typing import Any

from scripts.simulator.bars import HOUR, MINUTE, NEW_YORK

OPENS = 9 * HOUR + 30 * MINUTE  # wall-clock time at which a session opens
CLOSES = 16 * HOUR


@functools.cache
def early_closes() -> dict[dt.date, int]:
    """Half days of the New York Stock Exchange: date -> wall-clock milliseconds of the close."""
    calendar = nyse()
    closes = {}
    for session in calendar.early_closes:
        local = calendar.session_close(session).tz_convert(NEW_YORK)
        closes[session.date()] = local.hour * HOUR + local.minute * MINUTE
    return closes


@functools.cache
def nyse() -> Any:
    """The exchange calendar; imported late because it costs a second."""
    import exchange_calendars

    return exchange_calendars.get_calendar("XNYS", start="1998-01-01", end="2027-12-31")
