"""`market doctor --probe` of Binance; see extract/providers/probing.py."""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

from extract.calendar.timeframes import STEPS, day_start, floor
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
from extract.providers.binance.shapes import (
    ARCHIVE_HEADERS,
    LABELS_ARE_STARTS_FROM,
    PUBLISHED_WITHIN,
    SHAPES,
    SPOT_FILES_IN_MICROSECONDS_FROM,
)
from extract.providers.probing import Probe, Probed, finest
from extract.providers.shapes import (
    MICROSECONDS,
    MILLISECONDS,
    QUARANTINED,
    UNITS,
    UNREAD,
    Difference,
)
from extract.symbols.registry import Asset
from extract.transport.budget import Budget, RequestsPerMinute, WeightPerMinute

# How many steps back a window with more rows than any cap goes.
BEYOND_THE_CAP = 1.2
_CHECKSUM = re.compile(r"[0-9a-f]{64}  \S+\n?")


class BinanceProbe(Probe):
    def run(self) -> Iterator[Probed]:
        spot = self.first(lambda one: one.names.get("binance"))
        futures_alone = self.first(lambda one: one.names.get("binance_futures") and not one.names.get("binance"))
        futures = self.first(lambda one: one.names.get("binance_futures"))
        urls = self.chosen
        if spot:
            budget: Budget = WeightPerMinute("binance_spot", SPOT_WEIGHT_PER_MINUTE)
            yield self._klines(
                "spot klines", urls.binance_spot_base_url, spot, spot.names["binance"], SPOT_KLINES, budget
            )
        if futures:
            weight = WeightPerMinute("binance_futures", FUTURES_WEIGHT_PER_MINUTE)
            if futures_alone:
                name = futures_alone.names["binance_futures"]
                yield self._klines(
                    "futures klines", urls.binance_futures_base_url, futures_alone, name, FUTURES_KLINES, weight
                )
            yield from self._derivatives(futures, weight)
        yield from self._files(spot, futures, futures_alone)

    def _klines(
        self, endpoint: str, base: object, asset: Asset, name: str, kind: tuple[str, int, int], budget: Budget
    ) -> Probed:
        path, cap, weight = kind
        timeframe = finest(asset, KLINES)
        step = STEPS[timeframe]
        end = floor(self.now, timeframe, UTC)
        start = max(end - step * int(cap * BEYOND_THE_CAP), asset.active_window()[0])
        probed = Probed("binance", endpoint)
        query = {"symbol": name, "interval": KLINES[timeframe], "limit": cap}
        query |= {"startTime": milliseconds(start), "endTime": milliseconds(end) - 1}
        shape = SHAPES[endpoint]
        rows = self.compared(probed, self.get(probed, base, f"{path}?{urlencode(query)}", budget, weight), shape)
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
        base, name = self.chosen.binance_futures_base_url, asset.names.get("binance_futures") or ""
        probed = Probed("binance", "funding")
        first = max(self.now - timedelta(days=400), asset.active_window()[0])
        query: dict[str, str | int] = {"symbol": name, "limit": FUNDING_ROWS, "startTime": milliseconds(first)}
        query["endTime"] = milliseconds(self.now)
        budget: Budget = RequestsPerMinute("binance_funding", FUNDING_REQUESTS_PER_MINUTE)
        answered = self.get(probed, base, f"{FUNDING}?{urlencode(query)}", budget)
        rows = self.compared(probed, answered, SHAPES["funding"])
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
            answered = self.get(probed, base, f"{path}?{urlencode(query)}", budget)
            rows = self.compared(probed, answered, SHAPES[endpoint])
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
            answered = self.get(current, base, f"{OPEN_INTEREST_NOW}?{urlencode({'symbol': name})}", weight)
            document = self.compared(current, answered, SHAPES["open_interest_now"])
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
                name = asset.names.get("binance") if via == "spot" else asset.names.get("binance_futures")
                timeframe = finest(asset, KLINES)
                about = (asset.symbol, asset.asset_class, name, timeframe)
                task = Task("binance", "bars", day, day + timedelta(days=1), *about, origin="archive", via=via)
                wanted.append((f"{via} klines", task))
        if futures:
            of = (futures.symbol, futures.asset_class, futures.names["binance_futures"])
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
        checked = self.get(probed, base, f"{path}.CHECKSUM")
        if checked is None:
            return probed
        text = checked.body.decode(errors="replace")
        name = path.rsplit("/", 1)[1]
        if not _CHECKSUM.fullmatch(text) or not text.strip().endswith(name):
            probed.differences.append(
                Difference(f"CHECKSUM is {text[:100]!r}, documented is <sha256>  {name}", "the file is asked of REST")
            )
        answered = self.get(probed, base, path)
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


PROBE = BinanceProbe
