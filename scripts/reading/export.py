"""`market export`: any selection as files, of which a second export writes only those whose bars have changed.

Data flow: marts.market_data_v2 (or as of a moment) -> a mark per series and year -> the files whose marks differ from
those in `_export.json` -> Arrow -> Parquet, CSV, or what a backtester reads (scripts/reading/export_formats.py).

Layout of Parquet and CSV: `1d/AAPL/2024.parquet`, a file a series and UTC year, each with the columns symbol, timeframe
and timestamp. Every file is whole or not there; `_export.json` is written last, so an export that was killed is repeated.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from errno import EEXIST
from os import strerror
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from psycopg import sql

from extract.calendar.timeframes import STEPS
from extract.core.settings import ConfigurationError
from market_warehouse import questions, selects
from market_warehouse.database import Warehouse, connected
from market_warehouse.questions import Adjustment, Column, Question, Series
from scripts.reading.export_formats import Format, Part, Writer
from scripts.reading.export_formats import writer as writer_of

if TYPE_CHECKING:
    import pyarrow

# Readers of whole folders leave out what begins with an underscore.
MANIFEST = "_export.json"


@dataclass(frozen=True)
class Selection:
    """What to export, as the command is given it. Times are aware instants; no symbols: all; no timeframes: all there are."""

    symbols: tuple[str, ...] = ()
    timeframes: tuple[str, ...] = ()
    start: datetime | None = None
    end: datetime | None = None
    columns: str | tuple[str, ...] | None = None
    adjusted: Adjustment | None = None
    as_of: datetime | None = None
    format: Format = "parquet"
    numbers: Literal["float64", "decimal"] = "float64"

    def as_json(self) -> dict[str, Any]:
        """What must be the same for files of an earlier export to stay valid."""
        return {
            "columns": self.columns, "adjusted": self.adjusted, "as_of": self.as_of and self.as_of.isoformat(),
            "start": self.start and self.start.isoformat(), "end": self.end and self.end.isoformat(),
            "format": self.format, "numbers": self.numbers,
        }  # fmt: skip


@dataclass
class Report:
    """What an export did: files by what became of them, and the bars that were written."""

    folder: Path
    written: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    not_there: list[str] = field(default_factory=list)
    bars: int = 0

    def __str__(self) -> str:
        return (
            f"{self.folder}: {len(self.written)} files written ({self.bars:,} bars), {len(self.unchanged)} unchanged,"
            f" {len(self.removed)} removed" + (f"; not there: {', '.join(self.not_there)}" if self.not_there else "")
        )

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "folder": str(self.folder), "written": self.written, "unchanged": self.unchanged, "removed": self.removed,
            "not_there": self.not_there, "bars": self.bars,
        }  # fmt: skip


def export(selection: Selection, folder: Path, url: str | None = None) -> Report:
    """Write what has changed since the last export into `folder`.

    Raises BadQuestion (an unknown symbol, column, time), ConfigurationError where the folder holds another export or the
    format cannot hold the selection, WarehouseUnavailable.
    """
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(EEXIST, strerror(EEXIST), str(folder))
    known = _manifest(folder, selection)
    report = Report(folder)
    with connected(url, "export") as warehouse:
        columns = _columns(warehouse, selection)
        writer = writer_of(selection.format, folder)
        series = _series(warehouse, selection, writer, report)
        parts = list(_parts(warehouse, selection, series, columns, writer))
        for part in parts:
            if known.get(part.file) == part.mark and (folder / part.file).exists():
                report.unchanged.append(part.file)
                continue
            tables = [_table(warehouse, selection, one, columns, part.year) for one in part.series]
            with whole(folder / part.file) as made:
                writer.write(part, tables, made)
            report.written.append(part.file)
            report.bars += sum(map(len, tables))
            known[part.file] = part.mark
            # A killed export goes on where it was.
            _remember(folder, selection, known)
    wanted = {part.file for part in parts}
    for file in sorted(set(known) - wanted):
        (folder / file).unlink(missing_ok=True)
        del known[file]
        report.removed.append(file)
    _remember(folder, selection, known)
    return report


def _manifest(folder: Path, selection: Selection) -> dict[str, str]:
    path = folder / MANIFEST
    if not path.exists():
        return {}
    try:
        document = json.loads(path.read_text())
        before, files = document["selection"], document["files"]
    except (ValueError, KeyError, TypeError):
        raise ConfigurationError(f"{path} is no record of an export: choose another folder") from None
    if before != json.loads(json.dumps(selection.as_json())):
        other = ", ".join(
            f"{name}={before.get(name)}" for name, value in selection.as_json().items() if before.get(name) != value
        )
        raise ConfigurationError(f"{folder} holds another export ({other}): choose another folder, or remove this one")
    return dict(files)


def _remember(folder: Path, selection: Selection, known: dict[str, str]) -> None:
    with whole(folder / MANIFEST) as made:
        made.write_text(json.dumps({"selection": selection.as_json(), "files": dict(sorted(known.items()))}, indent=1))


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A file that takes the place of `path` at the end of the block; none where the block fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    made = path.with_name(f".{path.name}.tmp")
    try:
        yield made
        made.replace(path)
    finally:
        made.unlink(missing_ok=True)


def _columns(warehouse: Warehouse, selection: Selection) -> tuple[Column, ...]:
    there = questions.columns_there(warehouse.connection)
    return questions.chosen_columns(selection.columns, there)


def _series(warehouse: Warehouse, selection: Selection, writer: Writer, report: Report) -> list[Series]:
    """The series to export. A symbol that is named must be there; a timeframe that it lacks is reported."""
    there, possible = questions.series_there(warehouse.connection), writer.timeframes
    if odd := [one for one in selection.timeframes if one not in possible]:
        raise ConfigurationError(f"{selection.format} takes bars of {' '.join(possible)}, not of {' '.join(odd)}")
    named = questions.spelled(selection.symbols, there)
    symbols = named or list(dict.fromkeys(one.symbol for one in there))
    for symbol in symbols:
        questions.refuse_unknown(symbol, there)
    chosen = [
        one for one in there
        if one.symbol in symbols and one.timeframe in (selection.timeframes or possible)
        and one.asset_class in writer.classes
    ]  # fmt: skip
    for symbol in named:
        mine = [one for one in there if one.symbol == symbol]
        if not any(one.asset_class in writer.classes for one in mine):
            raise ConfigurationError(f"{selection.format}: no files are written of {symbol}, an {mine[0].asset_class}")
        if selection.timeframes and not any(one in chosen for one in mine):
            raise questions.no_bars(symbol, " or ".join(selection.timeframes), mine)
        lacking = [name for name in selection.timeframes if name not in {one.timeframe for one in mine}]
        report.not_there += [f"{symbol} {name}" for name in lacking]
    return sorted(chosen, key=lambda one: (list(STEPS).index(one.timeframe), one.symbol, one.asset_class))


def _parts(
    warehouse: Warehouse, selection: Selection, series: Sequence[Series], columns: tuple[Column, ...], writer: Writer
) -> Iterator[Part]:
    if not series:
        return
    marks: dict[Series, dict[int, str]] = {one: _marks(warehouse, selection, one, columns) for one in series}
    yield from writer.parts({one: years for one, years in marks.items() if years})


def _marks(warehouse: Warehouse, selection: Selection, one: Series, columns: tuple[Column, ...]) -> dict[int, str]:
    """Year -> what changes with any change of the year's bars: which there are, when the newest was written, their
    revisions (two builds may have one clock, WAREHOUSE_NOW), and what prices are adjusted by."""
    asked = Question((one,), columns, selection.start, selection.end, selection.adjusted, selection.as_of)
    questions.refuse_impossible(asked)
    if selection.as_of is not None:
        questions.refuse_before_history(warehouse.connection, selection.as_of)
    factor = selects.shares(warehouse.connection, asked).get(one, 1) if selection.adjusted else 1
    dividends = sql.SQL("sum(returns.dividend_adjustment)" if selection.adjusted == "total_return" else "null")
    statement = sql.SQL(
        "select cast(extract(year from bars.timestamp at time zone 'UTC') as integer) as year, count(*), sum(bars.id),"
        " max(bars.updated_at), sum(bars.revision), sum(bars.split_factor), {dividends}"
        " from {source} where {conditions} group by 1 order by 1"
    ).format(dividends=dividends, source=selects.source(asked, {one: factor}), conditions=selects.conditions(asked))
    rows = warehouse.connection.execute(statement).fetchall()
    return {year: " ".join(str(part) for part in (*rest, factor)) for year, *rest in rows}


def _table(
    warehouse: Warehouse, selection: Selection, one: Series, columns: tuple[Column, ...], year: int | None
) -> pyarrow.Table:
    """symbol, timeframe, timestamp and the columns of one series, of a year or of all the selection."""
    import pyarrow

    start, end = selection.start, selection.end
    if year is not None:
        first, last = datetime(year, 1, 1, tzinfo=UTC), datetime(year + 1, 1, 1, tzinfo=UTC)
        start, end = max(start or first, first), min(end or last, last)
    asked = Question((one,), columns, start, end, selection.adjusted, selection.as_of)
    with warehouse.reader(asked, selection.numbers) as batches:
        table = batches.read_all()
    if selection.format == "qlib" and "split_factor" in table.column_names:
        place = table.column_names.index("split_factor")
        table = table.set_column(place, "factor", _factor(warehouse, asked, one, table["split_factor"]))
    table = table.set_column(0, "symbol", table["symbol"].cast(pyarrow.string()))
    return table.add_column(1, "timeframe", pyarrow.array([one.timeframe] * len(table), pyarrow.string()))


def _factor(warehouse: Warehouse, asked: Question, one: Series, split_factors: Any) -> Any:
    """What the prices as traded were multiplied by, as qlib names it."""
    from pyarrow import compute

    if asked.adjusted != "splits":
        return compute.multiply(compute.divide(split_factors, split_factors), 1.0)
    return compute.divide(split_factors, float(selects.shares(warehouse.connection, asked).get(one, 1)))


def with_columns(selection: Selection) -> Selection:
    """The selection with the columns that its format needs."""
    if selection.format in ("freqtrade", "lean"):
        if selection.columns is not None:
            raise ConfigurationError(f"{selection.format} has open, high, low, close, volume and no other columns")
        return replace(selection, columns=None)
    if selection.format == "qlib":
        if selection.numbers != "float64":
            raise ConfigurationError("qlib's files hold 32-bit floats: no decimals")
        if selection.columns is None:
            return replace(selection, columns=(*questions.OHLCV, "split_factor"))
    return selection
