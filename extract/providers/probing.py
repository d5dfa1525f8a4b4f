"""What the probes of all providers share: one real request per endpoint in use, its answer compared with what is documented.

Data flow: registry and settings -> `probe.py` of a provider's folder -> one answer per endpoint (budgets, blocks and
breakers as ever) -> its `shapes.py` -> differences, each with what it means. Nothing is stored: it is a look, not a load.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from extract.calendar.timeframes import DAY, STEPS
from extract.core import clock, settings
from extract.providers.shapes import QUARANTINED, Difference, Shape, compare
from extract.symbols import registry
from extract.symbols.registry import Asset
from extract.transport import http
from extract.transport.budget import Budget


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


def finest(asset: Asset, names: Mapping[str, object]) -> str:
    """The finest timeframe of an asset that a source serves; its days where it serves none."""
    return min((one for one in asset.timeframes if one in names), key=lambda one: STEPS[one], default=DAY)


class Probe(ABC):
    """The probe of one provider: everything of it that is in use."""

    def __init__(self) -> None:
        self.chosen = settings.load()
        self.now = clock.now()
        self.assets = [asset for asset in registry.select(registry.load()) if asset.is_active(self.now.date())]
        self.session = http.session(connections=1)
        self._sources: dict[str, http.Source] = {}

    @abstractmethod
    def run(self) -> Iterator[Probed]:
        """Every endpoint in use, one after the other."""

    def close(self) -> None:
        """Release connections."""
        self.session.close()

    def send(self, probed: Probed, host: str, send: Callable[[], http.Response]) -> Answered | None:
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

    def get(
        self,
        probed: Probed,
        base: object,
        path: str,
        budget: Budget | None = None,
        weight: int = 1,
        headers: Mapping[str, str] | None = None,
    ) -> Answered | None:
        """What a host answers to one GET, or None: then `probed` says why."""
        host = str(base).rstrip("/")
        probed.request = host + path

        def send() -> http.Response:
            if budget:
                budget.wait(weight, may_wait=True)
            return http.get(self.session, host + path, None, **(headers or {}))

        return self.send(probed, host, send)

    def compared(self, probed: Probed, answered: Answered | None, shape: Shape) -> Any:
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

    def first(self, has: Callable[[Asset], object], timeframe: str | None = None) -> Asset | None:
        """The first asset that has something, and is fetched in a timeframe if one is named."""
        return next((one for one in self.assets if has(one) and (not timeframe or timeframe in one.timeframes)), None)
