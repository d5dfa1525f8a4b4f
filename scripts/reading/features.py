"""The features as the warehouse lists them: what every reader goes by that has to know all of them.

Data flow: meta.feature in the contract of market_data_v2 -> marts.feature_registry (dbt) -> registered()
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import psycopg
from psycopg.rows import class_row


@dataclass(frozen=True)
class Feature:
    """A column of market_data_v2 that is a feature. unit: fraction, price, volume, number or word. asset_class: the only
    class that has it, None when every class has. lowest: no value lies below; None when there is no such bound."""

    name: str
    group: str
    unit: str
    asset_class: str | None
    lowest: Decimal | None


def registered(connection: psycopg.Connection[Any]) -> tuple[Feature, ...]:
    """All features, those of a group together. psycopg.errors.UndefinedTable: a build of this version has to come first."""
    statement = (
        'select feature as name, feature_group as "group", unit, asset_class, lowest'
        " from marts.feature_registry order by place"
    )
    return tuple(connection.cursor(row_factory=class_row(Feature)).execute(statement))
