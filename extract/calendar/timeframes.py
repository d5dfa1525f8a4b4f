"""Bar lengths and the boundaries bars lie on. Every instant is an aware UTC datetime."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

STEPS = {
    "5m": timedelta(minutes=5),
    "15m": timedelta(minutes=15),
    "30m": timedelta(minutes=30),
    "1h": timedelta(hours=1),
    "4h": timedelta(hours=4),
    "1d": timedelta(days=1),
    "1w": timedelta(weeks=1),
}
# How far back the first plain extract of a series goes.
FIRST_REACH = {
    "5m": timedelta(days=30),
    "15m": timedelta(days=60),
    "30m": timedelta(days=60),
    "1h": timedelta(days=365),
    "4h": timedelta(days=365),
    "1d": timedelta(days=730),
    "1w": timedelta(days=730),
}
NEW_YORK = ZoneInfo("America/New_York")
# The regular close; a day bar asked for earlier than this is still moving.
STOCK_CLOSE = time(16, 0)


def zone(asset_class: str) -> ZoneInfo:
    """The zone whose midnight starts a trading day."""
    return ZoneInfo("UTC") if asset_class == "crypto" else NEW_YORK


def day_start(instant: datetime, asset_class: str, days: int = 0) -> datetime:
    """Midnight, in the asset's zone, of the day that holds the instant, moved by whole local days."""
    local = instant.astimezone(zone(asset_class))
    midnight = datetime.combine(local.date() + timedelta(days=days), time(), local.tzinfo)
    return midnight.astimezone(UTC)


def week_start(instant: datetime, asset_class: str) -> datetime:
    """Midnight of the Monday of the week that holds the instant."""
    return day_start(instant, asset_class, -instant.astimezone(zone(asset_class)).weekday())


def floor(instant: datetime, timeframe: str, asset_class: str) -> datetime:
    """The start of the bar that holds the instant; bars of less than a day lie on the UTC clock."""
    if timeframe == "1w":
        return week_start(instant, asset_class)
    if timeframe == "1d":
        return day_start(instant, asset_class)
    step = STEPS[timeframe]
    return instant - (instant - datetime(1970, 1, 1, tzinfo=UTC)) % step


def following(opened: datetime, timeframe: str, asset_class: str) -> datetime:
    """When the bar after this one opens: a local day has 23 to 25 hours."""
    if timeframe in ("1d", "1w"):
        return day_start(opened, asset_class, 1 if timeframe == "1d" else 7)
    return opened + STEPS[timeframe]


def closed_until(now: datetime, timeframe: str, asset_class: str) -> datetime:
    """The end of the newest closed bar. A stock's day and week close with the session, hours before midnight."""
    boundary = floor(now, timeframe, asset_class)
    if asset_class == "crypto" or timeframe not in ("1d", "1w"):
        return boundary
    local = now.astimezone(NEW_YORK)
    if local.time() < STOCK_CLOSE:
        return boundary
    if timeframe == "1d":
        return day_start(now, asset_class, 1) if local.weekday() < 5 else boundary
    return day_start(boundary, asset_class, 7) if local.weekday() >= 4 else boundary


def may_trade_between(start: datetime, end: datetime, asset_class: str) -> bool:
    """Whether a bar can begin in [start, end): stocks rest on weekends and from 20:00 to 04:00 New York time.

    Holidays are not known here: asking on one costs a single empty answer.
    """
    if asset_class == "crypto":
        return start < end
    local = start.astimezone(NEW_YORK)
    if local.time() >= time(20):
        local = datetime.combine(local.date() + timedelta(days=1), time(4), NEW_YORK)
    elif local.time() < time(4):
        local = datetime.combine(local.date(), time(4), NEW_YORK)
    while local.weekday() >= 5:
        local = datetime.combine(local.date() + timedelta(days=1), time(4), NEW_YORK)
    return local < end
