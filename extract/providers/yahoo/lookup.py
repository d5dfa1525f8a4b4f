"""What a symbol is called at Yahoo, for `market add`; see extract/providers/lookups.py."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from extract.calendar import calendars
from extract.core import settings
from extract.providers.lookups import NEAREST, Answers, Listing, Unasked, day_of, document_of, once
from extract.providers.yahoo import Yahoo
from extract.providers.yahoo.settings import CHART
from extract.transport import http

SEARCH = "https://query2.finance.yahoo.com/v1/finance/search"
KINDS = {"EQUITY": "stock", "ETF": "etf", "CRYPTOCURRENCY": "crypto", "INDEX": "index"}

log = logging.getLogger(__name__)


def listings(symbols: Sequence[str]) -> Answers:
    """What its search finds, as far as a chart says where and since when it trades. Raises Unasked."""
    client, answers = Yahoo(), Answers()
    data = client.client()

    def ask(url: str, params: dict[str, Any]) -> http.Response:
        from yfinance.exceptions import YFRateLimitError

        def send() -> http.Response:
            try:
                return data.get(url, params=params, timeout=settings.load().yahoo_timeout)
            except YFRateLimitError:
                # yfinance drops the answer.
                raise Unasked("yahoo answers HTTP 429: ask again in some minutes") from None

        return once(client.source, "yahoo", send)

    for symbol in symbols:
        document = document_of(ask(SEARCH, {"q": symbol, "quotesCount": 8, "newsCount": 0}), "yahoo")
        rows = document.get("quotes") if isinstance(document, dict) else None
        rows = [row for row in rows or [] if isinstance(row, dict) and row.get("quoteType") in KINDS]
        wanted = {symbol.upper(), symbol.upper().replace(".", "-"), f"{symbol.upper()}-USD", f"^{symbol.upper()}"}
        for row in rows:
            name, kind = str(row.get("symbol")), KINDS[row["quoteType"]]
            if name.upper() not in wanted or (kind == "crypto") != name.upper().endswith("-USD"):
                continue
            chart = document_of(ask(CHART + quote(name), {"range": "1d", "interval": "1d"}), "yahoo")
            try:
                meta = chart["chart"]["result"][0]["meta"]
            except (KeyError, IndexError, TypeError):
                continue
            calendar = calendars.in_zone(meta.get("exchangeTimezoneName")) if kind != "crypto" else None
            if kind != "crypto" and calendar is None:
                # No calendar of ours has its sessions.
                log.warning(
                    "%s: yahoo's %s trades in %s, which no calendar has", symbol, name, meta.get("exchangeTimezoneName")
                )
                continue
            described = str(row.get("longname") or row.get("shortname") or name)
            since = day_of(meta.get("firstTradeDate"), 1)
            answers.listings.setdefault(symbol, []).append(
                Listing(
                    "yahoo",
                    name,
                    kind,
                    f"{described}, {row.get('exchDisp') or row.get('exchange')}",
                    since,
                    calendar.name if calendar else None,
                )
            )
        if symbol not in answers.listings:
            answers.nearest[symbol] = [str(row.get("symbol")) for row in rows][:NEAREST]
    return answers


# Column of the registry -> how its names are asked for.
ASKS = {"yahoo": listings}
