"""Pure parsing of Yahoo's chart bodies."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import orjson

from extract import questions
from extract.responses import BadPayload, NoAnswer, Parsed, Task, sha256

WEEK_SLACK = timedelta(days=1)
PRICE_FIELDS = ("open", "high", "low", "close", "volume")


def chart(body: bytes, task: Task, interval: str) -> Parsed:
    """The bars of a chart answer.

    Raises NoAnswer where there is no timestamp: Yahoo says that of weekends, of delisted symbols and of its own faults
    alike, so it never means "no rows, go on".
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
        granularity, symbol = result["meta"]["dataGranularity"], result["meta"].get("symbol")
        timestamps = result.get("timestamp")
        quote = result["indicators"]["quote"][0]
    except (KeyError, IndexError, TypeError, AttributeError):
        raise BadPayload("expected chart.result[0] with meta.dataGranularity and indicators.quote[0]") from None
    questions.about(task.provider_symbol, [symbol])
    if not timestamps:
        raise NoAnswer("no bars in the answer: a closed market, a delisted symbol or a fault of Yahoo's")
    # Yahoo has answered 60m bars to a request for 30m ones.
    if granularity not in (interval, {"1h": "60m"}.get(interval)):
        raise BadPayload(f"asked for {interval} bars, got {granularity}")
    if any(len(quote.get(field) or ()) != len(timestamps) for field in PRICE_FIELDS):
        raise BadPayload("the price arrays are not as long as the timestamps")
    # A week may begin on its first session, or in another zone than ours.
    times = questions.inside(task, stamps(timestamps), WEEK_SLACK if task.timeframe == "1w" else timedelta())
    first, last = questions.ends(times)
    rows = {"timestamp": timestamps, "quote": quote, "events": result.get("events")}
    return Parsed(len(timestamps), sha256(orjson.dumps(rows)), first_at=first, last_at=last)


def stamps(timestamps: list[Any]) -> list[int]:
    """The bars' times in milliseconds; Yahoo's are seconds, and have come as text."""
    return [second * 1000 for second in questions.times_of(timestamps)]


def events(body: bytes, task: Task, interval: str) -> Parsed:
    """The splits and dividends of a chart answer; its bars are of no interest. Raises as `chart` does."""
    bars = chart(body, task, interval)
    told = orjson.loads(body)["chart"]["result"][0].get("events")
    rows = sum(len(kind) for kind in told.values() if isinstance(kind, dict)) if isinstance(told, dict) else 0
    return Parsed(rows, sha256(orjson.dumps(told)), first_at=bars.first_at, last_at=bars.last_at)
