"""Where the benchmarks leave their figures: bench.json, and a table on the terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

BENCH = Path(__file__).resolve().parents[2] / "bench.json"


def record(section: str, found: Mapping[str, Mapping[str, float]], output: Path = BENCH) -> None:
    """Put the figures of the parts under a section of the file, beside what is there, and print them as Markdown."""
    document = json.loads(output.read_text()) if output.exists() else {}
    document[section] = {**document.get(section, {}), **found}
    output.write_text(json.dumps(document, indent=2) + "\n")
    lines = ["| part | figure | value |", "|---|---|---|"]
    for part, figures in found.items():
        for name, value in figures.items():
            text = f"{value:,}" if isinstance(value, int) else f"{value:.3g}"
            lines.append(f"| {part} | {name} | {text} |")
    sys.stdout.write("\n".join(lines) + "\n")
