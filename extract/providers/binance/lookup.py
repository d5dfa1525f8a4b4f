"""What a symbol is called at Binance, for `market add`; see extract/providers/lookups.py."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from functools import partial
from typing import Any
from urllib.parse import urlencode

from extract.core import settings
from extract.core.redaction import redact
from extract.providers.binance.settings import FUTURES_WEIGHT_PER_MINUTE, GEO_BLOCKED, SPOT_WEIGHT_PER_MINUTE
from extract.providers.lookups import Answers, Listing, Unasked, day_of, document_of, near, once
from extract.symbols.registry import MULTIPLES
from extract.transport import http
from extract.transport.budget import WeightPerMinute

# What we quote coins in; the first that a coin has is taken.
QUOTES = ("USDT", "USDC", "FDUSD", "USD")
# Weight of exchangeInfo.
SPOT_INFO, FUTURES_INFO = 20, 1


def spot(symbols: Sequence[str]) -> Answers:
    """The spot markets that trade. Raises Unasked."""
    chosen = settings.load()
    source, session = http.Source("binance"), http.session(connections=1)
    budget = WeightPerMinute("binance_spot", SPOT_WEIGHT_PER_MINUTE)
    with session:
        host = str(chosen.binance_spot_base_url).rstrip("/")
        path = "/api/v3/exchangeInfo?showPermissionSets=false"
        budget.wait(SPOT_INFO)
        response = once(source, "binance", lambda: http.get(session, host + path))
        if response.status_code == GEO_BLOCKED:
            host = str(chosen.binance_data_api_base_url).rstrip("/")
            response = once(source, "binance", lambda: http.get(session, host + path))
        answers, known = _markets(
            symbols, response, "binance", "binance", ("",), lambda row: row["status"] == "TRADING"
        )
        for symbol, row in known.items():
            query = urlencode({"symbol": row["symbol"], "interval": "1d", "startTime": 0, "limit": 1})
            budget.wait(2)
            url = f"{host}/api/v3/klines?{query}"
            bars = document_of(once(source, "binance", partial(http.get, session, url)), "binance")
            first = bars[0] if isinstance(bars, list) and bars else None
            since = day_of(first[0], 1000) if isinstance(first, list) and first else None
            answers.listings[symbol] = [_market("binance", row, "spot", since)]
        return answers


def futures(symbols: Sequence[str]) -> Answers:
    """The perpetual futures that trade. Raises Unasked."""
    host = str(settings.load().binance_futures_base_url).rstrip("/")
    budget = WeightPerMinute("binance_futures", FUTURES_WEIGHT_PER_MINUTE)
    budget.wait(FUTURES_INFO)
    with http.session(connections=1) as session:
        response = once(
            http.Source("binance"), "binance futures", lambda: http.get(session, f"{host}/fapi/v1/exchangeInfo")
        )
    answers, known = _markets(
        symbols, response, "binance futures", "binance_futures", ("", *MULTIPLES),
        lambda row: row["status"] == "TRADING" and row.get("contractType") == "PERPETUAL",
    )  # fmt: skip
    for symbol, row in known.items():
        since = day_of(row.get("onboardDate"), 1000)
        answers.listings[symbol] = [_market("binance_futures", row, "perpetual future", since)]
    # A coin that has no contract is no misspelt one.
    answers.nearest.clear()
    return answers


def _market(column: str, row: dict[str, Any], kind: str, since: date | None) -> Listing:
    return Listing(column, row["symbol"], "crypto", f"{row['baseAsset']} in {row['quoteAsset']}, {kind}", since)


def _markets(
    symbols: Sequence[str], response: http.Response, what: str, column: str, multiples: Sequence[str],
    is_open: Callable[[dict[str, Any]], bool],
) -> tuple[Answers, dict[str, dict[str, Any]]]:  # fmt: skip
    """The market of each symbol: its coin in the first of our quotes."""
    document = document_of(response, what)
    try:
        rows = [row for row in document["symbols"] if is_open(row) and row["quoteAsset"] in QUOTES]
        by_pair = {(row["baseAsset"], row["quoteAsset"]): row for row in rows if isinstance(row["symbol"], str)}
    except (KeyError, TypeError):
        reason = document.get("msg") if isinstance(document, dict) else None
        raise Unasked(f"{what} refuses: {redact(str(reason or f'HTTP {response.status_code}'))[:200]}") from None
    answers, known = Answers(), {}
    for symbol in symbols:
        pairs = [by_pair.get((prefix + symbol.upper(), name)) for prefix in multiples for name in QUOTES]
        row = next((one for one in pairs if one), None)
        if row:
            known[symbol] = row
        else:
            answers.nearest[symbol] = near(symbol, (base for base, _ in by_pair))
    return answers, known


# Column of the registry -> how its names are asked for.
ASKS = {"binance": spot, "binance_futures": futures}
