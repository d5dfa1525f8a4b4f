"""`market doctor --probe` of Yahoo; see extract/providers/probing.py."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from typing import Any
from urllib.parse import quote, urlencode
from zoneinfo import ZoneInfo

from extract.calendar.timeframes import DAY
from extract.providers.probing import Probe, Probed
from extract.providers.shapes import (
    QUARANTINED,
    Difference,
    Shape,
    compare,
    kind_of,
)
from extract.providers.yahoo import Yahoo
from extract.providers.yahoo.settings import CHART, EVENTS, INTERVALS
from extract.providers.yahoo.shapes import META, SHAPES
from extract.symbols.registry import Asset


class YahooProbe(Probe):
    def run(self) -> Iterator[Probed]:
        asset = self.first(lambda one: one.names.get("yahoo") and one.asset_class != "crypto") or self.first(
            lambda one: one.names.get("yahoo")
        )
        if asset is None:
            return
        probed = Probed("yahoo", "bars")
        client = Yahoo()
        interval = INTERVALS[DAY]
        start = self.now - timedelta(days=365 * 5)
        params = {
            "period1": int(start.timestamp()), "period2": int(self.now.timestamp()), "interval": interval,
            "includePrePost": "false", "events": EVENTS,
        }  # fmt: skip
        url = CHART + quote(asset.names["yahoo"])
        probed.request = f"{url}?{urlencode(params)}"
        data = client.client()
        answered = self.send(probed, url, lambda: data.get(url, params=params, timeout=self.chosen.yahoo_timeout))
        document = self.compared(probed, answered, SHAPES["bars"])
        if document is not None and not probed.differences:
            self._compare_chart(probed, document["chart"]["result"][0], asset, interval)
        yield probed

    def _compare_chart(self, probed: Probed, result: dict[str, Any], asset: Asset, interval: str) -> None:
        meta = result.get("meta")
        probed.differences += compare(Shape(META, others=frozenset(meta or {})), meta)
        stamps = result.get("timestamp")
        if not isinstance(stamps, list) or not all(isinstance(one, int) for one in stamps):
            kind = kind_of(stamps[0] if isinstance(stamps, list) and stamps else stamps)
            probed.differences.append(
                Difference(f"timestamp is {kind}, documented is an array of seconds", QUARANTINED)
            )
            return
        if probed.differences or meta is None:
            return
        if meta["symbol"] != asset.names["yahoo"]:
            probed.differences.append(
                Difference(f"asked for {asset.names['yahoo']}, got {meta['symbol']}", QUARANTINED)
            )
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


PROBE = YahooProbe
