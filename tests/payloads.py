"""Answers in each provider's wire form, made of plain values. The forms: docs/reference/providers.md and the recorded answers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from scripts.site.reference_formulas import STEP
from tests.oracle.bars import Bar

Payload = dict[str, Any] | list[Any]


def to_json(payload: Payload) -> str:
    """JSON text in which a Decimal is a number with all its digits (json would make it a float first)."""
    marked = json.dumps(payload, default=lambda value: f"\0{value:f}")
    return re.sub(r'"\\u0000([^"]*)"', r"\1", marked)


def milliseconds(instant: datetime) -> int:
    return round(instant.timestamp() * 1000)


def polygon_bars(bars: Iterable[Bar], timeframe: str, ticker: str = "T", status: str = "OK") -> Payload:
    """A range answer (adjusted=false); Polygon stamps a week at its Sunday."""
    shift = timedelta(days=1) if timeframe == "1w" else timedelta(0)
    rows = [
        {
            "o": bar.open,
            "h": bar.high,
            "l": bar.low,
            "c": bar.close,
            "v": bar.volume,
            "t": milliseconds(bar.timestamp - shift),
            "n": 1,
        }
        for bar in bars
    ]
    results = {"results": rows} if rows else {}
    return {"ticker": ticker, "adjusted": False, "resultsCount": len(rows), **results, "status": status}


def polygon_grouped(bars: Mapping[str, Bar], closed: datetime) -> Payload:
    """A day of the whole market: ticker -> its bar; Polygon stamps it at the session's end."""
    rows = [
        {
            "T": ticker,
            "o": bar.open,
            "h": bar.high,
            "l": bar.low,
            "c": bar.close,
            "v": bar.volume,
            "t": milliseconds(closed),
        }
        for ticker, bar in bars.items()
    ]
    return {"adjusted": False, "resultsCount": len(rows), "results": rows, "status": "OK"}


def polygon_splits(splits: Mapping[date, tuple[int, int]], ticker: str = "T") -> Payload:
    """ex-date -> (new shares, old shares)."""
    rows = [
        {"execution_date": day.isoformat(), "split_from": old, "split_to": new, "ticker": ticker}
        for day, (new, old) in splits.items()
    ]
    return {"results": rows, "status": "OK"}


def polygon_dividends(dividends: Mapping[date, Decimal]) -> Payload:
    """ex-date -> cash per share as traded."""
    rows = [
        {"id": f"E{day}", "ex_dividend_date": day.isoformat(), "cash_amount": amount, "currency": "USD", "ticker": "T"}
        for day, amount in dividends.items()
    ]
    return {"results": rows, "status": "OK"}


def binance_klines(bars: Iterable[Bar], timeframe: str) -> Payload:
    """A klines answer: 12 fields a row, numbers as text of 8 decimals."""
    step = STEP[timeframe]
    return [
        [
            milliseconds(bar.timestamp),
            *(f"{value:.8f}" for value in (bar.open, bar.high, bar.low, bar.close, bar.volume)),
            milliseconds(bar.timestamp + step) - 1,
            "0.00000000",
            1,
            f"{bar.volume / 2 if bar.taker_buy_volume is None else bar.taker_buy_volume:.8f}",
            "0.00000000",
            "0",
        ]
        for bar in bars
    ]


def binance_archive(bars: Iterable[Bar], timeframe: str, name: str, *, microseconds: bool = False) -> Payload:
    """A file of the archive: the same rows as text, spot files from 2025 in microseconds."""
    rows: list[list[str]] = []
    for row in map(list[Any], binance_klines(bars, timeframe)):
        opened, closed = (row[0] * 1000, row[6] * 1000 + 999) if microseconds else (row[0], row[6])
        rows.append([str(opened), *row[1:6], str(closed), *(str(value) for value in row[7:])])
    return {"file": f"{name}.zip", "checksum": "0" * 64, "header": None, "rows": rows}


def yahoo_chart(
    bars: Sequence[Bar],
    timeframe: str,
    time_zone: str = "America/New_York",
    splits: Mapping[date, tuple[int, int]] | None = None,
    day_starts_at: timedelta = timedelta(hours=9, minutes=30),
    dividends: Mapping[date, Decimal] | None = None,
    capital_gains: Mapping[date, Decimal] | None = None,
) -> Payload:
    """A chart answer. `bars` carry Yahoo's own (split-adjusted) prices, `dividends` its adjusted amounts; days are
    stamped at the exchange's open."""
    shift = day_starts_at if timeframe in ("1d", "1w") and time_zone != "UTC" else timedelta(0)
    quote = {field: [getattr(bar, field) for bar in bars] for field in ("open", "high", "low", "close", "volume")}
    events = {
        str(_split_stamp(day)): {
            "date": _split_stamp(day),
            "numerator": new,
            "denominator": old,
            "splitRatio": f"{new}:{old}",
        }
        for day, (new, old) in (splits or {}).items()
    }
    told = {"splits": events} if events else {}
    for kind, paid in (("dividends", dividends), ("capitalGains", capital_gains)):
        if paid:
            told[kind] = {
                str(_split_stamp(day)): {"date": _split_stamp(day), "amount": amount} for day, amount in paid.items()
            }
    result = {
        "meta": {"exchangeTimezoneName": time_zone, "dataGranularity": timeframe},
        "timestamp": [int((bar.timestamp + shift).timestamp()) for bar in bars],
        **({"events": told} if told else {}),
        "indicators": {"quote": [quote]},
    }
    return {"chart": {"result": [result], "error": None}}


def _split_stamp(day: date) -> int:
    """Some instant of the ex-date's session in New York."""
    return int(datetime(day.year, day.month, day.day, 14, 30, tzinfo=UTC).timestamp())


def funding(rates: Iterable[tuple[datetime, Decimal]]) -> Payload:
    """Settlements as /fapi/v1/fundingRate gives them; the time may jitter by milliseconds."""
    return [
        {"symbol": "T", "fundingTime": milliseconds(at), "fundingRate": f"{rate:.8f}", "markPrice": ""}
        for at, rate in rates
    ]


def funding_archive(rates: Iterable[tuple[datetime, Decimal, int]]) -> Payload:
    """Settlements as the archive gives them: with the hours between them."""
    rows = [[str(milliseconds(at)), str(hours), f"{rate:.8f}"] for at, rate, hours in rates]
    return {"file": "T-fundingRate.zip", "checksum": "0" * 64, "header": None, "rows": rows}


def open_interest(samples: Iterable[tuple[datetime, Decimal]]) -> Payload:
    """/futures/data/openInterestHist, in base units."""
    return [
        {"symbol": "T", "sumOpenInterest": f"{value:f}", "sumOpenInterestValue": "0", "timestamp": milliseconds(at)}
        for at, value in samples
    ]


def long_short_ratio(samples: Iterable[tuple[datetime, Decimal, Decimal]]) -> Payload:
    """/futures/data/globalLongShortAccountRatio: shares of the accounts that are long and short."""
    return [
        {"symbol": "T", "longAccount": f"{long:f}", "shortAccount": f"{short:f}", "timestamp": milliseconds(at)}
        for at, long, short in samples
    ]


def liquidations(events: Iterable[tuple[datetime, str, Decimal]]) -> Payload:
    """forceOrder events; SELL liquidates a long."""
    return {
        "events": [
            {
                "e": "forceOrder",
                "E": milliseconds(at),
                "o": {"s": "T", "S": side, "q": f"{q:f}", "z": f"{q:f}", "ap": "1.5", "T": milliseconds(at)},
            }
            for at, side, q in events
        ]
    }


def exchange_inflow(days: Mapping[date, Decimal]) -> Payload:
    """Coin Metrics' daily flows, native units."""
    return {
        "data": [
            {"asset": "t", "time": f"{day.isoformat()}T00:00:00.000000000Z", "FlowInExNtv": f"{value:f}"}
            for day, value in days.items()
        ]
    }


def row_count(payload: Payload) -> int:
    """How many rows an answer carries, as extract counts them."""
    if isinstance(payload, list):
        return len(payload)
    if "chart" in payload:
        return len(payload["chart"]["result"][0]["timestamp"])
    for rows in ("results", "rows", "events", "data"):
        if rows in payload:
            return len(payload[rows])
    return 0
