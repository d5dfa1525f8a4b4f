"""What a symbol is called at Polygon, for `market add`; see extract/providers/lookups.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote, urlencode

from extract.core import settings
from extract.providers.lookups import NEAREST, Answers, Listing, Unasked, document_of, iso_day, once
from extract.transport import http
from extract.transport.budget import RequestsPerMinute

# By market; of its stocks by type.
KINDS = {"crypto": "crypto", "indices": "index"}
# Its types of shares that are funds; all other types are stocks.
FUNDS = frozenset({"ETF", "ETN", "ETV", "ETS", "FUND"})


def tickers(symbols: Sequence[str]) -> Answers:
    """The tickers of shares, coins and indices. Raises Unasked."""
    chosen = settings.load()
    if chosen.polygon_api_key is None:
        raise Unasked("POLYGON_API_KEY is not set (put it into .env, then `market add` again fills the names in)")
    host = str(chosen.polygon_base_url).rstrip("/")
    headers = {"Authorization": f"Bearer {chosen.polygon_api_key.get_secret_value()}"}
    allowed = chosen.polygon_requests_per_minute
    budget = RequestsPerMinute("polygon", allowed) if allowed else None
    source, answers = http.Source("polygon"), Answers()
    with http.session(connections=1) as session:

        def ask(path: str) -> tuple[int, Any]:
            if budget:
                budget.wait()
            response = once(source, "polygon", lambda: http.get(session, host + path, None, **headers))
            if response.status_code in (401, 403):
                raise Unasked(
                    f"polygon refuses POLYGON_API_KEY (HTTP {response.status_code}): put a valid one into .env"
                )
            return response.status_code, document_of(response, "polygon")

        for symbol in symbols:
            for name in (symbol.upper(), f"X:{symbol.upper()}USD", f"I:{symbol.upper()}"):
                if name.startswith("I:") and symbol in answers.listings:
                    # Requests are few, and indices seldom share a name.
                    continue
                status, document = ask(f"/v3/reference/tickers/{quote(name, safe='')}")
                row = document.get("results") if isinstance(document, dict) and status == 200 else None
                if not isinstance(row, dict) or row.get("ticker") != name or row.get("active") is False:
                    continue
                kind = KINDS.get(str(row.get("market")), "etf" if row.get("type") in FUNDS else "stock")
                described = ", ".join(str(row[one]) for one in ("name", "primary_exchange") if row.get(one))
                listing = row.get("list_date") if kind not in KINDS.values() else None
                since = iso_day(listing)
                answers.listings.setdefault(symbol, []).append(Listing("polygon", name, kind, described, since))
            if symbol not in answers.listings:
                _, document = ask(
                    f"/v3/reference/tickers?{urlencode({'search': symbol, 'active': 'true', 'limit': NEAREST})}"
                )
                rows = document.get("results") if isinstance(document, dict) else None
                answers.nearest[symbol] = [str(row.get("ticker")) for row in rows or [] if isinstance(row, dict)][
                    :NEAREST
                ]
    return answers


# Column of the registry -> how its names are asked for.
ASKS = {"polygon": tickers}
