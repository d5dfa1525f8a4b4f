"""`market doctor --probe`: one real request per endpoint in use, its answer compared with what is documented.

Data flow: registry and settings -> the endpoints in use -> one answer each (budgets, blocks and breakers as ever) ->
shapes.py -> differences, each with what it means. Nothing is written to the raw tables: it is a look, not a load.
"""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from typing import Any
from urllib.parse import quote, urlencode
from zoneinfo import ZoneInfo

import orjson

from extract.calendar.timeframes import A_DAY, DAY, STEPS, day_start, floor
from extract.commands.shapes import (
    ARCHIVE_HEADERS,
    LABELS_ARE_STARTS_FROM,
    MICROSECONDS,
    MILLISECONDS,
    PUBLISHED_WITHIN,
    QUARANTINED,
    SHAPES,
    SPOT_FILES_IN_MICROSECONDS_FROM,
    UNITS,
    UNREAD,
    YAHOO_META,
    Difference,
    Shape,
    compare,
    kind_of,
)
from extract.core import clock, provenance, settings
from extract.load.responses import Task, sha256
from extract.providers.base import milliseconds
from extract.providers.binance import archive
from extract.providers.binance.settings import (
    ARCHIVE_AGE,
    FUNDING,
    FUNDING_REQUESTS_PER_MINUTE,
    FUNDING_ROWS,
    FUTURES_KLINES,
    FUTURES_WEIGHT_PER_MINUTE,
    OPEN_INTEREST_NOW,
    SPOT_KLINES,
    SPOT_WEIGHT_PER_MINUTE,
    STATISTICS,
    STATISTICS_PERIOD,
    STATISTICS_REQUESTS_PER_MINUTE,
    STATISTICS_ROWS,
)
from extract.providers.binance.settings import INTERVALS as KLINES
from extract.providers.coinmetrics.settings import METRIC, PATH
from extract.providers.polygon import DATED, HOLIDAYS_PATH, STATUS_PATH, US
from extract.providers.polygon.settings import PAGE_LIMIT, SPANS
from extract.providers.yahoo import Yahoo
from extract.providers.yahoo.settings import CHART, INTERVALS
from extract.symbols import registry
from extract.symbols.registry import Asset
from extract.transport import http
from extract.transport.budget import Budget, RequestsPerMinute, WeightPerMinute

# How many steps back a window with more rows than any cap goes.
BEYOND_THE_CAP = 1.2
_CHECKSUM = re.compile(r"[0-9a-f]{64}  \S+\n?")


@dataclass
class Probed:
    """What came of one endpoint: nothing was different, these things were, or it could not be asked."""

    source: str
    endpoint: str
    request: str = ""
    problem: str = ""
    differences: list[Difference] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        return not self.problem and not self.differences

    def __str__(self) -> str:
        name = f"{self.source} {self.endpoint}"
        if self.problem:
            return f"????  {name}: not compared: {self.problem}"
        if not self.differences:
            return f"ok    {name}: as documented"
        return "\n".join(f"DIFF  {name}: {one}" for one in self.differences)

    def as_dict(self) -> dict[str, Any]:
        """For --json."""
        return {
            "source": self.source,
            "endpoint": self.endpoint,
            "request": self.request,
            "problem": self.problem or None,
            "differences": [{"what": one.what, "means": one.means} for one in self.differences],
        }


@dataclass
class Answered:
    """A good answer, as much of it as is compared."""

    body: bytes
    headers: dict[str, str]

    @property
    def document(self) -> Any:
        return orjson.loads(self.body)


class Probe:
    """One probe of everything in use."""

    def __init__(self) -> None:
        self.chosen = settings.load()
        self.now = clock.now()
        self.assets = [asset for asset in registry.select(registry.load()) if asset.is_active(self.now.date())]
        self.session = http.session(connections=1)
        self._sources: dict[str, http.Source] = {}

    def run(self) -> Iterator[Probed]:
        """Every endpoint in use, one after the other."""
        with ExitStack() as stack:
            stack.callback(self.session.close)
            yield from self._polygon()
            yield from self._binance()
            yield from self._yahoo()
            if self.chosen.coinmetrics_enabled:
                yield from self._coinmetrics()

    # --- asking ---

    def _send(self, probed: Probed, host: str, send: Callable[[], http.Response]) -> Answered | None:
        """The answer, or None: then `probed` says why it could not be compared."""
        seen: list[http.Response] = []

        def kept() -> http.Response:
            seen.append(send())
            return seen[-1]

        if host not in self._sources:
            self._sources[host] = http.Source(probed.source)
        answer = self._sources[host].ask(kept)
        if not answer.is_success or answer.body is None:
            probed.problem = answer.error or f"HTTP {answer.http_status}"
            return None
        headers = {name.lower(): value for name, value in seen[-1].headers.items()}
        return Answered(answer.body, headers)

    def _get(
        self,
        probed: Probed,
        base: object,
        path: str,
        budget: Budget | None = None,
        weight: int = 1,
        headers: Mapping[str, str] | None = None,
    ) -> Answered | None:
        host = str(base).rstrip("/")
        probed.request = host + path

        def send() -> http.Response:
            if budget:
                budget.wait(weight, may_wait=True)
            return http.get(self.session, host + path, None, **(headers or {}))

        return self._send(probed, host, send)

    def _compared(self, probed: Probed, answered: Answered | None, shape: Shape) -> Any:
        """Compare the shape and the headers; returns the document where that can be looked at further."""
        if answered is None:
            return None
        try:
            document = answered.document
        except orjson.JSONDecodeError:
            probed.differences.append(Difference("the body is not JSON", QUARANTINED))
            return None
        probed.differences += compare(shape, document)
        for name in shape.headers:
            if not answered.headers.get(name.lower(), "").isdigit():
                probed.differences.append(
                    Difference(f"header {name} is missing or no number", "the budget goes by our own count alone")
                )
        return document

    def _first(self, has: Callable[[Asset], object], timeframe: str | None = None) -> Asset | None:
        return next((one for one in self.assets if has(one) and (not timeframe or timeframe in one.timeframes)), None)

    # --- Polygon ---

    def _polygon(self) -> Iterator[Probed]:
        key = self.chosen.polygon_api_key
        stocks = [one for one in self.assets if one.polygon and one.asset_class != "crypto"]
        any_asset = self._first(lambda one: one.polygon)
        if any_asset is None:
            return
        if key is None:
            yield Probed("polygon", "all endpoints", problem="POLYGON_API_KEY is not set: put it into .env")
            return
        per_minute = self.chosen.polygon_requests_per_minute
        budget = RequestsPerMinute("polygon", per_minute) if per_minute else None

        def ask(endpoint: str, path: str) -> tuple[Probed, Answered | None]:
            probed = Probed("polygon", endpoint)
            bearer = {"Authorization": f"Bearer {key.get_secret_value()}"}
            return probed, self._get(probed, self.chosen.polygon_base_url, path, budget, headers=bearer)

        yield self._polygon_bars(any_asset, ask)
        if stocks:
            # Old enough for every plan, and no holiday falls on three Wednesdays in a row.
            day = next(
                day
                for back in range(14, 40)
                if (day := (self.now - timedelta(days=back)).astimezone(US.zone).date()).weekday() == 2
            )
            probed, answered = ask("grouped_daily", f"/v2/aggs/grouped/locale/us/market/stocks/{day}?adjusted=false")
            document = self._compared(probed, answered, SHAPES["polygon", "grouped_daily"])
            if document is not None:
                closes = datetime.combine(day, time(16), US.zone)
                stamps = {row["t"] for row in document.get("results") or [] if isinstance(row.get("t"), int)}
                if stamps and milliseconds(closes) not in stamps:
                    newest_stamp = datetime.fromtimestamp(max(stamps) / 1000, UTC)
                    probed.differences.append(
                        Difference(
                            f"days are stamped {newest_stamp:%Y-%m-%d %H:%M} UTC, documented is the close, 16:00 New York",
                            "days of the whole market would be taken for other days",
                        )
                    )
            yield probed
            for endpoint, date_field in DATED.items():
                query = {"order": "asc", "sort": date_field, "limit": 50, "ticker": stocks[0].polygon or ""}
                probed, answered = ask(endpoint, f"/v3/reference/{endpoint}?{urlencode(query)}")
                self._compared(probed, answered, SHAPES["polygon", endpoint])
                yield probed
            query = {"ticker": stocks[0].polygon or "", "active": "true"}
            probed, answered = ask("tickers", f"/v3/reference/tickers?{urlencode(query)}")
            self._compared(probed, answered, SHAPES["polygon", "tickers"])
            yield probed
        for endpoint, path in (("market_status", STATUS_PATH), ("market_holidays", HOLIDAYS_PATH)):
            probed, answered = ask(endpoint, path)
            self._compared(probed, answered, SHAPES["polygon", endpoint])
            yield probed

    def _polygon_bars(self, asset: Asset, ask: Callable[[str, str], tuple[Probed, Answered | None]]) -> Probed:
        timeframe = _finest(asset, SPANS)
        multiplier, span = SPANS[timeframe]
        end = day_start(self.now - timedelta(days=2), UTC)
        # Of a coin more minutes than a page holds.
        start = end - timedelta(minutes=PAGE_LIMIT * BEYOND_THE_CAP)
        query = urlencode({"adjusted": "false", "sort": "asc", "limit": PAGE_LIMIT})
        window = f"{milliseconds(start)}/{milliseconds(end) - 1}"
        path = f"/v2/aggs/ticker/{asset.polygon}/range/{multiplier}/{span}/{window}?{query}"
        probed, answered = ask("bars", path)
        document = self._compared(probed, answered, SHAPES["polygon", "bars"])
        if not isinstance(document, dict):
            return probed
        if document.get("adjusted") is True:
            probed.differences.append(
                Difference("adjusted is true though false was asked for", "a later split would rewrite the history")
            )
        if document.get("ticker", asset.polygon) != asset.polygon:
            probed.differences.append(Difference(f"asked for {asset.polygon}, got {document['ticker']}", QUARANTINED))
        rows = [row for row in document.get("results") or [] if isinstance(row, dict) and isinstance(row.get("t"), int)]
        if asset.asset_class == "crypto" and rows and document.get("next_url"):
            minutes = (rows[-1]["t"] - rows[0]["t"]) / 60_000
            if minutes < PAGE_LIMIT * 0.9 and STEPS[timeframe] < A_DAY:
                probed.differences.append(
                    Difference(
                        f"a page ends after {minutes:,.0f} minutes, asked for were {PAGE_LIMIT:,}",
                        "each window takes more requests than --dry-run says",
                    )
                )
        return probed

    # --- Binance ---

    def _binance(self) -> Iterator[Probed]:
        spot = self._first(lambda one: one.binance)
        futures_alone = self._first(lambda one: one.binance_futures and not one.binance)
        futures = self._first(lambda one: one.binance_futures)
        urls = self.chosen
        if spot:
            budget: Budget = WeightPerMinute("binance_spot", SPOT_WEIGHT_PER_MINUTE)
            yield self._klines("spot klines", urls.binance_spot_base_url, spot, spot.binance or "", SPOT_KLINES, budget)
        if futures:
            weight = WeightPerMinute("binance_futures", FUTURES_WEIGHT_PER_MINUTE)
            if futures_alone:
                name = futures_alone.binance_futures or ""
                yield self._klines(
                    "futures klines", urls.binance_futures_base_url, futures_alone, name, FUTURES_KLINES, weight
                )
            yield from self._derivatives(futures, weight)
        yield from self._files(spot, futures, futures_alone)

    def _klines(
        self, endpoint: str, base: object, asset: Asset, name: str, kind: tuple[str, int, int], budget: Budget
    ) -> Probed:
        path, cap, weight = kind
        timeframe = _finest(asset, KLINES)
        step = STEPS[timeframe]
        end = floor(self.now, timeframe, UTC)
        start = max(end - step * int(cap * BEYOND_THE_CAP), asset.active_window()[0])
        probed = Probed("binance", endpoint)
        query = {"symbol": name, "interval": KLINES[timeframe], "limit": cap}
        query |= {"startTime": milliseconds(start), "endTime": milliseconds(end) - 1}
        shape = SHAPES["binance", endpoint]
        rows = self._compared(probed, self._get(probed, base, f"{path}?{urlencode(query)}", budget, weight), shape)
        if not isinstance(rows, list) or not rows or probed.differences:
            return probed
        self._compare_cap(probed, [row[0] for row in rows], cap, end, step)
        if (length := rows[0][6] - rows[0][0] + 1) != step / timedelta(milliseconds=1):
            probed.differences.append(
                Difference(f"asked for {timeframe} bars, got bars of {length / 60_000:.0f} minutes", QUARANTINED)
            )
        return probed

    @staticmethod
    def _compare_cap(probed: Probed, stamps: Sequence[int], cap: int, end: datetime, step: timedelta) -> None:
        """An answer that stops before the window's end has reached its cap."""
        if len(stamps) > cap:
            probed.differences.append(Difference(f"{len(stamps)} rows where {cap} were asked for", UNREAD))
        elif len(stamps) < cap and stamps[-1] < milliseconds(end - 2 * step):
            probed.differences.append(
                Difference(
                    f"an answer ends after {len(stamps)} rows, documented are {cap}",
                    "the rest of a window is asked for page by page; windows are planned too long",
                )
            )

    def _derivatives(self, asset: Asset, weight: Budget) -> Iterator[Probed]:
        base, name = self.chosen.binance_futures_base_url, asset.binance_futures or ""
        probed = Probed("binance", "funding")
        first = max(self.now - timedelta(days=400), asset.active_window()[0])
        query: dict[str, str | int] = {"symbol": name, "limit": FUNDING_ROWS, "startTime": milliseconds(first)}
        query["endTime"] = milliseconds(self.now)
        budget: Budget = RequestsPerMinute("binance_funding", FUNDING_REQUESTS_PER_MINUTE)
        answered = self._get(probed, base, f"{FUNDING}?{urlencode(query)}", budget)
        rows = self._compared(probed, answered, SHAPES["binance", "funding"])
        if isinstance(rows, list) and rows and not probed.differences:
            self._compare_cap(probed, [r["fundingTime"] for r in rows], FUNDING_ROWS, self.now, timedelta(hours=8))
        yield probed

        newest: dict[str, int] = {}
        budget = RequestsPerMinute("binance_statistics", STATISTICS_REQUESTS_PER_MINUTE)
        for endpoint, (path, _) in STATISTICS.items():
            probed = Probed("binance", endpoint)
            # The newest rows, as many as an answer holds: their labels are looked at, too.
            end = floor(self.now, STATISTICS_PERIOD, UTC) + STEPS[STATISTICS_PERIOD]
            start = max(end - STATISTICS_ROWS * STEPS[STATISTICS_PERIOD], self.now - timedelta(days=29))
            query = {
                "symbol": name,
                "period": STATISTICS_PERIOD,
                "limit": STATISTICS_ROWS,
                "startTime": milliseconds(start),
            }
            query["endTime"] = milliseconds(self.now)
            answered = self._get(probed, base, f"{path}?{urlencode(query)}", budget)
            rows = self._compared(probed, answered, SHAPES["binance", endpoint])
            if isinstance(rows, list) and rows and not probed.differences:
                newest[endpoint] = rows[-1]["timestamp"]
                self._compare_cap(
                    probed, [r["timestamp"] for r in rows], STATISTICS_ROWS, self.now, 2 * STEPS[STATISTICS_PERIOD]
                )
            if endpoint != "open_interest":
                yield probed
                continue
            # The sample of this moment next to the newest label shows what labels mean.
            current = Probed("binance", "open_interest_now")
            answered = self._get(current, base, f"{OPEN_INTEREST_NOW}?{urlencode({'symbol': name})}", weight)
            document = self._compared(current, answered, SHAPES["binance", "open_interest_now"])
            if isinstance(document, dict) and not current.differences and endpoint in newest:
                self._compare_label(probed, newest[endpoint], document["time"], STATISTICS_PERIOD)
            yield probed
            yield current

    @staticmethod
    def _compare_label(probed: Probed, newest: int, now: int, STATISTICS_PERIOD: str) -> None:
        """Whether the newest sample bears the end of its STATISTICS_PERIOD (younger than one STATISTICS_PERIOD) or its start."""
        age = timedelta(milliseconds=now - newest)
        step = STEPS[STATISTICS_PERIOD]
        if step <= age < step + PUBLISHED_WITHIN or age >= 2 * step + PUBLISHED_WITHIN:
            probed.problem = (
                f"the newest sample is labelled {age} before now: whether labels are starts or ends is unknown;"
                " ask again in a minute or two"
            )
            return
        is_start = age >= step
        should_be_start = datetime.fromtimestamp(now / 1000, UTC) >= LABELS_ARE_STARTS_FROM
        if is_start != should_be_start:
            words = {True: "start", False: "end"}
            at, seen = (datetime.fromtimestamp(one / 1000, UTC) for one in (newest, now))
            probed.differences.append(
                Difference(
                    f"labels are the {words[is_start]} of the period (the newest is {at:%H:%M}, seen at {seen:%H:%M:%S}"
                    f" UTC), expected is its {words[should_be_start]}",
                    "samples would be known one period too early" if is_start else "samples come one period too late",
                )
            )

    def _files(self, spot: Asset | None, futures: Asset | None, futures_alone: Asset | None) -> Iterator[Probed]:
        day = day_start(self.now - ARCHIVE_AGE - timedelta(days=1), UTC)
        month = archive.month_start(archive.month_start(self.now) - timedelta(days=1))
        month = archive.month_start(month - timedelta(days=1))
        wanted: list[tuple[str, Task]] = []
        for asset, via in ((spot, "spot"), (futures_alone, "futures")):
            if asset:
                name = asset.binance if via == "spot" else asset.binance_futures
                timeframe = _finest(asset, KLINES)
                about = (asset.symbol, asset.asset_class, name, timeframe)
                task = Task("binance", "bars", day, day + timedelta(days=1), *about, origin="archive", via=via)
                wanted.append((f"{via} klines", task))
        if futures:
            of = (futures.symbol, futures.asset_class, futures.binance_futures)
            wanted.append(("metrics", Task("binance", "metrics", day, day + timedelta(days=1), *of, origin="archive")))
            wanted.append(
                ("funding", Task("binance", "funding", month, archive.next_month(month), *of, origin="archive"))
            )
        for kind, task in wanted:
            yield self._file(kind, task)

    def _file(self, kind: str, task: Task) -> Probed:
        probed = Probed("binance", f"archive {kind}")
        path = archive.file_path(task)
        base = self.chosen.binance_archive_base_url
        checked = self._get(probed, base, f"{path}.CHECKSUM")
        if checked is None:
            return probed
        text = checked.body.decode(errors="replace")
        name = path.rsplit("/", 1)[1]
        if not _CHECKSUM.fullmatch(text) or not text.strip().endswith(name):
            probed.differences.append(
                Difference(f"CHECKSUM is {text[:100]!r}, documented is <sha256>  {name}", "the file is asked of REST")
            )
        answered = self._get(probed, base, path)
        if answered is None:
            return probed
        if text.split()[:1] != [sha256(answered.body)]:
            probed.differences.append(Difference("the file does not have its checksum", "the file is asked of REST"))
        try:
            with zipfile.ZipFile(io.BytesIO(answered.body)) as opened:
                names = opened.namelist()
                rows = list(csv.reader(io.StringIO(opened.read(names[0]).decode())))
        except (zipfile.BadZipFile, IndexError, UnicodeDecodeError) as error:
            probed.differences.append(Difference(f"the file is no zip of a CSV ({error})", "the file is asked of REST"))
            return probed
        if names != [name.removesuffix(".zip") + ".csv"]:
            probed.differences.append(Difference(f"the zip holds {', '.join(names)}", UNREAD))
        self._compare_columns(probed, kind, task, rows)
        return probed

    @staticmethod
    def _compare_columns(probed: Probed, kind: str, task: Task, rows: list[list[str]]) -> None:
        header = rows.pop(0) if rows and rows[0] and rows[0][0][:1].isalpha() else None
        expected = ARCHIVE_HEADERS[kind]
        if header != expected and not (header is None and expected and kind == "futures klines"):
            columns = ",".join(header) if header else "no header"
            wanted = ",".join(expected) if expected else "no header"
            probed.differences.append(
                Difference(f"the columns are {columns}, documented are {wanted}", "columns may be taken for others")
            )
        if not rows:
            probed.differences.append(Difference("the file has no rows", "its window is asked of REST"))
        elif kind != "metrics" and rows[0][0].isdigit():
            is_micro = kind == "spot klines" and task.start >= SPOT_FILES_IN_MICROSECONDS_FROM
            unit = MICROSECONDS if is_micro else MILLISECONDS
            low, high = UNITS[unit]
            if not low <= int(rows[0][0]) < high:
                probed.differences.append(
                    Difference(
                        f"times are not in {unit} ({rows[0][0]})", "nothing: they are distinguished by their magnitude"
                    )
                )

    # --- Yahoo ---

    def _yahoo(self) -> Iterator[Probed]:
        asset = self._first(lambda one: one.yahoo and one.asset_class != "crypto") or self._first(lambda one: one.yahoo)
        if asset is None or asset.yahoo is None:
            return
        probed = Probed("yahoo", "bars")
        client = Yahoo()
        interval = INTERVALS[DAY]
        start = self.now - timedelta(days=365 * 5)
        params = {
            "period1": int(start.timestamp()), "period2": int(self.now.timestamp()), "interval": interval,
            "includePrePost": "false", "events": "div,splits",
        }  # fmt: skip
        url = CHART + quote(asset.yahoo)
        probed.request = f"{url}?{urlencode(params)}"
        data = client._yfinance()
        answered = self._send(probed, url, lambda: data.get(url, params=params, timeout=self.chosen.yahoo_timeout))
        document = self._compared(probed, answered, SHAPES["yahoo", "bars"])
        if document is not None and not probed.differences:
            self._compare_chart(probed, document["chart"]["result"][0], asset, interval)
        yield probed

    def _compare_chart(self, probed: Probed, result: dict[str, Any], asset: Asset, interval: str) -> None:
        meta = result.get("meta")
        probed.differences += compare(Shape(YAHOO_META, others=frozenset(meta or {})), meta)
        stamps = result.get("timestamp")
        if not isinstance(stamps, list) or not all(isinstance(one, int) for one in stamps):
            kind = kind_of(stamps[0] if isinstance(stamps, list) and stamps else stamps)
            probed.differences.append(
                Difference(f"timestamp is {kind}, documented is an array of seconds", QUARANTINED)
            )
            return
        if probed.differences or meta is None:
            return
        if meta["symbol"] != asset.yahoo:
            probed.differences.append(Difference(f"asked for {asset.yahoo}, got {meta['symbol']}", QUARANTINED))
        if meta["dataGranularity"] != interval:
            probed.differences.append(Difference(f"asked for {interval}, got {meta['dataGranularity']}", QUARANTINED))
        try:
            zone = ZoneInfo(meta["exchangeTimezoneName"])
        except (KeyError, ValueError, OSError):
            probed.differences.append(Difference(f"unknown time zone {meta['exchangeTimezoneName']!r}", QUARANTINED))
            return
        quotes = result["indicators"]["quote"][0]
        if odd := [name for name, values in quotes.items() if len(values) != len(stamps)]:
            probed.differences.append(
                Difference(f"{', '.join(sorted(odd))} has another length than timestamp", QUARANTINED)
            )
            return
        # The last one may be the running day's, stamped with the last trade.
        opens = {datetime.fromtimestamp(stamp, zone).time() for stamp in stamps[:-1]}
        expected = {time(0)} if asset.asset_class == "crypto" else {(datetime.min + asset.market.opens).time(), time(0)}
        if opens - expected:
            at = ", ".join(sorted(f"{one:%H:%M}" for one in opens - expected)[:3])
            probed.differences.append(
                Difference(f"days are stamped {at} {zone.key}", "bars would be rejected as off their session")
            )
        self._compare_basis(probed, result, stamps, quotes["close"])

    @staticmethod
    def _compare_basis(probed: Probed, result: dict[str, Any], stamps: list[int], closes: list[float | None]) -> None:
        """Yahoo adjusts closes for splits: on an ex-date the price goes on. As traded it would jump by the ratio."""
        for split in ((result.get("events") or {}).get("splits") or {}).values():
            ratio = split["numerator"] / split["denominator"]
            before = [close for stamp, close in zip(stamps, closes, strict=True) if stamp < split["date"] and close]
            after = [close for stamp, close in zip(stamps, closes, strict=True) if stamp >= split["date"] and close]
            if before and after and abs(before[-1] / after[0] / ratio - 1) < abs(before[-1] / after[0] - 1):
                day = datetime.fromtimestamp(split["date"], UTC).date()
                probed.differences.append(
                    Difference(
                        f"prices before the split of {day} are as traded, documented is adjusted for it",
                        "they would be adjusted twice",
                    )
                )

    # --- Coin Metrics ---

    def _coinmetrics(self) -> Iterator[Probed]:
        asset = self._first(lambda one: one.coinmetrics)
        if asset is None:
            return
        probed = Probed("coinmetrics", "exchange_inflow")
        end = day_start(self.now, UTC) - timedelta(days=3)
        query = urlencode(
            {
                "assets": asset.coinmetrics or "", "metrics": METRIC, "frequency": "1d",
                "start_time": f"{end - timedelta(days=30):%Y-%m-%d}", "end_time": f"{end:%Y-%m-%d}",
                "page_size": 100, "paging_from": "start",
            }
        )  # fmt: skip
        answered = self._get(probed, self.chosen.coinmetrics_base_url, f"{PATH}?{query}")
        document = self._compared(probed, answered, SHAPES["coinmetrics", "exchange_inflow"])
        if document is not None and not probed.differences and len(document["data"]) < 30:
            probed.differences.append(
                Difference(f"{len(document['data'])} of 31 days have a value", "exchange_inflow is NULL on the others")
            )
        yield probed


def _finest(asset: Asset, names: Mapping[str, object]) -> str:
    """The finest timeframe of an asset that a source serves; its days where it serves none."""
    return min((one for one in asset.timeframes if one in names), key=lambda one: STEPS[one], default=DAY)


def probe() -> Iterator[Probed]:
    """Ask every endpoint in use once and compare. Raises ConfigurationError for a bad registry or bad settings."""
    provenance.refuse_mixing()
    yield from Probe().run()
