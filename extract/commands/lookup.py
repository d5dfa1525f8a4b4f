"""What a symbol is called at each source, for `market add`: asked of the sources, never guessed.

Data flow: symbols -> exchangeInfo (Binance), search and chart (Yahoo), tickers (Polygon) -> `Found` -> registry rows.

One try each: somebody waits. A block or an open breaker is respected, a new ban is written down as in a run, and
Polygon's requests count against its budget. A source that cannot be asked is a reason in `Found.unasked`, no error.
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import partial
from typing import Any
from urllib.parse import quote, urlencode

import orjson

from extract.calendar import calendars
from extract.core import database, settings
from extract.core.redaction import redact
from extract.core.settings import ConfigurationError
from extract.providers.binance.settings import FUTURES_WEIGHT_PER_MINUTE, GEO_BLOCKED, SPOT_WEIGHT_PER_MINUTE
from extract.providers.yahoo import Yahoo
from extract.providers.yahoo.settings import CHART
from extract.symbols.registry import MULTIPLES
from extract.transport import http
from extract.transport.budget import RequestsPerMinute, WeightPerMinute

# What we quote coins in; the first that a coin has is taken.
QUOTES = ("USDT", "USDC", "FDUSD", "USD")
# Weight of exchangeInfo.
SPOT_INFO, FUTURES_INFO = 20, 1
NEAREST = 3
YAHOO_SEARCH = "https://query2.finance.yahoo.com/v1/finance/search"
YAHOO_KINDS = {"EQUITY": "stock", "ETF": "etf", "CRYPTOCURRENCY": "crypto"}
# Polygon's types of shares that are funds; all other types are stocks.
FUNDS = frozenset({"ETF", "ETN", "ETV", "ETS", "FUND"})

log = logging.getLogger(__name__)


class Unasked(Exception):
    """A source did not answer; the message says why."""


@dataclass(frozen=True)
class Listing:
    """A name at a source. `column` is the registry's; `since` the first day with bars, where the source reports it."""

    column: str
    name: str
    asset_class: str
    description: str
    since: date | None = None
    # Of its sessions, where the source says where it trades.
    calendar: str | None = None


@dataclass
class Found:
    """What the sources know: listings and nearest names by symbol, and why a source could not be asked."""

    listings: dict[str, list[Listing]] = field(default_factory=dict)
    nearest: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    unasked: dict[str, str] = field(default_factory=dict)


def find(symbols: Sequence[str]) -> Found:
    """Ask every source for the symbols, all sources at once. Raises ConfigurationError for bad settings."""
    # Blocks, breakers and budgets are in the database; one pool for all threads.
    database.migrate()
    database.pool()
    found = Found({symbol: [] for symbol in symbols}, {symbol: {} for symbol in symbols})
    sources: list[tuple[str, Callable[[Sequence[str]], _Answers]]] = [
        ("polygon", _polygon), ("binance", _binance), ("binance_futures", _binance_futures), ("yahoo", _yahoo),
    ]  # fmt: skip
    with ThreadPoolExecutor(len(sources)) as pool:
        asked = [(name, pool.submit(ask, symbols)) for name, ask in sources]
    for name, future in asked:
        try:
            answers = future.result()
        except Unasked as problem:
            found.unasked[name] = str(problem)
            continue
        except (ConfigurationError, database.Unreachable):
            raise
        except Exception as problem:
            # An answer of no documented shape is that source's trouble: the others' names are written.
            log.debug("%s: its answer is not understood", name, exc_info=True)
            found.unasked[name] = (
                f"{name} answers what is not understood ({type(problem).__name__}: `market doctor --probe` compares its shape)"
            )
            continue
        for symbol in symbols:
            found.listings[symbol] += answers.listings.get(symbol, [])
            if near := answers.nearest.get(symbol):
                found.nearest[symbol][name] = near
    return found


@dataclass
class _Answers:
    listings: dict[str, list[Listing]] = field(default_factory=dict)
    nearest: dict[str, list[str]] = field(default_factory=dict)


def _once(source: http.Source, what: str, send: Callable[[], http.Response]) -> http.Response:
    """One answer. Raises Unasked where the source is not to be asked, or does not answer."""
    if not source.is_available:
        raise Unasked(f"{what} is left alone after refusals (`market unblock {source.name}` ends it)")
    try:
        return source.checked(send())
    except http.Deferred as problem:
        until = source.block.set(problem.seconds)
        raise Unasked(f"{what} asks to wait until {until:%Y-%m-%d %H:%M} UTC") from None
    except http.Unavailable as problem:
        raise Unasked(f"{what} answers {problem}") from None
    except OSError as problem:
        raise Unasked(f"{what} does not answer ({redact(str(problem)).partition(' See ')[0][:200]})") from None


def _document(response: http.Response, what: str) -> Any:
    try:
        return orjson.loads(response.content)
    except orjson.JSONDecodeError:
        raise Unasked(f"{what} answers something else than JSON (HTTP {response.status_code})") from None


def _day(value: object, unit: float) -> date | None:
    """A day of so many units since 1970; sources write 0 or nothing where they do not know it."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value == 0:
        return None
    try:
        return datetime.fromtimestamp(value / unit, UTC).date()
    except (ValueError, OverflowError, OSError):
        return None


def _iso_day(value: object) -> date | None:
    try:
        return date.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None


def _near(symbol: str, names: Iterable[str]) -> list[str]:
    return difflib.get_close_matches(symbol.upper(), list(dict.fromkeys(names)), n=NEAREST, cutoff=0.5)


# --- Binance ---


def _binance(symbols: Sequence[str]) -> _Answers:
    chosen = settings.load()
    source, session = http.Source("binance"), http.session(connections=1)
    budget = WeightPerMinute("binance_spot", SPOT_WEIGHT_PER_MINUTE)
    with session:
        host = str(chosen.binance_spot_base_url).rstrip("/")
        path = "/api/v3/exchangeInfo?showPermissionSets=false"
        budget.wait(SPOT_INFO)
        response = _once(source, "binance", lambda: http.get(session, host + path))
        if response.status_code == GEO_BLOCKED:
            host = str(chosen.binance_data_api_base_url).rstrip("/")
            response = _once(source, "binance", lambda: http.get(session, host + path))
        answers, known = _markets(
            symbols, response, "binance", "binance", ("",), lambda row: row["status"] == "TRADING"
        )
        for symbol, row in known.items():
            query = urlencode({"symbol": row["symbol"], "interval": "1d", "startTime": 0, "limit": 1})
            budget.wait(2)
            url = f"{host}/api/v3/klines?{query}"
            bars = _document(_once(source, "binance", partial(http.get, session, url)), "binance")
            first = bars[0] if isinstance(bars, list) and bars else None
            since = _day(first[0], 1000) if isinstance(first, list) and first else None
            answers.listings[symbol] = [_market("binance", row, "spot", since)]
        return answers


def _binance_futures(symbols: Sequence[str]) -> _Answers:
    host = str(settings.load().binance_futures_base_url).rstrip("/")
    budget = WeightPerMinute("binance_futures", FUTURES_WEIGHT_PER_MINUTE)
    budget.wait(FUTURES_INFO)
    with http.session(connections=1) as session:
        response = _once(
            http.Source("binance"), "binance futures", lambda: http.get(session, f"{host}/fapi/v1/exchangeInfo")
        )
    answers, known = _markets(
        symbols, response, "binance futures", "binance_futures", ("", *MULTIPLES),
        lambda row: row["status"] == "TRADING" and row.get("contractType") == "PERPETUAL",
    )  # fmt: skip
    for symbol, row in known.items():
        since = _day(row.get("onboardDate"), 1000)
        answers.listings[symbol] = [_market("binance_futures", row, "perpetual future", since)]
    # A coin that has no contract is no misspelt one.
    answers.nearest.clear()
    return answers


def _market(column: str, row: dict[str, Any], kind: str, since: date | None) -> Listing:
    return Listing(column, row["symbol"], "crypto", f"{row['baseAsset']} in {row['quoteAsset']}, {kind}", since)


def _markets(
    symbols: Sequence[str], response: http.Response, what: str, column: str, multiples: Sequence[str],
    is_open: Callable[[dict[str, Any]], bool],
) -> tuple[_Answers, dict[str, dict[str, Any]]]:  # fmt: skip
    """The market of each symbol: its coin in the first of our quotes."""
    document = _document(response, what)
    try:
        rows = [row for row in document["symbols"] if is_open(row) and row["quoteAsset"] in QUOTES]
        by_pair = {(row["baseAsset"], row["quoteAsset"]): row for row in rows if isinstance(row["symbol"], str)}
    except (KeyError, TypeError):
        reason = document.get("msg") if isinstance(document, dict) else None
        raise Unasked(f"{what} refuses: {redact(str(reason or f'HTTP {response.status_code}'))[:200]}") from None
    answers, known = _Answers(), {}
    for symbol in symbols:
        pairs = [by_pair.get((prefix + symbol.upper(), name)) for prefix in multiples for name in QUOTES]
        row = next((one for one in pairs if one), None)
        if row:
            known[symbol] = row
        else:
            answers.nearest[symbol] = _near(symbol, (base for base, _ in by_pair))
    return answers, known


# --- Yahoo ---


def _yahoo(symbols: Sequence[str]) -> _Answers:
    client, answers = Yahoo(), _Answers()
    data = client._yfinance()

    def ask(url: str, params: dict[str, Any]) -> http.Response:
        from yfinance.exceptions import YFRateLimitError

        def send() -> http.Response:
            try:
                return data.get(url, params=params, timeout=settings.load().yahoo_timeout)
            except YFRateLimitError:
                # yfinance drops the answer.
                raise Unasked("yahoo answers HTTP 429: ask again in some minutes") from None

        return _once(client.source, "yahoo", send)

    for symbol in symbols:
        document = _document(ask(YAHOO_SEARCH, {"q": symbol, "quotesCount": 8, "newsCount": 0}), "yahoo")
        rows = document.get("quotes") if isinstance(document, dict) else None
        rows = [row for row in rows or [] if isinstance(row, dict) and row.get("quoteType") in YAHOO_KINDS]
        wanted = {symbol.upper(), symbol.upper().replace(".", "-"), f"{symbol.upper()}-USD"}
        for row in rows:
            name, kind = str(row.get("symbol")), YAHOO_KINDS[row["quoteType"]]
            if name.upper() not in wanted or (kind == "crypto") != name.upper().endswith("-USD"):
                continue
            chart = _document(ask(CHART + quote(name), {"range": "1d", "interval": "1d"}), "yahoo")
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
            since = _day(meta.get("firstTradeDate"), 1)
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


# --- Polygon ---


def _polygon(symbols: Sequence[str]) -> _Answers:
    chosen = settings.load()
    if chosen.polygon_api_key is None:
        raise Unasked("POLYGON_API_KEY is not set (put it into .env, then `market add` again fills the names in)")
    host = str(chosen.polygon_base_url).rstrip("/")
    headers = {"Authorization": f"Bearer {chosen.polygon_api_key.get_secret_value()}"}
    allowed = chosen.polygon_requests_per_minute
    budget = RequestsPerMinute("polygon", allowed) if allowed else None
    source, answers = http.Source("polygon"), _Answers()
    with http.session(connections=1) as session:

        def ask(path: str) -> tuple[int, Any]:
            if budget:
                budget.wait()
            response = _once(source, "polygon", lambda: http.get(session, host + path, None, **headers))
            if response.status_code in (401, 403):
                raise Unasked(
                    f"polygon refuses POLYGON_API_KEY (HTTP {response.status_code}): put a valid one into .env"
                )
            return response.status_code, _document(response, "polygon")

        for symbol in symbols:
            for name in (symbol.upper(), f"X:{symbol.upper()}USD"):
                status, document = ask(f"/v3/reference/tickers/{quote(name, safe='')}")
                row = document.get("results") if isinstance(document, dict) and status == 200 else None
                if not isinstance(row, dict) or row.get("ticker") != name or row.get("active") is False:
                    continue
                kind = "crypto" if row.get("market") == "crypto" else "etf" if row.get("type") in FUNDS else "stock"
                described = ", ".join(str(row[one]) for one in ("name", "primary_exchange") if row.get(one))
                listing = row.get("list_date") if kind != "crypto" else None
                since = _iso_day(listing)
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
