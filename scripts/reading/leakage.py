"""The leakage report of the user's own warehouse: `market leakage-check`.

Data flow: marts.feature_rewrites (the history of market_data_v2, in SQL) -> counts -> a few lines or JSON.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

import psycopg
from psycopg.rows import dict_row

from extract.core import database
from extract.core.settings import ConfigurationError

EXAMPLES = 10


@dataclass
class LeakageReport:
    """What was found. Bars and values count every version that was ever stored; values are the features of one."""

    bars: int
    versions: int
    values: int
    rewritten: int
    explained: dict[str, int]
    unexplained: int
    examples: list[dict[str, Any]] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        return self.unexplained == 0

    def as_json(self) -> str:
        return json.dumps({**asdict(self), "clean": self.is_clean}, indent=2, default=str)

    def as_text(self) -> str:
        lines = [
            f"{self.values:,} feature values stored of {self.bars:,} bars in {self.versions:,} versions;"
            f" {self.rewritten:,} values were written over later",
            *(f"  {number:>12,}  {why}" for why, number in sorted(self.explained.items(), key=lambda item: -item[1])),
            f"  {self.unexplained:>12,}  nothing explains",
        ]
        lines.append(
            "no feature looked ahead"
            if self.is_clean
            else "a feature looked ahead, or its formula was changed without make rebuild; for example:"
        )
        for row in self.examples:
            lines.append(
                f"{row['symbol']} {row['timeframe']} {row['timestamp']:%Y-%m-%d %H:%M} {row['feature']}:"
                f" {row['old_value']} -> {row['new_value']}, written at {row['rewritten_at']:%Y-%m-%d %H:%M:%S}"
            )
        return "\n".join(lines)


def check(dsn: str | None = None) -> LeakageReport:
    """Count the values that were written over, by what explains it, and name some that nothing explains.

    Raises ConfigurationError when the warehouse has no history yet.
    """
    with psycopg.connect(
        dsn or database.url(), row_factory=dict_row, options=database.session_options(timezone="UTC")
    ) as connection:
        try:
            stored = _one(
                connection,
                "select count(distinct id) as bars, count(*) as versions,"
                " count(*) * (select count(*) from marts.feature_registry) as values"
                " from snapshots.market_data_history",
            )
            # Once for both questions: the view reads the whole history.
            connection.execute("create temporary table rewrites on commit drop as select * from marts.feature_rewrites")
        except psycopg.errors.UndefinedTable:
            raise ConfigurationError("there is no history to check yet: make build") from None
        counts = connection.execute("select explained_by, count(*) as n from rewrites group by explained_by").fetchall()
        examples = connection.execute(
            "select symbol, timeframe, timestamp, feature, old_value, new_value, rewritten_at from rewrites"
            f" where explained_by is null order by rewritten_at, symbol, timeframe, timestamp, feature limit {EXAMPLES}"
        ).fetchall()
    by_reason = {row["explained_by"]: row["n"] for row in counts}
    unexplained = by_reason.pop(None, 0)
    return LeakageReport(
        **stored,
        rewritten=sum(by_reason.values()) + unexplained,
        explained=by_reason,
        unexplained=unexplained,
        examples=examples,
    )


def _one(connection: psycopg.Connection[dict[str, Any]], statement: str) -> dict[str, Any]:
    row = connection.execute(statement.encode()).fetchone()
    assert row is not None
    return row
