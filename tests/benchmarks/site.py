"""Time and size of the site at 50k and 1M bars. `python -m tests.benchmarks.site [--small]`

Coins with 5m bars and all that is resampled from them, synthetic. Per warehouse: the dashboard with its data files (the
first build, which writes every piece of every history, then the median of two without news, wall and CPU of this
process), the check of the features, and what lies in the folder. Results go to
bench.json under `site`, and as a table to the terminal.
"""

from __future__ import annotations

import argparse
import gzip
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

from scripts import site
from scripts.postgres import temporary_postgres
from tests.benchmarks.transform import ROOT, filled

# Of one 5m bar come 1/3 + 1/6 + 1/12 + 1/48 + 1/288 + 1/2016 of the coarser timeframes.
BARS_PER_5M_BAR = 1.61
SIZES = {"50k": (8, 50_000), "1M": (50, 1_000_000)}


def measure(symbols: int, bars: int) -> dict[str, float]:
    with (
        temporary_postgres() as server,
        filled(symbols, round(bars / symbols / BARS_PER_5M_BAR), server) as warehouse,
        tempfile.TemporaryDirectory() as directory,
    ):
        warehouse.build("path:dbt_project/models", without_staging=True)
        target, dsn = Path(directory), warehouse.database.dsn
        walls, processors = [], []
        for _ in range(3):
            started, processor = time.perf_counter(), time.process_time()
            site.build(target, url=dsn)
            walls.append(time.perf_counter() - started)
            processors.append(time.process_time() - processor)
        started = time.perf_counter()
        entries = site.write_dictionary(target, url=dsn)
        check = time.perf_counter() - started
        files = [path for path in target.rglob("*") if path.is_file()]
        data = [path for path in files if path.parent.parent.name == "data"]
        return {
            "bars": warehouse.query("select count(*) as bars from marts.market_data_v2")[0]["bars"],
            "series": len({path.parent for path in data}),
            "first build seconds": walls[0],
            "first build CPU seconds of Python": processors[0],
            "build seconds without news": statistics.median(walls[1:]),
            "build CPU seconds of Python without news": statistics.median(processors[1:]),
            "check seconds": check,
            "bars checked": entries[0].evidence.bars,
            "folder MB": sum(path.stat().st_size for path in files) / 1e6,
            "folder MB, compressed": sum(len(gzip.compress(path.read_bytes(), 6)) for path in files) / 1e6,
            "index.html kB": (target / "index.html").stat().st_size / 1e3,
            "data file kB, median": statistics.median(path.stat().st_size for path in data) / 1e3,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="50k bars only")
    parser.add_argument("--output", type=Path, default=ROOT / "bench.json")
    chosen = parser.parse_args()
    found = {name: measure(*size) for name, size in SIZES.items() if not chosen.small or name == "50k"}
    document = json.loads(chosen.output.read_text()) if chosen.output.exists() else {}
    document["site"] = {**document.get("site", {}), **found}
    chosen.output.write_text(json.dumps(document, indent=2) + "\n")
    for name, figures in found.items():
        sys.stdout.write("".join(f"| {name} | {figure} | {value:.4g} |\n" for figure, value in figures.items()))


if __name__ == "__main__":
    main()
