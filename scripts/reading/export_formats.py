"""How exported bars are written: Parquet and CSV, and the files that freqtrade, Lean and qlib read.

A writer says which series and years one file holds, and writes it from Arrow tables.
"""

from __future__ import annotations

import zipfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, get_args
from urllib.parse import quote

from extract.calendar.timeframes import A_DAY, DAY, STEPS
from extract.symbols.registry import market_of
from market_warehouse.questions import Series

if TYPE_CHECKING:
    import numpy
    import pandas
    import pyarrow

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
Format = Literal["parquet", "csv", "freqtrade", "lean", "qlib"]
FORMATS: tuple[Format, ...] = get_args(Format)
Marks = Mapping[Series, Mapping[int, str]]


@dataclass(frozen=True)
class Part:
    """What becomes one file, or for qlib a set of files: series, the year to read (None: all), and the mark of its bars."""

    file: str
    series: tuple[Series, ...]
    year: int | None
    mark: str


def safe(name: str) -> str:
    """A name as a part of a path."""
    return quote(name, safe="^:=+&$@ ").replace("..", "%2E%2E")


class Writer(ABC):
    """One format."""

    # Those that the format knows.
    timeframes: ClassVar[tuple[str, ...]] = tuple(STEPS)
    # Those whose files we know how to write.
    classes: ClassVar[tuple[str, ...]] = ("stock", "etf", "index", "crypto")

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @abstractmethod
    def parts(self, marks: Marks) -> Iterator[Part]:
        """The files, each with what it holds."""

    @abstractmethod
    def write(self, part: Part, tables: Sequence[pyarrow.Table], made: Path) -> None:
        """Write a part's bars to `made`, which takes the file's place afterwards."""


class _ByYear(Writer):
    suffix: ClassVar[str]

    def parts(self, marks: Marks) -> Iterator[Part]:
        classes: dict[str, set[str]] = {}
        for one in marks:
            classes.setdefault(one.symbol, set()).add(one.asset_class)
        for one, years in marks.items():
            # A symbol that is several assets has a folder of each.
            name = safe(one.symbol) if len(classes[one.symbol]) == 1 else f"{safe(one.symbol)}.{one.asset_class}"
            for year, mark in years.items():
                yield Part(f"{one.timeframe}/{name}/{year}.{self.suffix}", (one,), year, mark)


class Parquet(_ByYear):
    suffix = "parquet"

    def write(self, part: Part, tables: Sequence[pyarrow.Table], made: Path) -> None:
        from pyarrow import parquet

        parquet.write_table(tables[0], made, compression="zstd")


class Csv(_ByYear):
    suffix = "csv"

    def write(self, part: Part, tables: Sequence[pyarrow.Table], made: Path) -> None:
        from pyarrow import csv

        csv.write_csv(tables[0], made)


class _BySeries(Writer):
    @abstractmethod
    def path(self, one: Series) -> str:
        """The file of a series."""

    def parts(self, marks: Marks) -> Iterator[Part]:
        for one, years in marks.items():
            yield Part(self.path(one), (one,), None, " ".join(f"{year}: {mark}" for year, mark in years.items()))


class Freqtrade(_BySeries):
    """`user_data/data/<exchange>/BTC_USDT-1h.feather`: date (UTC, milliseconds), open, high, low, close, volume."""

    def path(self, one: Series) -> str:
        return f"{safe(one.symbol)}_{'USDT' if one.asset_class == 'crypto' else 'USD'}-{one.timeframe}.feather"

    def write(self, part: Part, tables: Sequence[pyarrow.Table], made: Path) -> None:
        import pyarrow
        from pyarrow import feather

        table = tables[0].drop_columns(["symbol", "timeframe"]).rename_columns({"timestamp": "date"})
        fields = [
            pyarrow.field(name, pyarrow.timestamp("ms", tz="UTC") if name == "date" else pyarrow.float64())
            for name in table.column_names
        ]
        feather.write_feather(table.cast(pyarrow.schema(fields)), made, compression="lz4", compression_level=9)


class Lean(_BySeries):
    """Lean's data folder: `equity/usa/daily/aapl.zip` and `crypto/binance/hour/btcusdt_trade.zip`, each with one CSV
    without a header: time, open, high, low, close, volume. Shares: New York's time, prices in 1/10000 dollar; coins: UTC,
    as they are."""

    RESOLUTION: ClassVar = {
        name: {HOUR: "hour", A_DAY: "daily"}[step] for name, step in STEPS.items() if step in (HOUR, A_DAY)
    }
    timeframes = tuple(RESOLUTION)
    classes = ("stock", "etf", "crypto")

    def path(self, one: Series) -> str:
        resolution = self.RESOLUTION[one.timeframe]
        if one.asset_class == "crypto":
            return f"crypto/binance/{resolution}/{safe(one.symbol).lower()}usdt_trade.zip"
        return f"equity/usa/{resolution}/{safe(one.symbol).lower()}.zip"

    def write(self, part: Part, tables: Sequence[pyarrow.Table], made: Path) -> None:
        one = part.series[0]
        is_share = one.asset_class != "crypto"
        # A bar without a price is flagged in the mart and cannot be written here: whole numbers know no "unknown".
        frame = tables[0].to_pandas().dropna(subset=["open", "high", "low", "close"])
        zone = market_of(one.symbol, one.asset_class).zone
        stamps = frame["timestamp"].dt.tz_convert(zone).dt.strftime("%Y%m%d %H:%M")
        prices = frame[["open", "high", "low", "close"]].astype("float64")
        if is_share:
            prices = (prices * 10_000).round().astype("int64")
            volumes = frame["volume"].astype("float64").fillna(0).round().astype("int64")
        else:
            volumes = frame["volume"].astype("float64").fillna(0)
        lines = prices.assign(volume=volumes)
        lines.insert(0, "time", stamps)
        name = f"{safe(one.symbol).lower()}{'' if is_share else 'usdt'}.csv"
        with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
            # Without the time of day at which it was made: the same bars are the same file.
            entry = zipfile.ZipInfo(name)
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, lines.to_csv(index=False, header=False, lineterminator="\n"))


class Qlib(Writer):
    """qlib's provider folder: `calendars/day.txt`, `instruments/all.txt`, and for each symbol and column a file
    `features/aapl/close.day.bin` of 32-bit floats, the first of which is the place in the calendar where the others begin.

    Places move when the calendar does, so any change writes all of it. `factor` is what a price as traded was multiplied by.
    """

    # Days, and what divides an hour; the longest first.
    FREQUENCY: ClassVar = {
        name: "day" if step == A_DAY else f"{step // MINUTE}min"
        for name, step in reversed(STEPS.items())
        if step == A_DAY or not HOUR % step
    }
    timeframes = tuple(FREQUENCY)

    def parts(self, marks: Marks) -> Iterator[Part]:
        # `all.txt` are the instruments of the longest bars that are exported.
        self._longest = next((name for name in self.timeframes if any(one.timeframe == name for one in marks)), DAY)
        for timeframe in self.timeframes:
            series = tuple(one for one in marks if one.timeframe == timeframe)
            if series:
                mark = "; ".join(f"{one.symbol} {one.asset_class} {marks[one]}" for one in series)
                yield Part(f"calendars/{self.FREQUENCY[timeframe]}.txt", series, None, mark)

    def write(self, part: Part, tables: Sequence[pyarrow.Table], made: Path) -> None:
        import numpy
        import pandas

        frequency = self.FREQUENCY[part.series[0].timeframe]
        frames = {
            one: _by_local_time(table, one, frequency == "day") for one, table in zip(part.series, tables, strict=True)
        }
        calendar = pandas.DatetimeIndex(sorted(set().union(*(frame.index for frame in frames.values()))))
        pattern = "%Y-%m-%d" if frequency == "day" else "%Y-%m-%d %H:%M:%S"
        instruments = []
        for one, frame in frames.items():
            begin, end = calendar.get_loc(frame.index[0]), calendar.get_loc(frame.index[-1])
            # A day that only others have is a hole: NaN.
            filled = frame.reindex(calendar[begin : end + 1])
            for name in filled.columns:
                self._write(one, name, frequency, numpy.hstack([begin, filled[name].to_numpy("float64")]))
            instruments.append(
                f"{_qlib_name(one)}\t{frame.index[0].strftime(pattern)}\t{frame.index[-1].strftime(pattern)}\n"
            )
        is_longest = part.series[0].timeframe == self._longest
        path = self.folder / "instruments" / ("all.txt" if is_longest else f"all_{frequency}.txt")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(instruments))
        made.write_text("".join(f"{day}\n" for day in calendar.strftime(pattern)))

    def _write(self, one: Series, name: str, frequency: str, values: numpy.ndarray) -> None:
        path = self.folder / "features" / _qlib_name(one).lower() / f"{name}.{frequency}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(values.astype("<f4").tobytes())


def _qlib_name(one: Series) -> str:
    return safe(one.symbol).upper()


def _by_local_time(table: pyarrow.Table, one: Series, is_day: bool) -> pandas.DataFrame:
    """The numbers of a series by the market's own time, without a zone, as qlib has them."""
    frame = table.to_pandas().set_index("timestamp").select_dtypes("number")
    index = frame.index.tz_convert(market_of(one.symbol, one.asset_class).zone).tz_localize(None)
    frame.index = index.normalize() if is_day else index
    return frame


WRITERS: dict[Format, type[Writer]] = {
    "parquet": Parquet, "csv": Csv, "freqtrade": Freqtrade, "lean": Lean, "qlib": Qlib,
}  # fmt: skip


def writer(chosen: Format, folder: Path) -> Writer:
    """The writer of a format."""
    return WRITERS[chosen](folder)
