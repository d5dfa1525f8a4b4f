"""Yahoo's cookie, crumb and chart flow as docs/reference/providers.md records it; all Yahoo hosts share one base URL."""

from __future__ import annotations

import difflib
from typing import Any

import orjson

from scripts.simulator.instruments import Instrument
from scripts.simulator.world import Call, Reply, World
from scripts.simulator.yahoo_chart import HEADERS, KINDS, chart

CRUMB = "s1mUlat0r.x"


def cookie(world: World, call: Call) -> Reply:
    """fc.yahoo.com: a 404 page whose only use is its cookie."""
    domain = "; Domain=.yahoo.com" if "yahoo.com" in call.headers.get("Host", "") else ""
    headers = {"Set-Cookie": f"A3=d=simulator&S=simulator; Max-Age=31557600; Path=/{domain}; HttpOnly"}
    return Reply(404, b"<!doctype html><html><title>Yahoo</title><h1>Not found</h1></html>", headers, "text/html")


def crumb(world: World, call: Call) -> Reply:
    return Reply(200, CRUMB.encode(), dict(HEADERS), "text/plain")


def consent(world: World, call: Call) -> Reply:
    """The consent page that yfinance walks through after a failed request."""
    form = b'<form><input name="csrfToken" value="simulator"><input name="sessionId" value="3_cc-session_1"></form>'
    return Reply(200, b"<!doctype html><html><body>" + form + b"</body></html>", {}, "text/html")


def consented(world: World, call: Call) -> Reply:
    return Reply(200, b"<!doctype html><html><body>ok</body></html>", {}, "text/html")


def quote_summary(world: World, call: Call) -> Reply:
    """quoteSummary and quote: the simulator has no fundamentals."""
    description = f"Quote not found for symbol: {call.symbol or ''}"
    key = "quoteSummary" if "quoteSummary" in call.path else "quoteResponse"
    return Reply.json(404, {key: {"result": None, "error": {"code": "Not Found", "description": description}}})


def search(world: World, call: Call) -> Reply:
    """GET /v1/finance/search?q=: names and symbols that hold the words, the exact symbol first; Yahoo finds near ones, too."""
    words = call.query.get("q", "").upper()
    if not words:
        return Reply(
            400,
            b'{"finance":{"result":null,"error":{"code":"Bad Request","description":"Missing required query parameter=q"}}}',
        )
    count = int(call.query.get("quotesCount", 7))
    known = {
        instrument.symbol: instrument
        for instrument in world.dataset.yahoo.values()
        if instrument.first <= world.clock()
    }
    held = [name for name, one in known.items() if words in name.upper() or words in one.name.upper()]
    near = difflib.get_close_matches(words, known, n=count, cutoff=0.5)
    found = sorted(dict.fromkeys([*held, *near]), key=lambda name: name.removesuffix("-USD") != words)[:count]
    quotes = [_quote(known[name], rank) for rank, name in enumerate(found)]
    body = {
        "explains": [], "count": len(quotes), "quotes": quotes, "news": [], "nav": [], "lists": [], "researchReports": [],
        "screenerFieldResults": [], "totalTime": 21, "timeTakenForQuotes": 412, "timeTakenForNews": 0,
    }  # fmt: skip
    return Reply(200, orjson.dumps(body), dict(HEADERS))


def _quote(instrument: Instrument, rank: int) -> dict[str, Any]:
    kind = "CRYPTOCURRENCY" if instrument.kind != "stock" else KINDS.get(instrument.security, "EQUITY")
    exchange = {"XNAS": ("NMS", "NASDAQ"), "XNYS": ("NYQ", "NYSE"), "ARCX": ("PCX", "NYSEArca")}.get(
        instrument.exchange, ("CCC", "CCC")
    )
    return {
        "exchange": exchange[0], "shortname": instrument.name, "quoteType": kind, "symbol": instrument.symbol,
        "index": "quotes", "score": 20_000.0 - rank, "typeDisp": {"EQUITY": "Equity"}.get(kind, kind.title()),
        "longname": instrument.name, "exchDisp": exchange[1], "isYahooFinance": True,
    }  # fmt: skip


ROUTES = [
    (r"/v8/finance/chart/(?P<symbol>[^/]+)", "bars", chart),
    (r"/v1/test/getcrumb", "crumb", crumb),
    (r"/v1/finance/search", "search", search),
    (r"/?", "cookie", cookie),
    (r"/consent", "consent", consent),
    (r"/v2/collectConsent", "consent", consented),
    (r"/copyConsent", "consent", consented),
    (r"/v10/finance/quoteSummary/(?P<symbol>[^/]+)", "quote", quote_summary),
    (r"/v7/finance/quote", "quote", quote_summary),
]
