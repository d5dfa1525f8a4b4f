"""A simulator of the market data providers: real HTTP and websockets on loopback, recorded and synthetic data.

In tests: ``with running(dataset="demo") as simulator: ...``; for people: ``python -m scripts.simulator --help``.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests

from scripts.simulator.datasets import Dataset, named
from scripts.simulator.faults import instant
from scripts.simulator.replay import Recording
from scripts.simulator.server import ServerThread
from scripts.simulator.world import World

__all__ = ["Dataset", "Simulator", "build_world", "environment", "running"]

API_KEY = "simulator"


def environment(url: str, clock: str | None = None) -> dict[str, str]:
    """The settings that point extract at a simulator; WAREHOUSE_NOW too where its clock stands still."""
    stream = "ws" + url.removeprefix("http")
    settings = {
        "POLYGON_BASE_URL": f"{url}/polygon",
        "POLYGON_API_KEY": API_KEY,
        "POLYGON_REQUESTS_PER_MINUTE": "0",
        "BINANCE_SPOT_BASE_URL": f"{url}/binance-spot",
        "BINANCE_DATA_API_BASE_URL": f"{url}/binance-data-api",
        "BINANCE_FUTURES_BASE_URL": f"{url}/binance-futures",
        "BINANCE_ARCHIVE_BASE_URL": f"{url}/binance-archive",
        "BINANCE_STREAM_URL": f"{stream}/binance-stream",
        "YAHOO_BASE_URL": f"{url}/yahoo",
        "COINMETRICS_BASE_URL": f"{url}/coinmetrics",
    }
    return settings | ({"WAREHOUSE_NOW": clock} if clock else {})


class Simulator:
    """A handle on a running simulator, in this process or another: everything goes through its control API."""

    def __init__(self, url: str, clock: str | None) -> None:
        self.url = url
        self.clock = clock
        self._session = requests.Session()
        self._session.trust_env = False  # a proxy in the environment must not see loopback

    def environment(self) -> dict[str, str]:
        """The settings that point extract here, as strings for os.environ."""
        return environment(self.url, self.clock)

    def add_fault(self, **fault: Any) -> int:
        """Switch a fault on, e.g. ``add_fault(kind="status", status=503, provider="yahoo")``; returns its id."""
        return int(self._call("POST", "faults", fault)[0])

    def clear_faults(self, number: int | None = None) -> None:
        """Switch one fault off, or all."""
        self._call("DELETE", "faults" if number is None else f"faults?id={number}")

    @property
    def faults(self) -> list[dict[str, Any]]:
        """The faults in force."""
        return list(self._call("GET", "faults"))

    def set_clock(self, clock: str | None) -> None:
        """Move the providers' present (ISO 8601); None lets it follow the real time."""
        self._call("POST", "clock", {"clock": clock})
        self.clock = clock

    @property
    def requests(self) -> list[dict[str, Any]]:
        """Every request so far: method, path, query, provider, endpoint, symbol, timeframe, status, authenticated."""
        return list(self._call("GET", "requests"))

    def clear_requests(self) -> None:
        self._call("DELETE", "requests")

    def clear_budgets(self) -> None:
        """Nothing is spent of the providers' limits, and nobody is banned."""
        self._call("DELETE", "budgets")

    def liquidate(self, *events: dict[str, Any]) -> None:
        """Send forceOrder events (see ``derivatives.force_order``) to everybody who listens."""
        self._call("POST", "liquidations", list(events))

    @property
    def streams(self) -> list[list[str]]:
        """The streams of each websocket connection that is open."""
        return list(self._call("GET", "streams"))

    def drop_streams(self) -> None:
        """Cut every websocket connection."""
        self._call("DELETE", "streams")

    def info(self) -> dict[str, Any]:
        return dict(self._call("GET", "info"))

    def _call(self, method: str, path: str, data: Any = None) -> Any:
        answer = self._session.request(method, f"{self.url}/_simulator/{path}", json=data, timeout=30)
        if answer.status_code != 200:
            raise ValueError(answer.json()["error"])
        return answer.json()


def build_world(
    dataset: Dataset | str, clock: str | None, polygon_per_minute: int | None = None, shared: Path | None = None
) -> World:
    """The state to serve. The clock is the argument, else WAREHOUSE_NOW, else the data set's own, else real time."""
    data = dataset if isinstance(dataset, Dataset) else named(dataset, shared)
    text = clock or os.environ.get("WAREHOUSE_NOW") or data.clock
    return World(data, instant(text) if text else None, frozenset({API_KEY}), polygon_per_minute)


def replayed(folder: Path, clock: str | None = None) -> World:
    """A state that serves what `market record` wrote, at the clock of its last answer unless another is given."""
    recording = Recording(folder)
    world = build_world(Dataset("replay", recording.clock), clock)
    world.recording = recording
    return world


@contextlib.contextmanager
def running(
    dataset: Dataset | str = "demo",
    clock: str | None = None,
    *,
    polygon_per_minute: int | None = None,
    shared: Path | None = None,
    process: bool = False,
    port: int = 0,
    replay: Path | None = None,
) -> Iterator[Simulator]:
    """A simulator for the length of a block, on a free port unless one is given; with ``replay``, of recorded answers.

    ``dataset`` is a Dataset or a name (demo, shared, synthetic, load; shared reads the folder ``shared``). It runs in
    a thread, or with ``process`` in a process of its own, so that its CPU time is not the caller's.
    """
    if process:
        if isinstance(dataset, Dataset):
            raise TypeError("a simulator in its own process takes the name of a data set")
        with _spawned(dataset, clock, polygon_per_minute, shared, port) as simulator:
            yield simulator
        return
    world = replayed(replay, clock) if replay else build_world(dataset, clock, polygon_per_minute, shared)
    thread = ServerThread(world, port)
    try:
        fixed = None if world.fixed_clock is None else world.now().isoformat().replace("+00:00", "Z")
        yield Simulator(f"http://127.0.0.1:{thread.port}", fixed)
    finally:
        thread.stop()


@contextlib.contextmanager
def _spawned(
    dataset: str, clock: str | None, polygon_per_minute: int | None, shared: Path | None, port: int
) -> Iterator[Simulator]:
    command = [sys.executable, "-m", "scripts.simulator", "--data", dataset, "--port", str(port)]
    for option, value in (("--clock", clock), ("--polygon-per-minute", polygon_per_minute), ("--shared", shared)):
        if value is not None:
            command += [option, str(value)]
    server = subprocess.Popen(command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        settings: dict[str, str] = {}
        for line in server.stdout:
            if line.startswith("export "):
                name, _, value = line.removeprefix("export ").strip().partition("=")
                settings[name] = value
            elif settings:
                break
        if not settings:
            raise RuntimeError(f"the simulator did not start: {' '.join(command)}")
        yield Simulator(settings["POLYGON_BASE_URL"].removesuffix("/polygon"), settings.get("WAREHOUSE_NOW"))
    finally:
        server.terminate()
        server.wait(10)
