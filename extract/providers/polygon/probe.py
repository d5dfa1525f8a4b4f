"""`market doctor --probe` of Polygon; see extract/providers/probing.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, time, timedelta
from urllib.parse import urlencode

from extract.calendar.timeframes import A_DAY, STEPS, day_start
from extract.providers.base import milliseconds
from extract.providers.polygon import STATUS_PATH
from extract.providers.polygon.asking import DATED, HOLIDAYS_PATH, US
from extract.providers.polygon.settings import PAGE_LIMIT, SPANS
from extract.providers.polygon.shapes import SHAPES
from extract.providers.probing import Answered, Probe, Probed, finest
from extract.providers.shapes import (
    QUARANTINED,
    Difference,
)
from extract.symbols.registry import Asset
from extract.transport.budget import RequestsPerMinute

# How many steps back a window with more rows than any cap goes.
BEYOND_THE_CAP = 1.2


class PolygonProbe(Probe):
    def run(self) -> Iterator[Probed]:
        key = self.chosen.polygon_api_key
        stocks = [one for one in self.assets if one.names.get("polygon") and one.asset_class in ("stock", "etf")]
        any_asset = self.first(lambda one: one.names.get("polygon"))
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
            return probed, self.get(probed, self.chosen.polygon_base_url, path, budget, headers=bearer)

        yield self._bars(any_asset, ask)
        if stocks:
            # Old enough for every plan, and no holiday falls on three Wednesdays in a row.
            day = next(
                day
                for back in range(14, 40)
                if (day := (self.now - timedelta(days=back)).astimezone(US.zone).date()).weekday() == 2
            )
            probed, answered = ask("grouped_daily", f"/v2/aggs/grouped/locale/us/market/stocks/{day}?adjusted=false")
            document = self.compared(probed, answered, SHAPES["grouped_daily"])
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
                query = {"order": "asc", "sort": date_field, "limit": 50, "ticker": stocks[0].names["polygon"]}
                probed, answered = ask(endpoint, f"/v3/reference/{endpoint}?{urlencode(query)}")
                self.compared(probed, answered, SHAPES[endpoint])
                yield probed
            query = {"ticker": stocks[0].names["polygon"], "active": "true"}
            probed, answered = ask("tickers", f"/v3/reference/tickers?{urlencode(query)}")
            self.compared(probed, answered, SHAPES["tickers"])
            yield probed
        for endpoint, path in (("market_status", STATUS_PATH), ("market_holidays", HOLIDAYS_PATH)):
            probed, answered = ask(endpoint, path)
            self.compared(probed, answered, SHAPES[endpoint])
            yield probed

    def _bars(self, asset: Asset, ask: Callable[[str, str], tuple[Probed, Answered | None]]) -> Probed:
        timeframe = finest(asset, SPANS)
        multiplier, span = SPANS[timeframe]
        end = day_start(self.now - timedelta(days=2), UTC)
        # Of a coin more minutes than a page holds.
        start = end - timedelta(minutes=PAGE_LIMIT * BEYOND_THE_CAP)
        query = urlencode({"adjusted": "false", "sort": "asc", "limit": PAGE_LIMIT})
        window = f"{milliseconds(start)}/{milliseconds(end) - 1}"
        path = f"/v2/aggs/ticker/{asset.names['polygon']}/range/{multiplier}/{span}/{window}?{query}"
        probed, answered = ask("bars", path)
        document = self.compared(probed, answered, SHAPES["bars"])
        if not isinstance(document, dict):
            return probed
        if document.get("adjusted") is True:
            probed.differences.append(
                Difference("adjusted is true though false was asked for", "a later split would rewrite the history")
            )
        if document.get("ticker", asset.names["polygon"]) != asset.names["polygon"]:
            probed.differences.append(
                Difference(f"asked for {asset.names['polygon']}, got {document['ticker']}", QUARANTINED)
            )
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


PROBE = PolygonProbe
