"""bars() and symbols(), from the database and over HTTP, and the notebooks that use them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy
import pandas
import polars
import psycopg
import pyarrow
import pytest

from market_warehouse import BadQuestion, UnknownSymbol, WarehouseUnavailable, bars, questions, symbols
from tests.extract.conftest import forget
from tests.scripts.conftest import (
    BEFORE_THE_AMENDMENT,
    EX_DATE,
    HOSTILE,
    HOURS,
    NOW,
    PASSWORD,
    READER,
    ROOT,
    SESSIONS,
    Served,
)
from tests.scripts.test_reports import market
from tests.warehouse import Database, Warehouse

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
TOGETHER = ["BTC", HOSTILE]


@pytest.fixture
def url(built: Warehouse) -> str:
    """The warehouse, for one who may read and nothing else."""
    known = psycopg.conninfo.conninfo_to_dict(built.database.dsn)
    return f"postgresql://{READER}:{PASSWORD}@{known['host']}:{known['port']}/{known['dbname']}"


@pytest.fixture
def settled(built: Warehouse, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The warehouse, by its settings."""
    for name, value in built.database.environment.items():
        monkeypatch.setenv(name, value)
    forget()
    yield
    forget()


def stored(built: Warehouse, symbol: str, timeframe: str) -> list[dict[str, Any]]:
    return built.query(
        "select * from marts.market_data_v2 where symbol = %s and timeframe = %s order by timestamp", symbol, timeframe
    )


def test_every_column_is_that_of_the_mart(built: Warehouse, url: str) -> None:
    """Through floats: equal to the last bit to the nearest float of the stored decimal; through decimals: exact."""
    rows = [row for symbol in sorted(TOGETHER) for row in stored(built, symbol, "1h")]
    table = bars(TOGETHER, "1h", columns="all", frame="arrow", numbers="decimal", url=url)
    keys = ["symbol", "timestamp"]
    assert table.column_names == [*keys, *(name for name in rows[0] if name not in (*keys, "asset_class", "timeframe"))]
    for name in table.column_names:
        assert table[name].to_pylist() == [row[name] for row in rows], name

    frame = bars(TOGETHER, "1h", columns="all", url=url)
    assert list(frame.index) == [(row["symbol"], row["timestamp"]) for row in rows]
    for name, column in frame.items():
        values = [row[str(name)] for row in rows]
        if isinstance(next((value for value in values if value is not None), None), Decimal):
            expected = numpy.array([numpy.nan if value is None else float(value) for value in values])
            assert column.dtype == "float64"
            assert numpy.array_equal(column.to_numpy(), expected, equal_nan=True), name
    assert frame["revision"].tolist() == [row["revision"] for row in rows]
    assert frame["is_validated"].dtype == bool


def test_index_is_utc_with_a_level_of_symbols(url: str) -> None:
    frame = bars(["AAPL"], "1d", url=url)
    assert frame.index.names == ["symbol", "timestamp"]
    assert frame.index.is_monotonic_increasing
    alone = bars("AAPL", "1d", url=url)
    assert isinstance(alone.index, pandas.DatetimeIndex)
    assert str(alone.index.tz) == "UTC"
    assert list(alone.index) == [bar.timestamp for bar in SESSIONS]
    pandas.testing.assert_frame_equal(frame.loc["AAPL"], alone, check_freq=False)
    assert list(alone.columns) == ["open", "high", "low", "close", "volume"]
    assert {str(kind) for kind in alone.dtypes} == {"float64"}


def test_a_symbol_is_found_in_small_letters(served: Served, url: str) -> None:
    for where in (url, served.url):
        assert bars("aapl", "1d", url=where).equals(bars("AAPL", "1d", url=where))
        assert list(bars(["btc", "BTC"], "1d", url=where).index.levels[0]) == ["BTC"]


def test_what_is_read_in_halves_is_of_one_moment(built: Warehouse, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two connections share a snapshot: a build that ends between their statements is in neither of them."""
    from market_warehouse import database

    batches = database.Warehouse._batches

    def changed(self: Any, asked: Any, statement: str, **more: Any) -> Any:
        if asked.series[0].symbol == "BTC":
            built.execute("update marts.market_data_v2 set close = close + 1 where symbol = 'BTC'")
        return batches(self, asked, statement, **more)

    before = bars(TOGETHER, "1h", url=url)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(database.Warehouse, "_batches", changed)
            assert bars(TOGETHER, "1h", url=url).equals(before)
        assert not bars(TOGETHER, "1h", url=url).equals(before)
    finally:
        built.execute("update marts.market_data_v2 set close = close - 1 where symbol = 'BTC'")


def test_polars_and_arrow(url: str) -> None:
    frame = bars("AAPL", "1d", columns="close", frame="polars", url=url)
    assert frame.columns == ["symbol", "timestamp", "close"]
    assert frame.schema["timestamp"] == polars.Datetime("us", "UTC")
    assert frame["close"].to_list() == [float(bar.close) for bar in SESSIONS]
    assert bars("AAPL", "1d", frame="arrow", url=url).schema.field("open").type == pyarrow.float64()


def test_what_is_absent_is_never_zero(built: Warehouse, url: str) -> None:
    frame = bars("AAPL", "1d", columns=["sma_20", "funding_rate", "market_structure"], url=url)
    assert frame["sma_20"].isna().sum() == 19
    assert frame["funding_rate"].isna().all()
    assert frame["market_structure"].isna().sum() == sum(
        row["market_structure"] is None for row in stored(built, "AAPL", "1d")
    )


def test_bounds(url: str) -> None:
    day = bars("BTC", "1h", start="2025-03-04", end="2025-03-04", url=url)
    assert (len(day), day.index[0].isoformat()) == (24, "2025-03-04T00:00:00+00:00")
    hour = bars("BTC", "1h", start=pandas.Timestamp("2025-03-04T01:00+01:00"), end="2025-03-04T01:00", url=url)
    assert [stamp.isoformat() for stamp in hour.index] == ["2025-03-04T00:00:00+00:00"]


def test_nothing_in_the_range_is_an_empty_frame_of_the_same_types(url: str) -> None:
    none, some = (bars(["BTC"], "1h", columns="all", start=day, url=url) for day in ("2030-01-01", "2025-03-01"))
    assert len(none) == 0
    assert none.dtypes.to_dict() == some.dtypes.to_dict()
    assert none.index.names == some.index.names
    assert none.index.levels[1].dtype == some.index.levels[1].dtype


def test_adjusted_prices_are_those_of_the_mart(built: Warehouse, url: str) -> None:
    mart = built.query(
        "select * from marts.market_data_adjusted where symbol = 'AAPL' and timeframe = '1d' order by timestamp"
    )
    exact = bars("AAPL", "1d", adjusted=True, frame="arrow", numbers="decimal", url=url)
    for name in ("open", "high", "low", "close", "volume"):
        assert exact[name].to_pylist() == [row[name] for row in mart], name
    before = [bar.timestamp.date() < EX_DATE for bar in SESSIONS]
    assert exact["close"].to_pylist() == [
        bar.close / 2 if is_old else bar.close for bar, is_old in zip(SESSIONS, before, strict=True)
    ]
    returns = bars(
        "AAPL", "1d", columns="close,volume", adjusted="total_return", frame="arrow", numbers="decimal", url=url
    )
    assert returns["close"].to_pylist() == [row["total_return_close"] for row in mart]
    assert returns["volume"].to_pylist() == [row["volume"] for row in mart]
    # A feature in prices goes with them; one that is a ratio has nothing to adjust.
    adjusted, traded = (
        bars("AAPL", "1d", columns="close,sma_20,log_return", adjusted=change, url=url) for change in ("splits", False)
    )
    mean = adjusted["close"].rolling(20).mean().dropna()
    assert (mean - adjusted["sma_20"].dropna()).abs().max() < 1e-9
    assert adjusted["log_return"].equals(traded["log_return"])


def test_what_a_split_changes_are_prices_and_amounts(url: str) -> None:
    """By their types; a ratio that got the type of a price would be divided by every split."""
    from market_warehouse import database

    with database.connected(url) as warehouse:
        there = questions.columns_there(warehouse.connection).values()
    assert [one.name for one in there if one.is_price] == [
        "open", "high", "low", "close", "atr", "true_range", "hlc3", "sma_20", "sma_50", "vwap_20",
    ]  # fmt: skip
    assert [one.name for one in there if one.is_amount] == [
        "volume", "open_interest", "liquidations_long", "liquidations_short", "taker_buy_volume", "taker_sell_volume",
        "rolling_volume_20", "delta", "exchange_inflow",
    ]  # fmt: skip


def test_as_of_is_what_was_known_then(url: str) -> None:
    bar = HOURS[50]
    asked: dict[str, Any] = {"columns": "close,sma_20,revision", "start": bar.timestamp, "url": url}
    now, then = bars("BTC", "1h", **asked), bars("BTC", "1h", as_of=BEFORE_THE_AMENDMENT, **asked)
    assert (then["close"].iloc[0], now["close"].iloc[0]) == (float(bar.close), float(bar.close + Decimal("0.01")))
    assert (then["sma_20"].iloc[0], then["revision"].iloc[0]) != (now["sma_20"].iloc[0], now["revision"].iloc[0])
    assert bars("BTC", "1h", as_of=NOW, **asked).equals(now)
    split = bars("AAPL", "1d", columns="close", adjusted=True, as_of=NOW, url=url)
    assert split.equals(bars("AAPL", "1d", columns="close", adjusted=True, url=url))


def test_over_http_it_is_the_same(served: Served, url: str) -> None:
    def both(symbol: str | list[str], timeframe: str, **more: Any) -> None:
        here, there = (bars(symbol, timeframe, url=where, **more) for where in (url, served.url))
        pandas.testing.assert_frame_equal(here, there)

    both("AAPL", "1d", columns="all")
    both(TOGETHER, "1h", start="2025-03-10", columns="close,sma_20,source")
    both("BTC", "1h", as_of=BEFORE_THE_AMENDMENT, end="2025-03-06", columns="close")
    both("AAPL", "1d", columns="close,volume,sma_20,log_return", adjusted=True)
    both("AAPL", "1d", adjusted="total_return", asset_class="stock")
    both("AAPL", "1d", columns="close", numbers="decimal")
    pandas.testing.assert_frame_equal(symbols(url=url), symbols(url=served.url))
    with pytest.raises(UnknownSymbol, match="did you mean BTC"):
        bars("BTX", "1h", url=served.url)
    with pytest.raises(BadQuestion, match="there are 1h, 4h, 1d, 1w"):
        bars("BTC", "5m", url=served.url)
    with pytest.raises(BadQuestion, match="clse is none of"):
        bars("BTC", "1h", columns="clse", url=served.url)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"symbols": "BTX"}, "unknown symbol 'BTX'; did you mean BTC"),
        ({"symbols": "AAPL", "timeframe": "1h"}, "AAPL has no 1h bars; there are 1d, 1w"),
        ({"symbols": "AAPL", "timeframe": "2h"}, "'2h' is none of 5m"),
        ({"symbols": []}, "name at least one"),
        ({"symbols": "AAPL", "columns": "clse"}, "did you mean close?"),
        ({"symbols": "AAPL", "start": "soon"}, "start: 'soon' is neither a date"),
        ({"symbols": "AAPL", "adjusted": "dividends"}, "'dividends' is none of False"),
        ({"symbols": "AAPL", "adjusted": "total_return", "as_of": NOW}, "not known as of a past moment"),
        ({"symbols": "AAPL", "adjusted": "total_return", "columns": "sma_20"}, "not of sma_20"),
        ({"symbols": "AAPL", "as_of": "2020-01-01"}, "knew nothing yet: its first build was at 2025-03-14 00:10:00"),
        ({"symbols": "AAPL", "frame": "spark"}, "'spark' is none of pandas"),
        ({"symbols": "AAPL", "numbers": "float32"}, "'float32' is none of float64"),
    ],
)
def test_what_cannot_be_answered_says_what_there_is(url: str, asked: dict[str, Any], words: str) -> None:
    with pytest.raises(BadQuestion, match="") as refusal:
        bars(**asked, url=url)
    assert words in str(refusal.value)


def test_without_a_warehouse(database: Database) -> None:
    with pytest.raises(WarehouseUnavailable, match="not built yet"):
        bars("BTC", "1h", url=database.dsn)
    with pytest.raises(WarehouseUnavailable, match="is `market serve` running"):
        bars("BTC", "1h", url="http://127.0.0.1:9")
    # The settings are not to blame for what the caller names.
    with pytest.raises(WarehouseUnavailable, match=r"^url: that database does not answer"):
        bars("BTC", "1h", url="postgresql://127.0.0.1:9/market")
    with pytest.raises(BadQuestion, match=r"^url: neither a database's"):
        bars("BTC", "1h", url="ftp://127.0.0.1")


def test_symbols_tell_from_when_to_when(built: Warehouse, url: str) -> None:
    found = symbols(url=url).set_index(["symbol", "timeframe"])
    assert found.loc[("AAPL", "1d"), "first_bar"] == SESSIONS[0].timestamp
    assert found.loc[("BTC", "1h"), "newest_bar"] == HOURS[-1].timestamp
    assert found.loc[("BTC", "1h"), "bars"] == 262
    assert found.loc[("BTC", "1h"), "known_since"] == BEFORE_THE_AMENDMENT


def test_url_leads_there_without_its_password(
    built: Warehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = market(built.database, tmp_path, "url").strip()
    known = built.database.environment
    assert told == f"postgresql://{known['PGUSER']}@{known['PGHOST']}:{known['PGPORT']}/{known['PGDATABASE']}"
    whole = market(built.database, tmp_path, "url", "--with-password").strip()
    assert len(bars("AAPL", "1d", url=whole)) == len(SESSIONS)
    monkeypatch.setenv("PGPASSFILE", str(built.database.server.passfile))
    assert len(bars("AAPL", "1d", url=told)) == len(SESSIONS)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
@pytest.mark.usefixtures("settled")
def test_notebooks_run(notebook: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each cell, in order, as a kernel would; their own assertions prove what they claim."""
    document = json.loads(notebook.read_text())
    assert (document["nbformat"], document["nbformat_minor"]) == (4, 5)
    cells = ["".join(cell["source"]) for cell in document["cells"] if cell["cell_type"] == "code"]
    variables: dict[str, Any] = {}
    for number, cell in enumerate(cells, 1):
        exec(compile(cell, f"{notebook.name}[{number}]", "exec"), variables)
    printed = capsys.readouterr().out
    if notebook.stem == "point_in_time_backtest":
        assert list(variables["amended"]) == [HOURS[50].timestamp]
        assert (
            "262 bars were known at 2025-03-14 00:10:00+00:00; since then 0 came and 1 closes were amended" in printed
        )
        assert len(variables["differs"]) == 20
    else:
        assert "did you mean AAPL?" in printed


def test_there_are_two_notebooks() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["first_look", "point_in_time_backtest"]
