"""`market doctor --probe` of Coin Metrics; see extract/providers/probing.py."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, timedelta
from urllib.parse import urlencode

from extract.calendar.timeframes import day_start
from extract.providers.coinmetrics.settings import METRIC, PATH
from extract.providers.coinmetrics.shapes import SHAPES
from extract.providers.probing import Probe, Probed
from extract.providers.shapes import (
    Difference,
)


class CoinMetricsProbe(Probe):
    def run(self) -> Iterator[Probed]:
        asset = self.first(lambda one: one.names.get("coinmetrics"))
        if asset is None:
            return
        probed = Probed("coinmetrics", "exchange_inflow")
        end = day_start(self.now, UTC) - timedelta(days=3)
        query = urlencode(
            {
                "assets": asset.names["coinmetrics"], "metrics": METRIC, "frequency": "1d",
                "start_time": f"{end - timedelta(days=30):%Y-%m-%d}", "end_time": f"{end:%Y-%m-%d}",
                "page_size": 100, "paging_from": "start",
            }
        )  # fmt: skip
        answered = self.get(probed, self.chosen.coinmetrics_base_url, f"{PATH}?{query}")
        document = self.compared(probed, answered, SHAPES["exchange_inflow"])
        if document is not None and not probed.differences and len(document["data"]) < 30:
            probed.differences.append(
                Difference(f"{len(document['data'])} of 31 days have a value", "exchange_inflow is NULL on the others")
            )
        yield probed


PROBE = CoinMetricsProbe
