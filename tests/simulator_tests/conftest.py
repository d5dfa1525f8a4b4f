"""Running simulators for these tests; one that changes faults or the clock uses its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from scripts.simulator import Simulator, running


class Web:
    """Plain HTTP on a simulator: paths by provider, the Polygon key in place."""

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator
        self.session = requests.Session()
        self.session.trust_env = False

    def get(self, path: str, *, key: str | None = "simulator", **options: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {key}"} if key and "/polygon/" in path else {}
        url = path if path.startswith("http") else self.simulator.url + path
        return self.session.get(url, headers={**headers, **options.pop("headers", {})}, timeout=20, **options)

    def json(self, path: str, **options: Any) -> Any:
        answer = self.get(path, **options)
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture(scope="session")
def demo_simulator() -> Iterator[Simulator]:
    """The demo data set at its own clock, 2013-03-02T02:00Z. Read only."""
    with running("demo") as simulator:
        yield simulator


@pytest.fixture
def demo(demo_simulator: Simulator) -> Web:
    return Web(demo_simulator)


@pytest.fixture
def own() -> Iterator[Web]:
    """A demo simulator of this test's own."""
    with running("demo") as simulator:
        yield Web(simulator)


@pytest.fixture(scope="session")
def recorded_simulator(shared_data: Path) -> Iterator[Simulator]:
    """The recorded market data, seen from 2026-09-01. Read only."""
    with running("shared", "2026-09-01T00:00:00Z", shared=shared_data) as simulator:
        yield simulator


@pytest.fixture
def recorded(recorded_simulator: Simulator) -> Web:
    return Web(recorded_simulator)
