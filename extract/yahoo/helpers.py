"""Pure parsing of Yahoo's chart bodies."""

from __future__ import annotations

import orjson

from extract.responses import BadPayload, NoAnswer, Parsed, sha256

PRICE_FIELDS = ("open", "high", "low", "close", "volume")


def chart(body: bytes, interval: str) -> Parsed:
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
        granularity = result["meta"]["dataGranularity"]
        timestamps = result.get("timestamp")
        quote = result["indicators"]["quote"][0]
    except (KeyError, IndexError, TypeError):
        raise BadPayload("expected chart.result[0] with meta.dataGranularity and indicators.quote[0]") from None
    if not timestamps:
        raise NoAnswer("no bars in the answer: a closed market, a delisted symbol or a fault of Yahoo's")
    # Yahoo has answered 60m bars to a request for 30m ones.
    if granularity not in (interval, {"1h": "60m"}.get(interval)):
        raise BadPayload(f"asked for {interval} bars, got {granularity}")
    if any(len(quote.get(field) or ()) != len(timestamps) for field in PRICE_FIELDS):
        raise BadPayload("the price arrays are not as long as the timestamps")
    rows = {"timestamp": timestamps, "quote": quote, "events": result.get("events")}
    return Parsed(len(timestamps), sha256(orjson.dumps(rows)))
