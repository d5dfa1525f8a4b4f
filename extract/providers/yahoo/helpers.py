"""Pure parsing of Yahoo's chart bodies."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import orjson

from extract.calendar.timeframes import DAY, WEEK
from extract.load.responses import BadPayload, NoAnswer, Parsed, Task, sha256
from extract.providers import questions

# What Yahoo calls an interval in its answer.
ALIASES = {"1h": "60m"}
WEEK_SLACK = timedelta(days=1)
PRICE_FIELDS = ("open", "high", "low", "close", "volume")


def chart(body: bytes, task: Task, interval: str) -> Parsed:
    """The bars of a chart answer.

    Raises NoAnswer where there is no timestamp: Yahoo says that of weekends, of delisted symbols and of its own faults
    alike, so it never means "no rows, go on". The same goes for rows without a single price.
    """
    if b"Will be right back" in body:
        raise NoAnswer("Yahoo Finance says it is down (Will be right back)")
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadPayload(f"not JSON ({error})") from None
    try:
        answer = document["chart"]
        if answer["error"]:
            raise NoAnswer(f"Yahoo: {answer['error'].get('description')}")
        result = answer["result"][0]
        meta = result["meta"]
        granularity, symbol = meta["dataGranularity"], meta.get("symbol")
        timestamps = result.get("timestamp")
        quote = result["indicators"]["quote"][0]
    except (KeyError, IndexError, TypeError, AttributeError):
        raise BadPayload("expected chart.result[0] with meta.dataGranularity and indicators.quote[0]") from None
    questions.about(task.provider_symbol, [symbol])
    if not timestamps:
        raise NoAnswer("no bars in the answer: a closed market, a delisted symbol or a fault of Yahoo's")
    # Yahoo has answered 60m bars to a request for 30m ones.
    if granularity not in (interval, ALIASES.get(interval)):
        raise BadPayload(f"asked for {interval} bars, got {granularity}")
    columns = [quote.get(field) for field in PRICE_FIELDS]
    if any(not isinstance(column, list) or len(column) != len(timestamps) for column in (timestamps, *columns)):
        raise BadPayload("the price arrays are not as long as the timestamps")
    if not any(questions.is_positive(close) for close in quote["close"]):
        raise NoAnswer("no row of the answer has a price: a halt, a delisted symbol or a fault of Yahoo's")
    _of_its_market(meta, task, stamps(timestamps))
    if task.asset_class != "crypto":
        _with_readable_splits(result.get("events"))
    # A week may begin on its first session, or in another zone than ours.
    times = questions.inside(
        task,
        stamps(questions.of_bars(timestamps, quote["close"])),
        WEEK_SLACK if task.timeframe == WEEK else timedelta(),
    )
    first, last = questions.ends(times)
    rows = {"timestamp": timestamps, "quote": quote, "events": result.get("events")}
    return Parsed(len(timestamps), sha256(orjson.dumps(rows)), first_at=first, last_at=last)


def stamps(timestamps: Sequence[Any]) -> list[int]:
    """The bars' times in milliseconds; Yahoo's are seconds, and have come as text."""
    return questions.times_of(
        [None if (second := questions.number(one)) is None else second * 1000 for one in timestamps]
    )


def _of_its_market(meta: dict[str, Any], task: Task, times: list[int]) -> None:
    """Raises BadPayload for a listing elsewhere: prices in another currency (GBp are a hundredth of a pound), or days
    of another clock than the asset's. What meta leaves out is not compared with it."""
    asked, given = _currency(task), meta.get("currency")
    if asked and isinstance(given, str) and given != asked:
        raise BadPayload(f"asked for prices in {asked}, got {given[:20]!r}")
    name = meta.get("exchangeTimezoneName")
    if task.timeframe not in (DAY, WEEK, None):
        return
    if not isinstance(name, str):
        raise BadPayload("it does not say in which time zone its days are")
    try:
        found = ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise BadPayload(f"its days are those of an unknown time zone: {name[:50]!r}") from None
    ours = task.market.zone
    instants = [questions.instant(one) for one in times]
    if any(moment.astimezone(found).utcoffset() != moment.astimezone(ours).utcoffset() for moment in instants):
        raise BadPayload(f"asked for days of {ours.key}, got days of {name[:50]}")


def _with_readable_splits(events: Any) -> None:
    """Raises BadPayload where a split is reported that staging cannot read: whether the prices before it are divided, and by
    what, nobody could say, and a history that is off by the ratio looks like any other."""
    reported = events.get("splits") if isinstance(events, dict) else None
    for split in reported.values() if isinstance(reported, dict) else reported if isinstance(reported, list) else []:
        new, old = (split.get(name) if isinstance(split, dict) else None for name in ("numerator", "denominator"))
        if not _is_ratio(new, old) or questions.number(split.get("date")) is None:
            raise BadPayload(f"it reports a split that cannot be read: {str(split)[:100]}")


def _is_ratio(new: object, old: object) -> bool:
    """Whether staging takes them for a split (`splits_of` in rows_of_answers.sql): what it refuses it cannot undo."""
    if not (questions.is_positive(new) and questions.is_positive(old)):
        return False
    shares = (float(new), float(old))
    return min(shares) >= 0.0001 and max(shares) <= min(1_000_000, 10_000 * min(shares))


def _currency(task: Task) -> str | None:
    """What prices are asked for in: a stock's market says it, a pair has it in its name (BTC-USD)."""
    if task.asset_class != "crypto":
        return task.market.currency
    pair, dash, quoted = (task.provider_symbol or "").rpartition("-")
    return quoted.upper() if pair and dash else None


def events(body: bytes, task: Task, interval: str) -> Parsed:
    """The splits and dividends of a chart answer; its bars are of no interest. Raises as `chart` does."""
    bars = chart(body, task, interval)
    reported = orjson.loads(body)["chart"]["result"][0].get("events")
    rows = sum(len(kind) for kind in reported.values() if isinstance(kind, dict)) if isinstance(reported, dict) else 0
    return Parsed(rows, sha256(orjson.dumps(reported)), first_at=bars.first_at, last_at=bars.last_at)
