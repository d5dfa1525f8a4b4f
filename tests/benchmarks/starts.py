"""What a command costs before it does anything. `python -m tests.benchmarks.starts [--rounds 5]`

A warehouse of 20,000 bars of 50 coins, filled over HTTP from the simulator; then in turns, each as a process of its own:
`market status`, `dbt parse` of the project as it was and from nothing, and a `market run` at an instant without news.
Medians of seconds, and of the CPU seconds of the process, go to bench.json under `starts`, and as a table to the terminal.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from scripts.postgres import temporary_postgres
from tests.benchmarks.results import BENCH, record
from tests.benchmarks.turn import filled

BARS = 20_000
MARKET, DBT = (sys.executable, "-m", "scripts.cli"), (sys.executable, "-m", "dbt.cli.main")
COMMANDS = {
    "market status": (*MARKET, "status"),
    "dbt parse": (*DBT, "parse", "--quiet"),
    "dbt parse from nothing": (*DBT, "parse", "--quiet", "--no-partial-parse"),
    "market run without news": (*MARKET, "run"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, default=BENCH)
    chosen = parser.parse_args()
    now = datetime.now(UTC).replace(minute=0, second=10, microsecond=0)
    with temporary_postgres() as server, filled(server, BARS, now):
        # Its reach is longer than what is loaded: the first run asks for that.
        environment = os.environ | {"WAREHOUSE_NOW": now.isoformat()}
        environment["PYTHONPATH"] = str(Path(__file__).resolve().parents[2])
        measured(COMMANDS["market run without news"], environment)
        taken: dict[str, list[tuple[float, float]]] = {name: [] for name in COMMANDS}
        for _ in range(chosen.rounds):
            for name, command in COMMANDS.items():
                taken[name].append(measured(command, environment))
    found = {
        name: {
            "seconds": statistics.median(wall for wall, _ in times), "CPU seconds": statistics.median(cpu for _, cpu in times),
        }
        for name, times in taken.items()
    }  # fmt: skip
    record("starts", found, chosen.output)


def measured(command: tuple[str, ...], environment: dict[str, str]) -> tuple[float, float]:
    """Seconds of a process, and its CPU seconds. Raises RuntimeError where it fails."""
    began = time.perf_counter()
    child = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert child.stderr is not None
    said = child.stderr.read()
    _, status, used = os.wait4(child.pid, 0)
    if os.waitstatus_to_exitcode(status):
        raise RuntimeError(f"{' '.join(command)}: {said.decode()[-2000:]}")
    return time.perf_counter() - began, used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
