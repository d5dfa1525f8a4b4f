"""`market demo`: the whole pipeline as it is, on an offline world that anybody can look at.

Data flow: the simulator's demo data set (real daily stocks of 2000-2013, synthetic crypto) -> `market extract` and
`market backfill` -> `dbt build` -> a day later the same again, with a late and two amended bars -> a summary.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import psycopg

from extract.core import database, provenance, sources
from extract.core.settings import ConfigurationError
from scripts.demo.summary import console, count_bars, summarise
from scripts.project import ROOT, make_missing

# The world as it stood after the New York session of 2013-02-28, and a day later.
FIRST_DAY, SECOND_DAY = "2013-03-01T02:00:00Z", "2013-03-02T02:00:00Z"
STOCKS = ("AAPL", "MSFT", "IBM", "GOOG", "META")
COINS = ("BTC", "ETH", "SOL")

# Left out of the first day's answers, so that it arrives late.
LATE = {
    "kind": "missing", "provider": "binance-spot", "symbol": "ETHUSDT", "timeframe": "1h",
    "start": "2013-02-28T20:00:00Z", "end": "2013-02-28T21:00:00Z",
}  # fmt: skip
# What the providers say differently on the second day.
AMENDED = (
    {
        "kind": "amended", "provider": "polygon", "symbol": "IBM", "timeframe": "1d", "field": "volume",
        "factor": "1.02", "start": "2013-02-27T05:00:00Z", "end": "2013-02-28T04:59:59Z",
    },
    {
        "kind": "amended", "provider": "binance-spot", "symbol": "BTCUSDT", "timeframe": "1h", "field": "close",
        "factor": "1.004", "start": "2013-02-28T12:00:00Z", "end": "2013-02-28T13:00:00Z",
    },
)  # fmt: skip

# What this project makes in a database, and all that a repeated demo removes.
SCHEMAS = (
    *sources.schemas(), "ops", "seeds", "staging", "intermediate", "marts", "snapshots",
)  # fmt: skip

LOG = ROOT / ".warehouse" / "demo.log"
LOCK = LOG.with_suffix(".lock")
# What the extra `demo` brings.
NEEDED = ("aiohttp", "bokeh_sampledata", "exchange_calendars")


class StepFailed(Exception):
    """A command of the demo failed; the message holds the end of its output."""


def main() -> int:
    """Run the demo; the exit code is 0 only if every step went well."""
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        raise ConfigurationError(
            f"the demo needs {', '.join(missing)}: `make demo` installs that, or pip install 'market-warehouse[demo]'"
        )
    make_missing(ROOT)
    LOG.parent.mkdir(exist_ok=True)
    with _alone():
        LOG.write_text("")
        return _play()


@contextmanager
def _alone() -> Iterator[None]:
    """One demo at a time: a second one would empty the database of the first. Raises LockHeld."""
    with LOCK.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise database.LockHeld(
                f"another demo is running here: wait for its end ({LOG.relative_to(ROOT)} says how far it is)"
            ) from None
        yield


def _play() -> int:
    from scripts.simulator import running

    started = time.monotonic()
    try:
        with step("Postgres"):
            database.url()
        _prepare()
        with running("demo", FIRST_DAY, process=True) as simulator:
            simulator.add_fault(**LATE)
            with step("Day 1: extract what the registry asks for"):
                _run("extract", simulator.environment())
            with step("Day 1: backfill the stocks from 2000 on"):
                window = ["--start", "2000-01-01", "--end", "2013-02-28"]
                _run("backfill", simulator.environment(), *window, "--symbols", " ".join(STOCKS), "--timeframes", "1d")
            with step("Day 1: dbt build"):
                _build(simulator.environment())
            known = count_bars()
            simulator.clear_faults()
            for fault in AMENDED:
                simulator.add_fault(**fault)
            simulator.set_clock(SECOND_DAY)
            with psycopg.connect(database.url(), autocommit=True) as connection:
                provenance.set_clock(connection, SECOND_DAY)
            with step("Day 2: extract what is new; one bar comes late, two are amended"):
                _run("extract", simulator.environment())
            with step("Day 2: dbt build"):
                _build(simulator.environment())
            with step("Site: charts and docs; every feature checked against its definition"):
                _run("docs", simulator.environment())
                _run("site", simulator.environment())
    except StepFailed as failure:
        console.print(f"[red]The demo failed.[/] {failure}\nAll of its output: {LOG.relative_to(ROOT)}", markup=True)
        return 1
    summarise(count_bars() - known, time.monotonic() - started)
    return 0


@contextmanager
def step(title: str) -> Iterator[None]:
    """Show that something is going on, then that it is done and how long it took."""
    started = time.monotonic()
    try:
        with console.status(f"{title} ..."):
            yield
    except BaseException:
        console.print(f"[red]✗[/] {title}")
        raise
    console.print(f"[green]✓[/] {title} [dim]{time.monotonic() - started:.1f} s[/]")


def _prepare() -> None:
    """Mark the database as the demo's; one that an earlier demo filled is emptied, any other with data is refused."""
    with psycopg.connect(database.url(), autocommit=True) as connection:
        if provenance.is_marked(connection):
            for schema in SCHEMAS:
                connection.execute(f"drop schema if exists {schema} cascade")
        elif provenance.holds_answers(connection):
            raise ConfigurationError(
                "this database holds answers of real providers, with which the demo's synthetic ones must not mix:"
                " set PGDATABASE to another one, or remove the embedded database with `make clean`"
            )
        connection.execute(provenance.CREATE)
        provenance.set_clock(connection, FIRST_DAY)
        connection.cursor().executemany(
            "insert into ops.demo values (%s, %s, %s)",
            [(symbol, False, "real daily prices as traded, 2000-2013, from bokeh-sampledata") for symbol in STOCKS]
            + [(symbol, True, "made by scripts/simulator, the same on every machine") for symbol in COINS],
        )


def _run(command: str, simulated: dict[str, str], *arguments: str) -> None:
    _execute(f"market {command}", [sys.executable, "-m", "scripts.cli", command, *arguments], simulated)


def _build(simulated: dict[str, str]) -> None:
    # Unit tests test the SQL, not the data: `market run` leaves them out as well.
    options = ["--no-use-colors", "build", "--exclude-resource-type", "unit_test"]
    _execute("dbt build", [str(Path(sys.executable).parent / "dbt"), *options], simulated)


def _execute(name: str, command: list[str], simulated: dict[str, str]) -> None:
    """Run one of the project's own commands against the simulator; its output goes to the log."""
    extra = {"COINMETRICS_ENABLED": "true", "PYTHONUNBUFFERED": "1"}
    with LOG.open("ab") as log:
        begin = log.tell()
        done = subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, **simulated, **extra},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    if done.returncode:
        output = LOG.read_bytes()[begin:].decode(errors="replace").strip().splitlines()
        tail = "\n".join(output[-25:])
        raise StepFailed(f"`{name}` ended with exit code {done.returncode}:\n{tail}")
