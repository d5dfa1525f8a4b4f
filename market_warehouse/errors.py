"""What can go wrong with a question; each message says what to do."""

from __future__ import annotations


class BadQuestion(ValueError):
    """The question cannot be answered as it is put: an unknown column, a timeframe that a symbol lacks, a bad time."""


class UnknownSymbol(BadQuestion, LookupError):
    """The warehouse has no such symbol; the message names the nearest ones."""


class WarehouseUnavailable(Exception):
    """The database or the API does not answer, or is not built yet. `is_setting`: a setting has to be changed."""

    def __init__(self, message: str, is_setting: bool = False) -> None:
        super().__init__(message)
        self.is_setting = is_setting
