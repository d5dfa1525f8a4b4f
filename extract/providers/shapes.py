"""How what a provider documents of its answers is written down, and a real answer compared with it (`market doctor --probe`).

One `Shape` per endpoint in use, in `shapes.py` of the provider's folder. Sources are named in its README; a field that documents
of different years do not share is not required.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

# A kind of JSON value: its Python types. A number that is written as text is text.
KINDS: dict[str, tuple[type, ...]] = {
    "text": (str,),
    "whole number": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
}
MILLISECONDS, SECONDS, MICROSECONDS = "Unix milliseconds", "Unix seconds", "Unix microseconds"
# The magnitudes of a time stamp of this century.
UNITS = {SECONDS: (10**9, 10**10), MILLISECONDS: (10**12, 10**13), MICROSECONDS: (10**15, 10**16)}

QUARANTINED = "such answers are quarantined until extract and staging are adapted"
REJECTED = "such rows are rejected (marts.rejected_bars) until staging is adapted"
UNREAD = "nothing reads it; nothing to do but to note it"


@dataclass(frozen=True)
class Field:
    """A field of a row. Of a row that is an array the name is its position."""

    name: str
    kind: str
    is_required: bool = True
    # What the field's absence or another type means for the warehouse.
    harm: str = QUARANTINED


@dataclass(frozen=True)
class Shape:
    """What the rows of an answer look like. `rows` leads to them, by keys; empty: the answer itself."""

    fields: tuple[Field, ...]
    rows: tuple[str, ...] = ()
    # Fields next to the rows, in the object that holds them.
    around: tuple[Field, ...] = ()
    # The field by which rows ascend, and the unit of its numbers.
    ordered_by: str | None = None
    unit: str | None = None
    # How many rows an answer may have.
    cap: int | None = None
    headers: tuple[str, ...] = ()
    # Fields that may be there and need not; others that are not documented are reported.
    others: frozenset[str] = field(default_factory=frozenset)


def fields(kinds: Mapping[str, str], harm: str = QUARANTINED) -> tuple[Field, ...]:
    """Required fields of these kinds."""
    return tuple(Field(name, kind, harm=harm) for name, kind in kinds.items())


def optional(names: Sequence[str], kind: str) -> tuple[Field, ...]:
    """Fields that may be there, and that nothing reads."""
    return tuple(Field(name, kind, is_required=False, harm=UNREAD) for name in names)


@dataclass(frozen=True)
class Difference:
    """Something that is not as documented, and what that means for the warehouse."""

    what: str
    means: str

    def __str__(self) -> str:
        return f"{self.what}: {self.means}"


def kind_of(value: object) -> str:
    """The kind of a JSON value, in words."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    return next((name for name, types in KINDS.items() if isinstance(value, types)), type(value).__name__)


def compare(shape: Shape, document: object) -> list[Difference]:
    """How an answer's body differs from its documented shape: fields, types, order, unit. Each difference once."""
    rows, holder = _rows_of(shape, document)
    if rows is None:
        where = ".".join(shape.rows) or "the body"
        return [Difference(f"{where} is no array of rows (but {kind_of(holder)})", QUARANTINED)]
    found: dict[str, Difference] = {}
    if shape.rows and isinstance(holder, dict):
        _compare_fields(shape.around, holder, found, "", frozenset(), is_closed=False)
    for row in rows:
        _compare_row(shape, row, found)
    if isinstance(holder, dict) and shape.rows and len(shape.rows) == 1:
        known = {one.name for one in shape.around} | shape.others | {shape.rows[0]}
        _tell_unknown(set(holder) - known, found)
    _compare_order(shape, rows, found)
    return list(found.values())


def _rows_of(shape: Shape, document: object) -> tuple[list[object] | None, object]:
    """The rows and what holds them; a single object is one row."""
    holder, inside = document, document
    for step in shape.rows:
        holder = inside
        if isinstance(inside, dict):
            inside = inside.get(step)
        elif isinstance(inside, list) and step.isdigit() and int(step) < len(inside):
            inside = inside[int(step)]
        else:
            return None, inside
    if isinstance(inside, list):
        return inside, holder
    if isinstance(inside, dict):
        return [inside], holder
    # Polygon leaves the key out where there is nothing.
    if inside is None and isinstance(holder, dict) and holder.get("resultsCount") == 0:
        return [], holder
    return None, inside


def _compare_row(shape: Shape, row: object, found: dict[str, Difference]) -> None:
    if isinstance(row, list):
        if not shape.fields[0].name.isdigit():
            found["row"] = Difference("rows are arrays, documented are objects", QUARANTINED)
        elif len(row) != len(shape.fields):
            found["row"] = Difference(f"rows have {len(row)} fields, documented are {len(shape.fields)}", QUARANTINED)
        else:
            named: dict[str, object] = {str(place): value for place, value in enumerate(row)}
            _compare_fields(shape.fields, named, found, "field ", frozenset())
    elif isinstance(row, dict):
        if shape.fields[0].name.isdigit():
            found["row"] = Difference("rows are objects, documented are arrays", QUARANTINED)
        else:
            _compare_fields(shape.fields, row, found, "", shape.others)
    else:
        found["row"] = Difference(f"a row is {kind_of(row)}", QUARANTINED)


def _compare_fields(
    fields: tuple[Field, ...],
    row: Mapping[str, object],
    found: dict[str, Difference],
    prefix: str,
    others: frozenset[str],
    is_closed: bool = True,
) -> None:
    for one in fields:
        name = prefix + one.name
        if one.name not in row:
            if one.is_required:
                found.setdefault(name, Difference(f"{name} is missing", one.harm))
            continue
        value = row[one.name]
        is_of_kind = isinstance(value, KINDS[one.kind]) and (one.kind == "boolean" or not isinstance(value, bool))
        if not is_of_kind and not (value is None and not one.is_required):
            found.setdefault(name, Difference(f"{name} is {kind_of(value)}, documented is {one.kind}", one.harm))
    if is_closed:
        _tell_unknown(set(row) - {one.name for one in fields} - others, found)


def _tell_unknown(names: set[str], found: dict[str, Difference]) -> None:
    for name in sorted(names):
        found.setdefault(name, Difference(f"{name} is not documented", UNREAD))


def _compare_order(shape: Shape, rows: list[object], found: dict[str, Difference]) -> None:
    name = shape.ordered_by
    key = name or next((one.name for one in shape.fields if one.name in ("t", "time")), None)
    values = [_value(row, key) for row in rows] if key else []
    # A wrong type is reported already.
    kind = next((one.kind for one in shape.fields if one.name == key), "text")
    values = [value for value in values if isinstance(value, KINDS[kind])]
    if name and values != sorted(values):  # type: ignore[type-var]
        found["order"] = Difference(
            f"rows do not ascend by {name}", "pages may be taken for complete, and bars for retracted"
        )
    if shape.unit:
        low, high = UNITS[shape.unit]
        numbers = [value for value in values if isinstance(value, int | float)]
        if odd := [value for value in numbers if not low <= value < high]:
            unit = next((unit for unit, (least, most) in UNITS.items() if least <= odd[0] < most), "another unit")
            found["unit"] = Difference(f"{key} is in {unit}, documented are {shape.unit}", "bars would get other times")


def _value(row: object, name: str | None) -> object:
    if isinstance(row, list):
        place = int(name or 0)
        return row[place] if place < len(row) else None
    return row.get(name) if isinstance(row, dict) else None
