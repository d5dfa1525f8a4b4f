"""The benchmarks, one after the other. `python -m tests.benchmarks [--part servers ...]`

Each is a module and a process of its own, with options of its own; `python -m <module> --help` names them.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

PARTS = {
    "extract": "tests.extract.benchmark",
    "transform": "tests.benchmarks.transform",
    "api": "tests.benchmarks.api",
    "site": "tests.benchmarks.site",
    "questions": "tests.benchmarks.questions",
    "starts": "tests.benchmarks.starts",
    "turn": "tests.benchmarks.turn",
    "servers": "tests.benchmarks.servers",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=PARTS, nargs="+", default=list(PARTS), help="only these")
    for name in parser.parse_args().part:
        subprocess.run([sys.executable, "-m", PARTS[name]], check=True)


if __name__ == "__main__":
    main()
