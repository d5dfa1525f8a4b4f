"""Writes the seed of exchange holidays and irregular hours from the exchange_calendars library.

Sessions themselves are derived in SQL from a calendar's regular hours (seed `calendars`) and these exceptions, so the
seed stays short enough to review: a changed row is a changed holiday. Run `python -m scripts.symbols.calendars` once a year,
when the exchanges have published the next year's holidays; a test compares the derived sessions with the library. Lines of
calendars that the library does not have stay as they are.
"""

from __future__ import annotations

import csv

from extract.calendar import seeds

COLUMNS = ("calendar", "session_date", "opens", "closes")
LAST = "2027-12-31"
Line = tuple[str, ...]


def exceptions(calendar: dict[str, str]) -> list[Line] | None:
    """(calendar, session_date, opens, closes) of each regular day of a line of the seed `calendars` that is no regular session;
    empty times = closed. None where the library has no such exchange."""
    import exchange_calendars
    import pandas as pd

    name, first = calendar["calendar"], calendar["first_session"]
    try:
        exchange = exchange_calendars.get_calendar(name, start=first, end=LAST)
    except exchange_calendars.errors.InvalidCalendarName:
        return None
    rows: list[Line] = []
    for day in pd.date_range(first, LAST):
        date = f"{day:%Y-%m-%d}"
        if str(day.isoweekday()) not in calendar["weekdays"]:
            continue
        if day not in exchange.sessions:
            rows.append((name, date, "", ""))
            continue
        opens, closes = (f"{at.tz_convert(calendar['time_zone']):%H:%M}" for at in exchange.session_open_close(day))
        hours = [opens, "24:00" if closes == "00:00" else closes]
        if hours != [calendar["opens"], calendar["closes"]]:
            rows.append((name, date, hours[0], hours[1]))
    return rows


def main() -> None:
    """Write the seed again."""
    file = seeds.path("session_exceptions.csv")
    before = seeds.rows(file)
    lines: list[Line] = []
    for calendar in seeds.rows(seeds.path("calendars.csv")):
        own = [tuple(row[name] for name in COLUMNS) for row in before if row["calendar"] == calendar["calendar"]]
        found = exceptions(calendar)
        lines += own if found is None else found
    with file.open("w", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(lines)


if __name__ == "__main__":
    main()
