"""The whole history of every series in pieces, of which a build writes those with changed rows only.

Data flow: marts.market_data_v2 -> rows written since the last build -> the pieces that hold them -> data/<series>/<start>.js
           pieces, corrections, gaps and splits of a series -> data/<series>/head.js
           what was written from which state of the mart -> data/pieces.json, which the next build reads

A piece is a unit of time (a week of 5m bars, a year of 1d bars), so it stays as it is once its time is over. Its text is
made by the server: no number of it passes through Python, which took 3.3 million roundings per build of 100 symbols.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from extract.calendar.timeframes import STEPS
from scripts.reading.features import Feature
from scripts.site.pages import write
from scripts.site.queries import of_features, read

# Units of date_trunc, their length as an interval, and in minutes at most.
UNITS = (
    ("week", "7 days", 7 * 1_440),
    ("month", "1 month", 31 * 1_440),
    ("quarter", "3 months", 92 * 1_440),
    ("year", "1 year", 366 * 1_440),
    ("decade", "10 years", 3_653 * 1_440),
    ("century", "100 years", 36_525 * 1_440),
)
# The newest piece is written again by every build that adds a bar to it, so pieces are kept short.
BARS_PER_PIECE = 2_300
PIECES_PER_QUERY = 40
# Events of a kind that a series' page lists; all are in the marts.
EVENTS = 2_000
MANIFEST = "pieces.json"

BEFORE = datetime.min.replace(tzinfo=UTC)
NOTHING: dict[str, Any] = {"relation": None, "updated_at": BEFORE, "bars": 0}

Key = tuple[str, str, str]


@dataclass(frozen=True)
class Written:
    """What a build did. corrected: corrected bars per series. Sizes are those of all data files, bytes."""

    pieces: int
    bars: int
    files: int
    size_bytes: int
    corrected: dict[Key, int]


def minutes(timeframe: str) -> int:
    """The length of a bar of the seed `timeframes`: 5m is 5, 1d is 1440. Raises KeyError for one that it does not have."""
    return STEPS[timeframe] // timedelta(minutes=1)


def unit(timeframe: str) -> tuple[str, str]:
    """The unit of time that a piece of a timeframe spans, as date_trunc and as interval name it."""
    fitting = [one for one in UNITS if one[2] <= BARS_PER_PIECE * minutes(timeframe)]
    return (fitting or [UNITS[0]])[-1][:2]


def key_of(series: dict[str, Any]) -> Key:
    return series["symbol"], series["asset_class"], series["timeframe"]


def folder_name(series: dict[str, Any]) -> str:
    """Any symbol, as a name that every file system and web server takes, and no two symbols the same."""
    symbol = re.sub(r"[^A-Z0-9]", lambda found: f"_{ord(found.group()):x}_", series["symbol"])
    return f"{series['asset_class']}.{symbol}.{series['timeframe']}"


def address(series: dict[str, Any]) -> str:
    """What follows the # of a series' address."""
    return f"{series['asset_class']}/{series['symbol']}/{series['timeframe']}"


def write_series(
    connection: psycopg.Connection[Any],
    data: Path,
    series: Sequence[dict[str, Any]],
    features: Sequence[Feature],
    *,
    is_frozen: bool = False,
) -> Written:
    """Bring data/ to the state of the marts.

    series: rows of queries/series.sql. What is not theirs is deleted. is_frozen: builds of the marts share one instant (demo,
    replays), so what was written at it is compared again. The next build starts from what this one read, so a
    build that is killed costs its pieces a second time and nothing else.
    """
    data.mkdir(parents=True, exist_ok=True)
    shown = {key_of(one): one for one in series if one["bars"]}
    query = of_features("bars", features, _drawn)
    # A change of what is in a piece, or of how long it is, makes all of them again.
    version = hashlib.sha256(repr((query.as_string(connection), UNITS, BARS_PER_PIECE)).encode()).hexdigest()[:16]
    cursor = connection.cursor(row_factory=dict_row)
    before = _manifest(data, version)
    if is_frozen:
        before["bars"] = None
    state = cursor.execute(read("written"), {"since": before["updated_at"]}).fetchone()
    assert state is not None
    if before["relation"] not in (None, state["relation"]) or (state["updated_at"] or BEFORE) < before["updated_at"]:
        before = dict(NOTHING, series={})
    known: dict[str, dict[str, list[int]]] = before["series"]
    pieces = bars = 0
    cursor.execute("set local extra_float_digits = -9")
    for find in (_written_since, _of_another_count):
        for key, starts in find(cursor, shown, before, state).items():
            written = _write_pieces(
                cursor, data, query, shown[key], starts, known.setdefault(folder_name(shown[key]), {})
            )
            pieces, bars = pieces + written[0], bars + written[1]
    cursor.execute("reset extra_float_digits")
    corrected, size = _write_heads(cursor, data, shown, known)
    _delete_others(data, known, {folder_name(one) for one in shown.values()})
    size += sum(piece[3] for listed in known.values() for piece in listed.values())
    after = {
        "version": version,
        "relation": state["relation"],
        "updated_at": (state["updated_at"] or BEFORE).isoformat(),
        "bars": state["bars"],
        "series": known,
    }
    write(data / MANIFEST, _json(after))
    files = sum(len(listed) + 1 for listed in known.values())
    return Written(pieces, bars, files, size, corrected)


# ---------------------------------------------------------------- which pieces have changed rows


def _manifest(data: Path, version: str) -> dict[str, Any]:
    """What the last build of the site wrote, and from what; nothing where that was another version."""
    try:
        found = orjson.loads((data / MANIFEST).read_bytes())
    except (FileNotFoundError, orjson.JSONDecodeError):
        found = {}
    if found.get("version") != version:
        return dict(NOTHING, series={})
    return {**found, "updated_at": datetime.fromisoformat(found["updated_at"])}


def _written_since(
    cursor: psycopg.Cursor[dict[str, Any]],
    shown: dict[Key, dict[str, Any]],
    before: dict[str, Any],
    state: dict[str, Any],
) -> dict[Key, list[datetime]]:
    """Starts of the pieces with a row that was written since the last build, by series."""
    # Another number of rows of that same instant than last time: that build of the marts had not committed all of them.
    is_again = state["bars_then"] != before["bars"]
    if state["updated_at"] in (None, before["updated_at"]) and not is_again:
        return {}
    timeframes = sorted({timeframe for _, _, timeframe in shown})
    units = [unit(one)[0] for one in timeframes]
    parameters = {"timeframes": timeframes, "units": units, "since": before["updated_at"], "is_again": is_again}
    found: dict[Key, list[datetime]] = defaultdict(list)
    for row in cursor.execute(read("pieces_written"), parameters).fetchall():
        if key_of(row) in shown:
            found[key_of(row)].append(row["starts_at"])
    return {key: sorted(starts) for key, starts in found.items()}


def _of_another_count(
    cursor: psycopg.Cursor[dict[str, Any]],
    shown: dict[Key, dict[str, Any]],
    before: dict[str, Any],
    state: dict[str, Any],
) -> dict[Key, list[datetime]]:
    """Starts of the pieces whose number of bars is another one: a deleted row leaves no time of writing."""
    found = {}
    for key, one in shown.items():
        listed = before["series"].get(folder_name(one), {})
        if sum(piece[2] for piece in listed.values()) == one["bars"]:
            continue
        rows = cursor.execute(read("pieces_of_series"), {**one, "unit": unit(key[2])[0]}).fetchall()
        counted = {row["starts_at"]: row["bars"] for row in rows}
        emptied = {datetime.fromisoformat(name).replace(tzinfo=UTC) for name in listed} - set(counted)
        differing = {start for start, bars in counted.items() if listed.get(_name(start), [0, 0, 0])[2] != bars}
        if emptied or differing:
            found[key] = sorted(emptied | differing)
    return found


def _name(start: datetime) -> str:
    return f"{start:%Y-%m-%d}"


def _write_pieces(
    cursor: psycopg.Cursor[dict[str, Any]],
    data: Path,
    query: sql.Composed,
    one: dict[str, Any],
    starts: list[datetime],
    listed: dict[str, list[int]],
) -> tuple[int, int]:
    """Write pieces of a series, or delete those without bars, and list them: first bar, last bar, bars, bytes. How many
    files have another content now, and the bars in them."""
    folder = data / folder_name(one)
    folder.mkdir(exist_ok=True)
    pieces = bars = 0
    for first in range(0, len(starts), PIECES_PER_QUERY):
        part = starts[first : first + PIECES_PER_QUERY]
        empty = {_name(start) for start in part}
        values = {**one, "starts": part, "length": unit(one["timeframe"])[1]}
        for row in cursor.execute(query, values).fetchall():
            name = _name(row["starts_at"])
            text = f"warehouse.piece({_json(address(one))}, {_json(name)}, {row['columns']});\n"
            if _write_new(folder / f"{name}.js", text):
                pieces, bars = pieces + 1, bars + row["bars"]
            listed[name] = [row["first_bar"], row["last_bar"], row["bars"], len(text.encode())]
            empty.discard(name)
        for name in empty:
            listed.pop(name, None)
            (folder / f"{name}.js").unlink(missing_ok=True)
    return pieces, bars


def _drawn(feature: Feature) -> sql.Composed:
    """A feature's values as a member of the JSON object of bars.sql, where it has any."""
    array = (
        "{name}, case when count({column}) > 0 then json_agg({column}) end"
        if feature.unit == "word"
        else "{name}, case when count({column}) > 0 then json_agg(cast({column} as double precision)) end"
    )
    return sql.SQL(array).format(name=sql.Literal(feature.name), column=sql.Identifier(feature.name))


# ---------------------------------------------------------------- what a page reads before the pieces


def _write_heads(
    cursor: psycopg.Cursor[dict[str, Any]],
    data: Path,
    shown: dict[Key, dict[str, Any]],
    known: dict[str, dict[str, list[int]]],
) -> tuple[dict[Key, int], int]:
    """Write head.js of every series whose head has changed; corrected bars per series, bytes of all heads."""
    limit = {"limit": EVENTS}
    corrections = {key_of(row): row for row in cursor.execute(read("series_corrections"), limit).fetchall()}
    gaps = {key_of(row): row["events"] for row in cursor.execute(read("series_gaps"), limit).fetchall()}
    splits: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in cursor.execute(read("splits")).fetchall():
        splits[row.pop("symbol"), row.pop("asset_class")].append(row)
    size = 0
    for key, one in shown.items():
        listed = known.setdefault(folder_name(one), {})
        pieces = [[name, *listed[name][:3]] for name in sorted(listed)]
        events = corrections[key]["events"] if key in corrections else "[]"
        text = (
            f'warehouse.head({_json(address(one))}, {{"pieces":{_json(pieces)},"corrections":{events},'
            f'"gaps":{gaps.get(key, "[]")},"splits":{_json(splits.get(key[:2], []))}}});\n'
        )
        (data / folder_name(one)).mkdir(exist_ok=True)
        _write_new(data / folder_name(one) / "head.js", text)
        size += len(text.encode())
    return {key: row["corrected_bars"] for key, row in corrections.items()}, size


def _write_new(path: Path, text: str) -> bool:
    """Write a file whose text is another one; whether it was. Unchanged files keep their time, which browsers and copies
    to a web server go by."""
    try:
        if path.read_bytes() == text.encode():
            return False
    except FileNotFoundError:
        pass
    write(path, text)
    return True


def _delete_others(data: Path, known: dict[str, dict[str, list[int]]], kept: set[str]) -> None:
    """Delete the data of series that no longer exist, and what earlier versions wrote."""
    for name in set(known) - kept:
        del known[name]
    for path in data.iterdir():
        if path.is_dir() and path.name not in kept:
            shutil.rmtree(path)
        elif path.is_file() and path.name not in (MANIFEST, "series.js"):
            path.unlink()


def _json(value: Any) -> str:
    return orjson.dumps(value, default=lambda other: float(other)).decode()
