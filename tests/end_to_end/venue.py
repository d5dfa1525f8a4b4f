"""Binance (and Polygon's bars of coins) as a few functions: bars, settlements and samples that follow from their times
alone, served over HTTP by its API and its archive, each symbol with a twist of its own in what is sent about it.

A twist is a dictionary of functions, by what they change:

| name | is called with | returns |
|---|---|---|
| klines | rows of the window up to the limit, the query, how often this symbol was asked | rows, or (status, body) |
| funding, statistics | the same; statistics gets the endpoint's last word first | rows, or (status, body) |
| polygon | rows of the window | rows |
| csv | rows of texts, the file | rows, or the text of the CSV |
| zip | the text of the CSV, the file | the body, or a status |
| checksum | the digest of the body, the file | the body, or a status |

A twist may also name `header`, the first line of its CSVs of bars, and `settles`, the settlements it has.
"""

from __future__ import annotations

import hashlib
import io
import json
import threading
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from scripts.site.reference_formulas import STEP

Twist = dict[str, Any]
Row = list[Any]
SAMPLE = timedelta(minutes=5)
# Since then a sample's label is the start of its period (docs/reference/providers.md).
LABELS_START = datetime(2026, 6, 25, tzinfo=UTC)
METRICS = (
    "create_time,symbol,sum_open_interest,sum_open_interest_value,count_toptrader_long_short_ratio,"
    "sum_toptrader_long_short_ratio,count_long_short_ratio,sum_taker_long_short_vol_ratio"
)
FUNDING = "calc_time,funding_interval_hours,last_funding_rate"


def ms(at: datetime) -> int:
    return round(at.timestamp() * 1000)


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def grid(start: datetime, end: datetime, step: timedelta) -> list[datetime]:
    """The multiples of a step in [start, end)."""
    first = -((instant("1970-01-01") - start) // step)
    at = instant("1970-01-01") + first * step
    return [at + n * step for n in range(max(0, -((at - end) // step)))]


def close(at: datetime) -> str:
    """The close of the bar that opens then."""
    return f"{100 + ms(at) // 300_000 % 50}.5"


def kline(at: datetime, timeframe: str) -> Row:
    base = int(close(at).partition(".")[0])
    prices = [f"{base}.0", f"{base + 2}.0", f"{base - 1}.0", close(at)]
    return [ms(at), *prices, "12.5", ms(at + STEP[timeframe]) - 1, "1250", 9, "6.25", "625", "0"]


def interest(taken: datetime) -> str:
    """The open interest at a moment."""
    return f"{1000 + ms(taken) // 300_000 % 997}.5"


def rate(at: datetime) -> str:
    return f"{(ms(at) // 3_600_000 % 37 - 10) / 100_000:.8f}"


@dataclass(frozen=True)
class File:
    """A file of the archive."""

    kind: str
    symbol: str
    start: datetime
    end: datetime
    timeframe: str = "5m"

    @property
    def name(self) -> str:
        is_month = self.end - self.start > timedelta(days=1)
        date = f"{self.start:%Y-%m}" if is_month else f"{self.start:%Y-%m-%d}"
        return f"{self.symbol}-{self.timeframe if self.kind == 'klines' else self.kind}-{date}"

    def rows(self, settles: Callable[[datetime, datetime], list[datetime]]) -> list[Row]:
        if self.kind == "klines":
            return [
                [
                    str(one * 1000 + 999 * (n == 6) if n in (0, 6) else one)
                    for n, one in enumerate(kline(at, self.timeframe))
                ]
                for at in grid(self.start, self.end, STEP[self.timeframe])
            ]
        if self.kind == "fundingRate":
            return [[str(ms(at) + 3), "8", rate(at)] for at in settles(self.start, self.end)]
        shift = SAMPLE if self.start >= LABELS_START else timedelta()
        # Until then a file runs from five past midnight to midnight.
        first = self.start if shift else self.start + SAMPLE
        return [
            [f"{at:%Y-%m-%d %H:%M:%S}", self.symbol, interest(at + shift), "1", "1.1", "1.2", "1.5", "0.9"]
            for at in grid(first, first + timedelta(days=1), SAMPLE)
        ]


def packed(text: str, name: str) -> bytes:
    """A zip of one CSV."""
    return zipped({f"{name}.csv": text})


def zipped(members: dict[str, str | bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for member, content in members.items():
            archive.writestr(zipfile.ZipInfo(member, (2026, 1, 1, 0, 0, 0)), content)
    return buffer.getvalue()


@dataclass
class Venue:
    """All symbols, what each of them is twisted by, and the present."""

    now: datetime
    url: str = ""
    twists: dict[str, Twist] = field(default_factory=dict)
    # What a whole host does instead of answering, by its name: (status, headers, body).
    down: dict[str, tuple[int, dict[str, str], bytes]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    calls: Counter[tuple[str, str]] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def requests(self, host: str, symbol: str) -> int:
        """How often a symbol was asked for at a host."""
        return sum(path.startswith(f"/{host}/") and f"{symbol}USDT" in path for path in self.asked)

    def answer(self, path: str, query: dict[str, str]) -> tuple[int, bytes]:
        host, _, rest = path.lstrip("/").partition("/")
        if host == "binance-archive":
            return self._archive(rest)
        if host == "polygon":
            return self._polygon(rest)
        symbol = query.get("symbol", "")
        word = rest.rsplit("/", 1)[1]
        with self.lock:
            self.calls[symbol, word] += 1
            n = self.calls[symbol, word]
        start, end = (datetime.fromtimestamp(int(query.get(one, 0)) / 1000, UTC) for one in ("startTime", "endTime"))
        end = min(end + timedelta(milliseconds=1), self.now)
        limit = int(query.get("limit", "500"))
        twist = self._twist(symbol)
        rows: list[Any]
        if word == "klines":
            rows = [kline(at, query["interval"]) for at in grid(start, end, STEP[query["interval"]])]
            result = twist.get("klines", _as_it_is)(rows[:limit], query, n)
        elif word == "fundingRate":
            rows = [
                {"symbol": symbol, "fundingTime": ms(at), "fundingRate": rate(at), "markPrice": "1"}
                for at in self._settles(symbol)(start, end + timedelta(milliseconds=1))
            ]
            result = twist.get("funding", _as_it_is)(rows[:limit], query, n)
        elif word == "openInterest":
            result = {"symbol": symbol, "openInterest": "1234.5", "time": ms(self.now)}
        else:
            rows = [self._sample(word, symbol, at) for at in grid(start, end - SAMPLE, SAMPLE)][:limit]
            result = twist.get("statistics", lambda word, rows, query, n: rows)(word, rows, query, n)
        if isinstance(result, tuple):
            return result[0], result[1] if isinstance(result[1], bytes) else result[1].encode()
        return 200, json.dumps(result).encode()

    def _sample(self, word: str, symbol: str, at: datetime) -> dict[str, Any]:
        own = {
            "openInterestHist": {"sumOpenInterest": interest(at + SAMPLE), "sumOpenInterestValue": "1"},
            "globalLongShortAccountRatio": {"longShortRatio": "1.5", "longAccount": "0.6", "shortAccount": "0.4"},
            "takerlongshortRatio": {"buySellRatio": "1", "sellVol": "1", "buyVol": "1"},
        }[word]
        return {"symbol": symbol, **own, "timestamp": ms(at)}

    def _twist(self, symbol: str) -> Twist:
        return self.twists.get(symbol.removesuffix("USDT"), self.twists.get(symbol, {}))

    def _settles(self, symbol: str) -> Callable[[datetime, datetime], list[datetime]]:
        found: Callable[[datetime, datetime], list[datetime]] = self._twist(symbol).get("settles", every_eight_hours)
        return found

    def _polygon(self, path: str) -> tuple[int, bytes]:
        """Bars of five minutes; a market that is closed, and no holiday to come."""
        parts = path.split("/")
        if parts[-1] == "upcoming":
            return 200, b"[]"
        if parts[:2] != ["v2", "aggs"]:
            return 200, json.dumps({"market": "closed", "serverTime": self.now.isoformat(), "results": []}).encode()
        ticker = parts[3]
        start, end = (datetime.fromtimestamp(int(one) / 1000, UTC) for one in parts[7:9])
        rows = [
            {"t": row[0], "n": 9, "v": float(row[5])} | dict(zip("ohlc", map(float, row[1:5]), strict=True))
            for row in (kline(at, "5m") for at in grid(start, min(end + timedelta(milliseconds=1), self.now), SAMPLE))
        ]
        rows = self._twist(ticker.removeprefix("X:").removesuffix("USD")).get("polygon", lambda rows: rows)(rows)
        counts = dict.fromkeys(("queryCount", "resultsCount", "count"), len(rows))
        return 200, json.dumps(
            {"ticker": ticker, "adjusted": False, "status": "OK", "results": rows, **counts}
        ).encode()

    def _archive(self, path: str) -> tuple[int, bytes]:
        is_checksum = path.endswith(".CHECKSUM")
        parts = path.removesuffix(".CHECKSUM").removesuffix(".zip").split("/")
        kind, symbol = parts[3:5] if parts[1] == "spot" else parts[4:6]
        timeframe = parts[-2] if kind == "klines" else "5m"
        date = parts[-1].removeprefix(f"{symbol}-{timeframe if kind == 'klines' else kind}-")
        start = instant(date if len(date) == 10 else f"{date}-01")
        end = start + timedelta(days=1)
        if len(date) == 7:
            end = (start + timedelta(days=32)).replace(day=1)
        file, twist = File(kind, symbol, start, end, timeframe), self._twist(symbol)
        if end > self.now:
            return 404, b"<Error/>"
        rows = twist.get("csv", lambda rows, file: rows)(file.rows(self._settles(symbol)), file)
        header = {"metrics": METRICS, "fundingRate": FUNDING}.get(kind, twist.get("header"))
        text = rows if isinstance(rows, str) else "".join(f"{','.join(row)}\n" for row in rows)
        if header and not isinstance(rows, str):
            text = f"{header}\n{text}"
        body = twist.get("zip", lambda text, file: packed(text, file.name))(text, file)
        if is_checksum:
            digest = hashlib.sha256(body if isinstance(body, bytes) else b"").hexdigest()
            body = twist.get("checksum", lambda digest, file: f"{digest}  {file.name}.zip".encode())(digest, file)
        return (body, b"<Error/>") if isinstance(body, int) else (200, body)


def _as_it_is(rows: list[Any], query: dict[str, str], n: int) -> list[Any]:
    return rows


def every_eight_hours(start: datetime, end: datetime) -> list[datetime]:
    return grid(start, end, timedelta(hours=8))


@contextmanager
def serving(venue: Venue) -> Iterator[Venue]:
    """The venue on the loopback interface; its `url` is that of scripts.simulator.environment()."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            venue.asked.append(self.path)
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            host = parts.path.split("/")[1]
            status, body = 404, b"{}"
            headers: dict[str, str] = {}
            if host in venue.down:
                status, headers, body = venue.down[host]
            elif host.startswith("binance") or host == "polygon":
                status, body = venue.answer(parts.path, query)
            self.send_response(status)
            for name, value in {
                "Content-Type": "application/json",
                **headers,
                "Content-Length": str(len(body)),
            }.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address, port = server.server_address[:2]
    venue.url = f"http://{address!s}:{port}"
    try:
        yield venue
    finally:
        server.shutdown()
