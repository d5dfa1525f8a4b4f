"""The executable feature dictionary: every definition with what it says of the user's own bars.

Data flow: comments of marts.market_data_v2 (the doc blocks that dbt put there) -> definitions
           the newest bars of every series -> reference_formulas.py, independent of the SQL -> compared with the stored values

The reference formulas share nothing with the SQL. A stored value that they do not give turns its feature red, and
`make docs` fails.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from scripts.reading.features import Feature, registered
from scripts.site.queries import of_features, read

if TYPE_CHECKING:
    import pandas as pd

# How many bars are recomputed, the newest of each series; the formulas take about half a millisecond a bar.
BARS_TO_CHECK = 20_000
# No feature depends on more than 450 valid bars.
BARS_BEFORE = 600
BINS = 32


@dataclass(frozen=True)
class Definition:
    """A doc block, taken apart."""

    name: str
    data_type: str
    summary: str
    parts: dict[str, str]
    sql: str


@dataclass
class Evidence:
    """What the stored bars say of one feature. Errors are those of the bars that were recomputed."""

    bars: int = 0
    filled: int = 0
    mismatches: int = 0
    max_relative_error: float = 0.0
    max_unit_error: float = 0.0
    first_mismatch: str | None = None
    coverage: dict[str, tuple[int, int]] = field(default_factory=dict)
    distributions: list[dict[str, Any]] = field(default_factory=list)

    @property
    def verdict(self) -> str:
        """wrong: a value differs; agrees: all are equal within 1e-9 or a unit of the last digit; unseen: none is there."""
        if self.mismatches:
            return "wrong"
        return "agrees" if self.filled else "unseen"


@dataclass
class Entry:
    feature: Feature
    definition: Definition
    evidence: Evidence


def compile_dictionary(connection: psycopg.Connection[Any], bars_to_check: int = BARS_TO_CHECK) -> list[Entry]:
    """All features with their definitions and evidence, in the order of marts.feature_registry.

    LookupError: one has no definition in the warehouse, or no reference formula.
    """
    from scripts.site.reference_formulas import FEATURES

    features = registered(connection)
    definitions = read_definitions(connection)
    if missing := [feature.name for feature in features if feature.name not in definitions]:
        raise LookupError(f"marts.market_data_v2 has no definition of {', '.join(missing)}: run `make build`")
    if unknown := [feature.name for feature in features if feature.name not in FEATURES]:
        raise LookupError(
            f"no reference formula for {', '.join(unknown)}: add it to scripts/site/reference_formulas.py"
        )
    evidence = gather_evidence(connection, features, definitions, bars_to_check)
    return [Entry(feature, definitions[feature.name], evidence[feature.name]) for feature in features]


# ---------------------------------------------------------------- definitions


def read_definitions(connection: psycopg.Connection[Any]) -> dict[str, Definition]:
    rows = connection.cursor(row_factory=dict_row).execute(read("definitions")).fetchall()
    return {row["name"]: parse(row["name"], row["data_type"], row["comment"] or "") for row in rows}


def parse(name: str, data_type: str, block: str) -> Definition:
    """A doc block as _features.md writes them: a sentence, `**Label:** text` items, one SQL extract."""
    found = re.search(r"```sql\n(.*?)```", block, flags=re.DOTALL)
    prose = block[: found.start()] if found else block
    summary, *items = prose.strip().split("\n- ")
    parts: dict[str, str] = {}
    for item in items:
        pieces = re.split(r"\*\*([A-Z][^*]*):\*\* ?", " ".join(item.split()))
        parts.update(
            (label, text.strip().rstrip(";")) for label, text in zip(pieces[1::2], pieces[2::2], strict=True) if text
        )
    return Definition(name, data_type, " ".join(summary.split()), parts, found.group(1).strip() if found else "")


# ---------------------------------------------------------------- evidence


def gather_evidence(
    connection: psycopg.Connection[Any],
    features: Sequence[Feature],
    definitions: Mapping[str, Definition],
    bars_to_check: int,
) -> dict[str, Evidence]:
    from scripts.site.reference_formulas import compare

    types = {feature.name: definitions[feature.name].data_type for feature in features}
    out = {name: Evidence() for name in types}
    cursor = connection.cursor(row_factory=dict_row)
    coverage = of_features(
        "feature_coverage", features, lambda feature: sql.SQL("count({0}) as {0}").format(sql.Identifier(feature.name))
    )
    for row in cursor.execute(coverage).fetchall():
        for name in types:
            out[name].coverage[row["asset_class"]] = (row[name], row["bars"])

    samples: dict[str, list[pd.DataFrame]] = {}
    for one, count in _shares_of(bars_to_check, cursor.execute(read("series_to_check")).fetchall()):
        stored, expected = _recompute(connection, one, count)
        samples.setdefault(one["asset_class"], []).append(stored)
        for name, report in compare(stored, expected, types).to_dict("index").items():
            _add(out[str(name)], report, one)
    for asset_class, frames in sorted(samples.items()):
        for name, sql_type in types.items():
            values = [value for frame in frames for value in frame[name] if value is not None]
            if values:
                shape = _histogram(values) if sql_type.startswith("numeric") else _shares(values)
                out[name].distributions.append({"asset_class": asset_class, "values": len(values), **shape})
    return out


def _shares_of(bars: int, series: list[dict[str, Any]]) -> list[tuple[dict[str, Any], int]]:
    """Which series are recomputed, and how many bars of each. Of hundreds, some of each asset class and timeframe."""
    chosen = series[: max(1, bars // (2 * BARS_BEFORE))]
    out, left = [], bars
    # The shortest first: what they do not use up goes to the longer ones.
    for place, one in enumerate(sorted(chosen, key=lambda row: row["bars"])):
        read = min(one["bars"], left // (len(chosen) - place))
        left -= read
        # Bars without a past of their own in the database have all they can have; others need some before them.
        out.append((one, read if read == one["bars"] else max(1, read - BARS_BEFORE)))
    return out


def _add(evidence: Evidence, report: dict[Any, Any], series: dict[str, Any]) -> None:
    evidence.bars += report["bars"]
    evidence.filled += report["filled"]
    wrong = report["null_mismatches"] + report["value_mismatches"]
    if wrong and evidence.first_mismatch is None:
        at = f"{report['worst_timestamp']:%Y-%m-%d %H:%M} UTC"
        evidence.first_mismatch = f"{series['symbol']} {series['timeframe']}, {at}"
    evidence.mismatches += wrong
    if not math.isnan(report["max_unit_error"]):
        evidence.max_relative_error = max(evidence.max_relative_error, report["max_relative_error"])
        evidence.max_unit_error = max(evidence.max_unit_error, report["max_unit_error"])


def _recompute(
    connection: psycopg.Connection[Any], series: dict[str, Any], count: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The newest `count` bars of a series as stored, and their features as the reference has them."""
    from scripts.site.reference_formulas import features

    bars = _frame(connection, "bars_to_check", {**series, "count": count + BARS_BEFORE})
    frames: dict[str, pd.DataFrame] = {}
    if series["asset_class"] == "crypto" and len(bars):
        span = {**series, "first": bars["timestamp"].iloc[0], "last": bars["close_time"].iloc[-1]}
        frames = {name: _frame(connection, f"check_{name}", span) for name in FRAMES}
        for name in ("open_interest", "long_short"):
            frames[name]["period"] = [timedelta(seconds=int(seconds)) for seconds in frames[name]["period"]]
    expected = features(bars, timeframe=series["timeframe"], asset_class=series["asset_class"], **frames)
    return bars.tail(count), expected.tail(count)


FRAMES = ("funding", "open_interest", "long_short", "liquidations", "watched", "inflow")


def _frame(connection: psycopg.Connection[Any], query: str, parameters: dict[str, Any]) -> pd.DataFrame:
    import pandas as pd

    cursor = connection.execute(read(query), parameters)
    assert cursor.description is not None
    # Objects: decimals stay exact, and None stays None.
    return pd.DataFrame(cursor.fetchall(), columns=[column.name for column in cursor.description], dtype=object)


def _histogram(values: Sequence[Any]) -> dict[str, Any]:
    """Quantiles, and counts in bins from the 1st to the 99th percentile: a single outlier would squeeze all else."""
    import numpy as np

    numbers = np.array(values, dtype=float)
    low, q05, median, q95, high = np.quantile(numbers, [0.01, 0.05, 0.5, 0.95, 0.99])
    counts, _ = np.histogram(numbers[(numbers >= low) & (numbers <= high)], bins=BINS, range=(low, high or 1))
    return {
        "kind": "numbers",
        "counts": counts.tolist(),
        "from": float(low),
        "to": float(high),
        "quantiles": {
            "min": float(numbers.min()), "5 %": float(q05), "median": float(median), "95 %": float(q95),
            "max": float(numbers.max()),
        },
    }  # fmt: skip


def _shares(values: Sequence[str]) -> dict[str, Any]:
    names = sorted(set(values))
    return {"kind": "shares", "shares": {name: values.count(name) / len(values) for name in names}}
