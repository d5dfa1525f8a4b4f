"""The site's queries: one select each, in a file of its own."""

from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path

from psycopg import sql

from scripts.reading.features import Feature


@lru_cache
def read(name: str) -> bytes:
    """The text of a query. Parameters are psycopg's, %(name)s."""
    return (Path(__file__).parent / f"{name}.sql").read_bytes()


def of_features(name: str, features: Iterable[Feature], term: Callable[[Feature], sql.Composed]) -> sql.Composed:
    """A query with a term for each feature where its text has {features}."""
    return sql.SQL(read(name).decode()).format(features=sql.SQL(", ").join(map(term, features)))
