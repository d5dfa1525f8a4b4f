"""Independent references for bars: resampling on sessions, revisions, and which source wins.

Data flow: bars of a fine timeframe -> resample() -> bars of a coarser one with completeness
           observations of each source -> revisions() -> choose() -> one bar per timestamp

Sessions come from exchange_calendars. Stock bars are laid out from the open; a stock day is stamped 00:00 exchange time, a
week Monday 00:00; "24/7" is UTC days. All instants are timezone-aware UTC.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from decimal import Decimal
from functools import lru_cache
from zoneinfo import ZoneInfo

import exchange_calendars

from scripts.site.reference_formulas import DAY, STEP


@dataclass(frozen=True)
class Bar:
    """One bar as traded; timestamp = its open."""

    timestamp: datetime
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    taker_buy_volume: Decimal | None = None
    is_valid: bool = True


@dataclass(frozen=True)
class ResampledBar(Bar):
    """A bar made of finer ones. `ends_at`: end of its last expected slot, the instant from which it can be final."""

    ends_at: datetime = datetime.max
    session_date: date = date.max
    present: int = 0
    expected: int = 0

    @property
    def completeness(self) -> Decimal:
        """Bars present / bars expected, 0 to 1."""
        return Decimal(self.present) / Decimal(self.expected)


@dataclass(frozen=True)
class Session:
    """One trading session: [opens_at, closes_at)."""

    session_date: date
    opens_at: datetime
    closes_at: datetime


@lru_cache
def _exchange(calendar: str) -> exchange_calendars.ExchangeCalendar:
    return exchange_calendars.get_calendar(calendar, start="1990-01-01")


@lru_cache
def _schedule(calendar: str) -> list[Session]:
    table = _exchange(calendar).schedule
    return [
        Session(day.date(), opens_at.to_pydatetime(), closes_at.to_pydatetime())
        for day, opens_at, closes_at in zip(table.index, table["open"], table["close"], strict=True)
    ]


def time_zone(calendar: str) -> tzinfo:
    """The zone in which the calendar's days begin; "24/7" is UTC."""
    return UTC if calendar == "24/7" else ZoneInfo(str(_exchange(calendar).tz))


def sessions(calendar: str, first: date, last: date) -> list[Session]:
    """The sessions dated first to last, both inclusive; holidays, half days and DST as the exchange had them."""
    if calendar == "24/7":
        days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
        midnights = [datetime.combine(day, time(), UTC) for day in days]
        return [Session(day, at, at + DAY) for day, at in zip(days, midnights, strict=True)]
    # Filtered, because sessions_in_range() raises beyond the last year the calendar was made for.
    return [session for session in _schedule(calendar) if first <= session.session_date <= last]


def slots(session: Session, step: timedelta) -> list[datetime]:
    """The opens of the bars expected in a session, laid out from its open; the last may be cut short by the close."""
    out = [session.opens_at]
    while out[-1] + step < session.closes_at:
        out.append(out[-1] + step)
    return out


def bucket(slot: datetime, session: Session, timeframe: str, calendar: str) -> datetime:
    """Timestamp of the `timeframe` bar that holds a slot of this session."""
    if timeframe in ("1d", "1w"):
        day = session.session_date
        if timeframe == "1w":
            day -= timedelta(days=day.weekday())
        return datetime.combine(day, time(), time_zone(calendar)).astimezone(UTC)
    return session.opens_at + (slot - session.opens_at) // STEP[timeframe] * STEP[timeframe]


def resample(
    bars: Iterable[Bar],
    *,
    source_step: timedelta,
    timeframe: str,
    calendar: str,
    until: datetime | None = None,
    without_trades: Collection[datetime] = (),
) -> list[ResampledBar]:
    """Bars of `timeframe` from final bars of `source_step`, in time order.

    Open of the first, highest high, lowest low, close of the last, sums of volumes; taker volume is NULL if any part has none.
    Invalid bars, bars outside sessions and bars off the session's grid take no part. A period without any bar gives no bar.
    until: leave out bars whose `ends_at` is later (they are not final yet).
    without_trades: timestamps at which it is known that nothing was traded; no bar is expected there, unless there is one.
    ValueError: two bars of one timestamp.
    """
    given: dict[datetime, Bar] = {}
    for bar in bars:
        if bar.timestamp in given:
            raise ValueError(f"two bars at {bar.timestamp}")
        if bar.is_valid:
            given[bar.timestamp] = bar
    if not given:
        return []
    # Whole weeks round the data, so that the first and the last week know all their slots.
    first, last = min(given).date() - timedelta(days=8), max(given).date() + timedelta(days=8)
    expected: dict[datetime, list[datetime]] = defaultdict(list)
    ends_at: dict[datetime, datetime] = {}
    for session in sessions(calendar, first, last):
        for slot in slots(session, source_step):
            key = bucket(slot, session, timeframe, calendar)
            expected[key].append(slot)
            ends_at[key] = min(slot + source_step, session.closes_at)
    out = []
    for key, parts in sorted(expected.items()):
        found = [given[slot] for slot in parts if slot in given]
        if not found or (until is not None and ends_at[key] > until):
            continue
        taker = [bar.taker_buy_volume for bar in found]
        out.append(
            ResampledBar(
                timestamp=key,
                open=found[0].open,
                high=max(bar.high for bar in found),
                low=min(bar.low for bar in found),
                close=found[-1].close,
                volume=sum((bar.volume for bar in found), Decimal(0)),
                taker_buy_volume=None if None in taker else sum((t for t in taker if t is not None), Decimal(0)),
                ends_at=ends_at[key],
                session_date=key.astimezone(time_zone(calendar)).date(),
                present=len(found),
                expected=sum(slot in given or slot not in without_trades for slot in parts),
            )
        )
    return out


# ---------------------------------------------------------------- revisions and sources


@dataclass(frozen=True)
class Observation:
    """What one source said of one bar at one time; values None = the source retracted the bar."""

    source: str
    bar_key: Hashable
    known_at: datetime
    values: tuple[Decimal | None, ...] | None
    is_valid: bool = True
    is_native: bool = True


@dataclass(frozen=True)
class Revision:
    """An observation that differs from the one before it; `number` counts from 1 per (source, bar_key)."""

    observation: Observation
    number: int


def revisions(observations: Iterable[Observation]) -> list[Revision]:
    """The changes of each source's bars, by (source, bar_key, known_at): A, A, B, A is three revisions.

    Two observations of the same instant count in the order given. A retraction is a revision; before the first bar it is nothing.
    """
    history: dict[tuple[str, Hashable], list[Revision]] = {}
    for seen in sorted(observations, key=lambda o: o.known_at):
        past = history.setdefault((seen.source, seen.bar_key), [])
        before = past[-1].observation if past else None
        if before is None and seen.values is None:
            continue
        if before is None or (before.values, before.is_valid) != (seen.values, seen.is_valid):
            past.append(Revision(seen, len(past) + 1))
    return [revision for _, past in sorted(history.items(), key=lambda item: str(item[0])) for revision in past]


def choose(
    observations: Iterable[Observation], priorities: Sequence[str], as_of: datetime | None = None
) -> Mapping[Hashable, Revision]:
    """The winning revision of each bar key, as known at `as_of` (default: all observations).

    Of each source only its latest revision counts, and none if that is a retraction. Among the sources: a valid bar before an
    invalid one, then the order of `priorities`, then a native bar before a resampled one. Sources not listed there never win.
    """
    known = [o for o in observations if as_of is None or o.known_at <= as_of]
    # What a source resampled and what it gave itself are two bars; each has its own latest revision.
    latest = {
        (r.observation.source, r.observation.is_native, r.observation.bar_key): r
        for is_native in (True, False)
        for r in revisions(o for o in known if o.is_native == is_native)
    }
    best: dict[Hashable, tuple[tuple[bool, int, bool], Revision]] = {}
    for (source, _, key), revision in latest.items():
        seen = revision.observation
        if seen.values is None or source not in priorities:
            continue
        rank = (not seen.is_valid, priorities.index(source), not seen.is_native)
        if key not in best or rank < best[key][0]:
            best[key] = (rank, revision)
    return {key: revision for key, (_, revision) in best.items()}
