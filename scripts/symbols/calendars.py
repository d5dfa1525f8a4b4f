"""Writes the seed of exchange holidays and irregular hours from the exchange_calendars library.

Sessions themselves are derived in SQL from a calendar's regular hours (seed `calendars`) and these exceptions, so the
seed stays short enough to review: a changed row is a changed holiday. Run `python -m scripts.symbols.calendars` once a year,
when the exchange has published the next year's holidays; a test compares the derived sessions with the library.
"""

from __future__ import annotations

import csv
from pathlib import Path

EXCEPTIONS = Path(__file__).resolve().parents[2] / "dbt_project" / "seeds" / "session_exceptions.csv"
CALENDAR, TIME_ZONE, OPENS, CLOSES = "XNYS", "America/New_York", "09:30", "16:00"
FIRST, LAST = "1990-01-01", "2027-12-31"


def exceptions() -> list[tuple[str, str, str, str]]:
    """(calendar, session_date, opens, closes) of each weekday that is not a regular session; empty times = closed."""
    import exchange_calendars
    import pandas as pd

    calendar = exchange_calendars.get_calendar(CALENDAR, start=FIRST, end=LAST)
    rows = []
    for day in pd.bdate_range(FIRST, LAST):
        date = f"{day:%Y-%m-%d}"
        if day not in calendar.sessions:
            rows.append((CALENDAR, date, "", ""))
            continue
        hours = [f"{moment.tz_convert(TIME_ZONE):%H:%M}" for moment in calendar.session_open_close(day)]
        if hours != [OPENS, CLOSES]:
            rows.append((CALENDAR, date, hours[0], hours[1]))
    return rows


def main() -> None:
    with EXCEPTIONS.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["calendar", "session_date", "opens", "closes"])
        writer.writerows(exceptions())


if __name__ == "__main__":
    main()
