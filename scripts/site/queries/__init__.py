"""The site's queries: one select each, in a file of its own."""

from functools import lru_cache
from pathlib import Path


@lru_cache
def read(name: str) -> bytes:
    """The text of a query. Parameters are psycopg's, %(name)s."""
    return (Path(__file__).parent / f"{name}.sql").read_bytes()
