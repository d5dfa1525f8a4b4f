"""The leakage report of the user's own warehouse: `market leakage-check`.

Data flow: marts.feature_rewrites (the history of market_data_v2, in SQL) -> counts -> a few lines or JSON.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any, LiteralString

import psycopg
from psycopg.rows import dict_row

from extract.core import database
from extract.core.settings import ConfigurationError
from scripts import reading

EXAMPLES = 10
# Counts by reason (with n), then examples of what nothing explains: one statement, as the view reads the whole history.
_REWRITES: LiteralString = """
with rewrites as materialized (
    select * from marts.feature_rewrites
),
examples as (
    select symbol, timeframe, timestamp, feature, old_value, new_value, rewritten_at
    from rewrites
    where explained_by is null
    order by rewritten_at, symbol, timeframe, timestamp, feature
    limit %(examples)s
),
counts as (
    select explained_by, count(*) as n from rewrites group by explained_by
)
select counts.explained_by, counts.n, examples.*
from counts
left join examples on false
union all
select null, null, examples.* from examples
order by n nulls last, rewritten_at, symbol, timeframe, timestamp, feature
"""


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

    Raises ConfigurationError when the warehouse has no history yet, Unreadable when it does not answer or may not be read.
    """
    with (
        reading.plain_errors(),
        psycopg.connect(
            dsn or database.url(), row_factory=dict_row, options=database.session_options(timezone="UTC")
        ) as connection,
    ):
        try:
            stored = _one(
                connection,
                "select count(distinct id) as bars, count(*) as versions,"
                " count(*) * (select count(*) from marts.feature_registry) as values"
                " from snapshots.market_data_history",
            )
            rows = connection.execute(_REWRITES, {"examples": EXAMPLES}).fetchall()
        except psycopg.errors.UndefinedTable:
            raise ConfigurationError("there is no history to check yet: make build") from None
    counts = [row for row in rows if row["n"] is not None]
    examples = [
        {name: row[name] for name in row if name not in ("explained_by", "n")} for row in rows if row["n"] is None
    ]
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
