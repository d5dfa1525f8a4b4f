"""market export: files of the right bars, written again only where bars have changed, in the layouts that others read."""

from __future__ import annotations

import io
import itertools
import json
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy
import pandas
import psycopg
import pyarrow
import pytest
from pyarrow import csv, feather, parquet

from extract.core.settings import ConfigurationError
from market_warehouse import BadQuestion, UnknownSymbol, bars, questions
from market_warehouse.questions import Series
from scripts.postgres import Server
from scripts.reading.export import Report, Selection, export, with_columns
from scripts.reading.export_formats import Parquet, Part, writer
from tests.scripts.conftest import BEFORE_THE_AMENDMENT, EX_DATE, HOSTILE, HOURS, SESSIONS
from tests.scripts.test_reports import market
from tests.warehouse import Database, Warehouse


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def exported(built: Warehouse, folder: Path, *symbols: str, **wanted: Any) -> Report:
    selection = Selection(symbols=tuple(symbols), **wanted)
    return export(with_columns(selection), folder, built.database.dsn)


@pytest.fixture
def copied(built: Warehouse, postgres: Server) -> Iterator[Database]:
    """The built warehouse, to be changed."""
    copy = Database(postgres, "readers_copy")
    with psycopg.connect(postgres.dsn("postgres"), autocommit=True) as connection:
        connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", (built.database.name,)
        )
    copy.create(built.database.name)
    yield copy
    copy.drop()


def test_parquet_holds_the_bars_with_symbol_and_timeframe(built: Warehouse, tmp_path: Path) -> None:
    report = exported(built, tmp_path, "AAPL", "BTC", timeframes=("1h", "1d"), columns="all", numbers="decimal")
    assert files(tmp_path) == ["1d/AAPL/2025.parquet", "1d/BTC/2025.parquet", "1h/BTC/2025.parquet", "_export.json"]
    stored = built.query(
        "select * from marts.market_data_v2 where symbol = 'BTC' and timeframe = '1h' order by timestamp"
    )
    table = parquet.read_table(tmp_path / "1h" / "BTC" / "2025.parquet")
    assert table.column_names[:3] == ["symbol", "timeframe", "timestamp"]
    for name in table.column_names:
        assert table[name].to_pylist() == [row[name] for row in stored], name
    assert report.bars == 262 + 11 + len(SESSIONS)
    assert report.not_there == ["AAPL 1h"]
    # A folder is one data set.
    everything = parquet.read_table(tmp_path)
    assert len(everything) == report.bars
    assert everything.schema.field("close").type == pyarrow.decimal128(19, 10)


def test_floats_by_default_and_csv(built: Warehouse, tmp_path: Path) -> None:
    exported(built, tmp_path / "parquet", "AAPL", timeframes=("1d",))
    table = parquet.read_table(tmp_path / "parquet" / "1d" / "AAPL" / "2025.parquet")
    assert table.column_names == ["symbol", "timeframe", "timestamp", "open", "high", "low", "close", "volume"]
    assert table["close"].to_pylist() == [float(bar.close) for bar in SESSIONS]
    exported(built, tmp_path / "csv", "AAPL", timeframes=("1d",), format="csv", numbers="decimal", columns=("close",))
    read = csv.read_csv(
        tmp_path / "csv" / "1d" / "AAPL" / "2025.csv",
        convert_options=csv.ConvertOptions(column_types={"close": pyarrow.decimal128(19, 10)}),
    )
    assert read["close"].to_pylist() == [bar.close for bar in SESSIONS]
    assert read.schema.field("timestamp").type == pyarrow.timestamp("ns", tz="UTC")


def test_only_what_has_changed_is_written_again(copied: Database, tmp_path: Path) -> None:
    fresh = itertools.count()

    def again() -> Report:
        """Once more into the same folder, which then holds what an export into a new one does, to the byte."""
        report = export(Selection(symbols=("AAPL", "BTC")), tmp_path / "kept", copied.dsn)
        new = tmp_path / f"new{next(fresh)}"
        export(Selection(symbols=("AAPL", "BTC")), new, copied.dsn)
        assert files(tmp_path / "kept") == files(new)
        for name in files(new):
            assert (tmp_path / "kept" / name).read_bytes() == (new / name).read_bytes(), name
        return report

    def change(statement: str, *values: Any) -> None:
        with psycopg.connect(copied.dsn, autocommit=True) as connection:
            connection.execute(statement.encode(), values)

    first = again()
    # Of AAPL days and weeks, of BTC two more; the week of New Year began in 2024.
    assert (len(first.written), first.unchanged) == (7, [])
    kept = tmp_path / "kept"
    written = {name: (kept / name).stat().st_mtime_ns for name in first.written}
    second = again()
    assert (second.written, len(second.unchanged), second.bars) == ([], 7, 0)
    assert written == {name: (kept / name).stat().st_mtime_ns for name in second.unchanged}

    change(
        "update marts.market_data_v2 set close = close + 1, high = high + 1, updated_at = clock_timestamp()"
        " where symbol = 'AAPL' and timeframe = '1d' and timestamp = %s",
        SESSIONS[3].timestamp,
    )
    third = again()
    assert third.written == ["1d/AAPL/2025.parquet"]
    table = parquet.read_table(kept / "1d" / "AAPL" / "2025.parquet")
    assert table["close"][3].as_py() == float(SESSIONS[3].close) + 1

    (kept / "1d" / "BTC" / "2025.parquet").unlink()
    assert again().written == ["1d/BTC/2025.parquet"]

    # An old partition, next to newer ones: the week of New Year is corrected, then retracted.
    old = "where symbol = 'AAPL' and timeframe = '1w' and timestamp < '2025-01-01'"
    change(f"update marts.market_data_v2 set close = close + 1, updated_at = clock_timestamp() {old}")
    assert again().written == ["1w/AAPL/2024.parquet"]
    change(f"delete from marts.market_data_v2 {old}")
    last = again()
    assert (last.written, last.removed) == ([], ["1w/AAPL/2024.parquet"])
    assert not (kept / "1w" / "AAPL" / "2024.parquet").exists()

    # By the same clock as the build before (WAREHOUSE_NOW): a correction, and one bar in place of another.
    hours = "where symbol = 'BTC' and timeframe = '1h'"
    change(f"update marts.market_data_v2 set close = close + 1, revision = revision + 1 {hours} and timestamp = %s",
           HOURS[0].timestamp)  # fmt: skip
    assert again().written == ["1h/BTC/2025.parquet"]
    change(f"update marts.market_data_v2 set id = id + 1, timestamp = %s {hours} and timestamp = %s",
           HOURS[100].timestamp, HOURS[1].timestamp)  # fmt: skip
    assert again().written == ["1h/BTC/2025.parquet"]

    # A bar that is deleted, and a series that is.
    change("delete from marts.market_data_v2 where symbol = 'BTC' and timeframe = '4h'")
    change(f"delete from marts.market_data_v2 {hours} and timestamp = %s", HOURS[0].timestamp)
    last = again()
    assert (last.written, last.removed) == (["1h/BTC/2025.parquet"], ["4h/BTC/2025.parquet"])
    assert not (kept / "4h" / "BTC" / "2025.parquet").exists()


def test_a_split_changes_all_adjusted_files_of_its_symbol(copied: Database, tmp_path: Path) -> None:
    def again() -> Report:
        return export(Selection(timeframes=("1d",), adjusted="splits"), tmp_path, copied.dsn)

    assert len(again().written) == 3
    table = parquet.read_table(tmp_path / "1d" / "AAPL" / "2025.parquet")
    assert table["close"].to_pylist() == [
        float(bar.close / 2 if bar.timestamp.date() < EX_DATE else bar.close) for bar in SESSIONS
    ]
    with psycopg.connect(copied.dsn, autocommit=True) as connection:
        # A later split: only the newest bar is written by the build.
        connection.execute(
            "update marts.market_data_v2 set split_factor = 4 where symbol = 'AAPL' and timeframe = '1d' and timestamp = %s",
            (SESSIONS[-1].timestamp,),
        )
    assert again().written == ["1d/AAPL/2025.parquet"]


def test_an_export_that_was_killed_goes_on(built: Warehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write, count = Parquet.write, iter(range(99))

    def failing(*arguments: Any) -> None:
        write(*arguments)
        if next(count) == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Parquet, "write", failing)
        with pytest.raises(KeyboardInterrupt):
            exported(built, tmp_path, "AAPL", "BTC")
    # Nothing half, and the one that is there counts.
    assert files(tmp_path) == ["1d/AAPL/2025.parquet", "_export.json"] or len(files(tmp_path)) == 2
    report = exported(built, tmp_path, "AAPL", "BTC")
    assert (len(report.unchanged), len(report.written)) == (1, 6)


def test_as_of_is_what_was_known_then(built: Warehouse, tmp_path: Path) -> None:
    exported(built, tmp_path, "BTC", timeframes=("1h",), as_of=BEFORE_THE_AMENDMENT)
    closes = dict(
        zip(
            *parquet.read_table(tmp_path / "1h" / "BTC" / "2025.parquet")
            .select(["timestamp", "close"])
            .to_pydict()
            .values(),
            strict=True,
        )
    )
    assert closes[HOURS[50].timestamp] == float(HOURS[50].close)
    with pytest.raises(BadQuestion, match="knew nothing yet"):
        exported(built, tmp_path / "early", "BTC", as_of=datetime(2020, 1, 1, tzinfo=UTC))
    with pytest.raises(ConfigurationError, match="holds another export"):
        exported(built, tmp_path, "BTC", timeframes=("1h",))


def test_bounds_cut_files(built: Warehouse, tmp_path: Path) -> None:
    bounds = {"start": datetime(2025, 3, 4, tzinfo=UTC), "end": datetime(2025, 3, 5, tzinfo=UTC)}
    report = exported(built, tmp_path, "BTC", timeframes=("1h",), **bounds)
    assert report.bars == 24


def test_freqtrade_reads_its_layout(built: Warehouse, tmp_path: Path) -> None:
    """user_data/data/<exchange>/BTC_USDT-1h.feather, as its featherdatahandler reads it: columns in this order, date in
    UTC milliseconds."""
    exported(built, tmp_path, "BTC", timeframes=("1h",), format="freqtrade")
    table = feather.read_table(tmp_path / "BTC_USDT-1h.feather")
    assert table.column_names == ["date", "open", "high", "low", "close", "volume"]
    assert table.schema.field("date").type == pyarrow.timestamp("ms", tz="UTC")
    frame = pandas.read_feather(tmp_path / "BTC_USDT-1h.feather")
    expected = bars("BTC", "1h", url=built.database.dsn)
    assert list(frame["date"]) == list(expected.index)
    assert frame["close"].tolist() == expected["close"].tolist()


def lines_of(path: Path) -> tuple[str, list[list[str]]]:
    with zipfile.ZipFile(path) as archive:
        (name,) = archive.namelist()
        return name, [line.split(",") for line in archive.read(name).decode().splitlines()]


def test_lean_reads_its_layout(built: Warehouse, tmp_path: Path) -> None:
    """As in Lean's Data folder: shares in New York's time and ten-thousandths of a dollar, coins in UTC and as they are."""
    exported(built, tmp_path, "AAPL", "BTC", format="lean")
    assert files(tmp_path) == [
        "_export.json", "crypto/binance/daily/btcusdt_trade.zip", "crypto/binance/hour/btcusdt_trade.zip",
        "equity/usa/daily/aapl.zip",
    ]  # fmt: skip
    name, lines = lines_of(tmp_path / "equity/usa/daily/aapl.zip")
    assert name == "aapl.csv"
    bar = SESSIONS[0]
    assert lines[0] == [
        "20250102 00:00",
        *(str(int(price * 10_000)) for price in (bar.open, bar.high, bar.low, bar.close)),
        str(int(bar.volume)),
    ]
    name, lines = lines_of(tmp_path / "crypto/binance/hour/btcusdt_trade.zip")
    assert name == "btcusdt.csv"
    assert lines[0][0] == "20250303 00:00"
    assert [Decimal(line[4]) for line in lines[:3]] == [bar.close for bar in HOURS[:3]]
    # The same bars are the same bytes.
    before = (tmp_path / "equity/usa/daily/aapl.zip").read_bytes()
    (tmp_path / "equity/usa/daily/aapl.zip").unlink()
    exported(built, tmp_path, "AAPL", "BTC", format="lean")
    assert (tmp_path / "equity/usa/daily/aapl.zip").read_bytes() == before


def test_lean_leaves_out_bars_without_a_price(tmp_path: Path) -> None:
    """They are flagged in the mart; as whole numbers they would be zeros, or stop the export."""
    one = Series("AAPL", "stock", "1d")
    days = [datetime(2025, 1, day, 5, tzinfo=UTC) for day in (2, 3)]
    prices = {
        name: [Decimal(100), None if name == "close" else Decimal(101)] for name in ("open", "high", "low", "close")
    }
    table = pyarrow.table({"symbol": ["AAPL"] * 2, "timestamp": days, **prices, "volume": [Decimal(5), None]})
    part = Part("aapl.zip", (one,), None, "")
    writer("lean", tmp_path).write(part, [table], tmp_path / "aapl.zip")
    assert lines_of(tmp_path / "aapl.zip") == ("aapl.csv", [["20250102 00:00", *["1000000"] * 4, "5"]])


def test_lean_has_no_files_of_indices(built: Warehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(questions, "series_there", lambda connection: [Series("SPX", "index", "1d")])
    with pytest.raises(ConfigurationError, match="lean: no files are written of SPX, an index"):
        exported(built, tmp_path / "new", "SPX", format="lean")
    assert exported(built, tmp_path / "all", format="lean").written == []


def test_qlib_reads_its_layout(built: Warehouse, tmp_path: Path) -> None:
    """calendars, instruments, and features of 32-bit floats after the place where they begin."""
    exported(built, tmp_path, "AAPL", "BTC", timeframes=("1d",), format="qlib", adjusted="splits")
    calendar = (tmp_path / "calendars" / "day.txt").read_text().splitlines()
    assert calendar[0] == "2025-01-02"
    assert calendar == sorted(set(calendar))
    instruments = (tmp_path / "instruments" / "all.txt").read_text().splitlines()
    assert instruments == ["AAPL\t2025-01-02\t2025-03-13", "BTC\t2025-03-03\t2025-03-13"]

    def values(symbol: str, name: str) -> Any:
        return numpy.fromfile(tmp_path / "features" / symbol / f"{name}.day.bin", dtype="<f4")

    closes = values("btc", "close")
    assert calendar[int(closes[0])] == "2025-03-03"
    expected = bars("BTC", "1d", columns="close", url=built.database.dsn)["close"]
    assert closes[1:].tolist() == expected.astype("float32").tolist()
    closes, factors = values("aapl", "close"), values("aapl", "factor")
    by_day = dict(zip(calendar[int(closes[0]) :], zip(closes[1:], factors[1:], strict=True), strict=True))
    old, new = SESSIONS[0], SESSIONS[-1]
    assert by_day["2025-01-02"] == (pytest.approx(float(old.close) / 2), 0.5)
    assert by_day["2025-03-13"] == (pytest.approx(float(new.close)), 1.0)
    # A Saturday on which only the coin has a bar.
    assert numpy.isnan(by_day["2025-03-08"][0])


@pytest.mark.parametrize(
    ("symbols", "wanted", "problem", "words"),
    [
        (("BTX",), {}, UnknownSymbol, "did you mean BTC"),
        (("AAPL",), {"timeframes": ("1h",)}, BadQuestion, "AAPL has no 1h bars; there are 1d, 1w"),
        (("AAPL",), {"columns": ("clse",)}, BadQuestion, "clse is none of"),
        (
            ("AAPL",),
            {"format": "lean", "timeframes": ("1w",)},
            ConfigurationError,
            "lean takes bars of 1h 1d, not of 1w",
        ),
        (("AAPL",), {"format": "freqtrade", "columns": "all"}, ConfigurationError, "no other columns"),
        (("AAPL",), {"format": "qlib", "numbers": "decimal"}, ConfigurationError, "no decimals"),
    ],
)
def test_refusals(built: Warehouse, tmp_path: Path, symbols: Any, wanted: Any, problem: Any, words: str) -> None:
    with pytest.raises(problem, match=words):
        exported(built, tmp_path / "new", *symbols, **wanted)
    assert list(tmp_path.iterdir()) == []


def test_a_hostile_name_stays_in_the_folder(built: Warehouse, tmp_path: Path) -> None:
    report = exported(built, tmp_path / "inside", HOSTILE, timeframes=("1h",))
    (file,) = report.written
    assert (tmp_path / "inside" / file).exists()
    assert len(file.split("/")) == 3
    assert list(tmp_path.iterdir()) == [tmp_path / "inside"]


def test_the_command(built: Warehouse, tmp_path: Path) -> None:
    told = market(
        built.database,
        tmp_path,
        "export",
        "BTC",
        "--timeframes",
        "1h",
        "--columns",
        "close,sma_20",
        "--to",
        "out",
        "--json",
    )
    assert json.loads(told) == {
        "folder": "out",
        "written": ["1h/BTC/2025.parquet"],
        "unchanged": [],
        "removed": [],
        "not_there": [],
        "bars": 262,
    }
    assert parquet.read_table(io.BytesIO((tmp_path / "out/1h/BTC/2025.parquet").read_bytes())).column_names[3:] == [
        "close",
        "sma_20",
    ]
    again = market(
        built.database, tmp_path, "export", "BTC", "--timeframes", "1h", "--columns", "close,sma_20", "--to", "out"
    )
    assert again == "out: 0 files written (0 bars), 1 unchanged, 0 removed\n"
    assert "did you mean BTC" in market(built.database, tmp_path, "export", "BTX", "--to", "new", expect=78)
