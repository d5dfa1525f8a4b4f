"""What may be asked: the parameters of the routes, checked. Instants are in UTC."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Literal

from fastapi import HTTPException, Path, Query, Request
from pydantic import BeforeValidator

from extract.calendar.timeframes import DAY
from market_warehouse import questions
from market_warehouse.questions import Adjustment
from scripts.api import answers, bar_queries
from scripts.api.bar_queries import Column

PAGE, LARGEST_PAGE = 1000, 5000
# Of one question: each of them is looked up by itself.
MOST_SYMBOLS = 100

Symbol = Annotated[str, Path(description="as in the asset registry", examples=["BTC"])]
Day = Annotated[
    date | None,
    # Pydantic would take a number for days since 1970.
    BeforeValidator(lambda text: date.fromisoformat(text) if isinstance(text, str) else text),
    Query(description="session date, included", examples=["2013-02-01"]),
]
Limit = Annotated[int | None, Query(ge=1, le=LARGEST_PAGE, description="at most so many bars, 1000 by default in JSON")]
_INSTANT = {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "string", "format": "date"}]}


def refuse_unknown_parameters(request: Request) -> None:
    """HTTPException 422 for a parameter that the route does not know: a typing error would be answered by something else."""
    known = _parameters(request.scope["route"].dependant)
    if unknown := sorted(set(request.query_params) - known):
        accepted = ", ".join(sorted(known)) or "no parameters"
        raise HTTPException(422, f"unknown parameter {', '.join(unknown)[:200]}; this address takes {accepted}")


def _parameters(dependant: Any) -> set[str]:
    own = {one.alias for one in dependant.query_params}
    return own.union(*(_parameters(one) for one in dependant.dependencies))


class BarsAsked:
    """The parameters of a question for bars."""

    def __init__(
        self,
        timeframe: Annotated[answers.Timeframe, Query(description="length of the bars", examples=[DAY])],
        start: Annotated[
            str | None,
            Query(
                description="first bar at or after this; without it, the newest bars are given",
                examples=["2013-02-01"],
                json_schema_extra=_INSTANT,
            ),
        ] = None,
        end: Annotated[
            str | None,
            Query(description="last bar before this instant; a date includes its day", json_schema_extra=_INSTANT),
        ] = None,
        cursor: Annotated[
            str | None,
            Query(pattern=r"^(after|before)--?[0-9]{1,10}(-.{1,20})?$", description="next_cursor of the page before"),
        ] = None,
        as_of: Annotated[
            str | None, Query(description="as it was known at this instant", json_schema_extra=_INSTANT)
        ] = None,
        adjusted: Annotated[
            Literal["splits", "total_return", "true", "false"],
            Query(
                description="splits (or true): prices, features in prices and volumes in the shares of the newest bar;"
                " total_return: open, high, low, close with dividends, too"
            ),
        ] = "false",
        format: Annotated[
            Literal["json", "csv", "parquet"], Query(description="csv and parquet stream all bars unless limited")
        ] = "json",
        columns: Annotated[
            str | None,
            Query(
                description="only these columns, parted by commas; timestamp always comes first",
                examples=["close,volume"],
                json_schema_extra={"pattern": one_or_more("[a-z][a-z0-9_]*")},
            ),
        ] = None,
        asset_class: Annotated[
            Literal["stock", "etf", "index", "crypto"] | None, Query(description="where a symbol is several assets")
        ] = None,
    ) -> None:
        self.timeframe, self.format, self.cursor, self.asset_class = timeframe, format, cursor, asset_class
        self.start, self.end, self.as_of = start, end, as_of
        self.adjusted: Adjustment | None = questions.adjustment(adjusted)
        self.columns = columns

    def values(self) -> dict[str, Any]:
        """The values of the select. HTTPException 422 for a time that is none."""
        return {
            "start": _instant("start", self.start), "end": _instant("end", self.end, is_end=True),
            "cursor": _cursor_instant(self.cursor), "cursor_symbol": _cursor_symbol(self.cursor),
            "as_of": _instant("as_of", self.as_of),
        }  # fmt: skip

    def shape(self, columns: tuple[Column, ...], limit: int | None, is_many: bool) -> bar_queries.Shape:
        """The form of the select: on from the start or the cursor, or back from the newest."""
        direction: bar_queries.Direction = "after" if self.start or (self.format != "json" and not limit) else "before"
        if self.cursor:
            direction = "after" if self.cursor.startswith("after") else "before"
        return bar_queries.Shape(
            columns, direction, self.start is not None, self.end is not None, self.cursor is not None,
            self.as_of is not None, self.adjusted, is_many,
        )  # fmt: skip


def clean(symbol: str) -> str:
    """Postgres knows no text with a NUL in it, so neither can a symbol have one."""
    if "\x00" in symbol:
        raise HTTPException(404, "unknown symbol")
    return symbol


def _instant(name: str, text: str | None, is_end: bool = False) -> datetime | None:
    """A time without an offset is UTC; an end that is a date includes that day."""
    if text is None:
        return None
    try:
        # A plus sign that was not encoded arrives as a blank.
        value = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
    except ValueError:
        message = (
            f"{name}: {text!r} is neither a date like 2024-01-31 nor an ISO-8601 instant like 2024-01-31T12:00:00Z"
        )
        raise HTTPException(422, message) from None
    try:
        value = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
        return value + timedelta(days=1) if is_end and len(text) == len("2024-01-31") else value
    except OverflowError:
        # Before the year 1, or after 9999: as good as the first or the last instant there is.
        return (datetime.min if value.year < 5000 else datetime.max).replace(tzinfo=UTC)


# after-1362027600, and of several symbols after-1362027600-AAPL.
_CURSOR = re.compile(r"(?:after|before)-(-?[0-9]{1,10})(?:-(.+))?", re.DOTALL)


def _cursor_instant(cursor: str | None) -> datetime | None:
    found = _CURSOR.fullmatch(cursor) if cursor else None
    return datetime.fromtimestamp(int(found[1]), UTC) if found else None


def _cursor_symbol(cursor: str | None) -> str:
    found = _CURSOR.fullmatch(cursor) if cursor else None
    return clean(found[2] or "") if found else ""


def one_or_more(name: str) -> str:
    """A pattern of names that are parted by commas."""
    return f"^{name}(,{name})*$"
