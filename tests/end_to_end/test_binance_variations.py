"""Variations of the recorded cases of Binance (../shared/cases), each a symbol of its own, all in one warehouse: files and
answers as they may come, over HTTP, `market extract`, `dbt build`, and the marts. Whatever came, the bars are those that
the exchange had, and so are their samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from typer.testing import CliRunner

from extract.transport.retry_policy import RETRY_POLICY
from scripts.cli import app
from scripts.simulator import environment
from scripts.site.reference_formulas import STEP
from tests.end_to_end import venue as binance
from tests.end_to_end.venue import (
    File,
    Row,
    Twist,
    Venue,
    close,
    every_eight_hours,
    grid,
    instant,
    interest,
    ms,
    packed,
    rate,
    serving,
    zipped,
)
from tests.extract.conftest import forget
from tests.warehouse import MakeWarehouse, Warehouse, crypto

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
# The file of the 17th, then what comes over REST.
FIRST, NOW = instant("2026-11-17"), instant("2026-11-20 00:10")
OCTOBER, REST_FROM = instant("2026-10-01"), instant("2026-11-18")
LATER = NOW + timedelta(minutes=5)
HEADER = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore"
)
ODD_TIMES: list[Any] = ["tomorrow", True, {}, 1e20, None, [1], "", -5]
ODD_NUMBERS: list[Any] = [None, "NaN", "1e400", "-1", {}, [], True, "0", "", "Infinity", "1,5"]
ODD_CELLS = ["-5", "0", "NaN", "1e400", "", "null", "Infinity", "-0.0"]

OTHER, OUTSIDE = "about another symbol", "outside the window that was asked for"

Rows = Callable[[list[Row]], Any]


@dataclass(frozen=True)
class Variation:
    """What is odd about a symbol, and what is nevertheless to come of it."""

    twist: Twist
    timeframe: str = "5m"
    first: datetime = FIRST
    spot: str | None = None
    futures: str = ""
    # How many coins a contract is on.
    coins: Decimal = Decimal(1)
    # The last settlement that there is.
    settled_until: datetime = LATER


VARIATIONS: dict[str, Variation] = {}


def bars(symbol: str, **twist: Any) -> None:
    VARIATIONS[symbol] = Variation(twist)


def month(symbol: str, **twist: Any) -> None:
    VARIATIONS[symbol] = Variation(twist, "1h", OCTOBER)


def futures(symbol: str, **twist: Any) -> None:
    about = {name: twist.pop(name) for name in ("first", "spot", "futures", "coins", "settled_until") if name in twist}
    VARIATIONS[symbol] = Variation(twist, "1h", **{"futures": f"{symbol}USDT", **about})


def csv(change: Rows, kind: str = "klines") -> Callable[[list[Row], File], Any]:
    """What a file's rows become."""
    return lambda rows, file: change(rows) if file.kind == kind else rows


def body(change: Callable[[str, File], Any], kind: str = "klines") -> Callable[[str, File], Any]:
    """What is sent instead of a file: a body or a status."""
    return lambda text, file: change(text, file) if file.kind == kind else packed(text, file.name)


def digest(change: Callable[[str, File], Any], kind: str = "klines") -> Callable[[str, File], Any]:
    """What is sent instead of a file's checksum."""
    return lambda right, file: change(right, file) if file.kind == kind else right.encode()


def lines(rows: list[Row]) -> str:
    return "".join(f"{','.join(row)}\n" for row in rows)


def cells(rows: list[Row], column: int, values: list[str], first: int = 150) -> list[Row]:
    """The rows, some of them from the row `first` on with another value in a column."""
    return [
        [*row[:column], values[n - first], *row[column + 1 :]] if first <= n < first + len(values) else row
        for n, row in enumerate(rows)
    ]


def without_spans(*spans: tuple[str, str]) -> Rows:
    edges = [(ms(instant(start)), ms(instant(end))) for start, end in spans]
    return lambda rows: [row for row in rows if not any(a <= int(row[0]) // 1000 < b for a, b in edges)]


def trembling(rows: list[Row]) -> list[Row]:
    """Labels two seconds early, in time, and a second late."""
    return [
        [f"{instant(row[0]) + timedelta(seconds=[-2, 0, 1][n % 3]):%Y-%m-%d %H:%M:%S}", *row[1:]]
        for n, row in enumerate(rows)
    ]


def at_first(members: dict[int | str, list[Any]], stamp: int | str = 0) -> Callable[..., list[Any]]:
    """Rows that are odd when they are first sent, from 06:00 of the 18th on: the values of some members."""
    start, step = ms(REST_FROM + 6 * HOUR), 300_000

    def change(rows: list[Any], query: dict[str, str], n: int) -> list[Any]:
        if n > 1:
            return rows
        rows = [row.copy() for row in rows]
        for row in rows:
            place = (row[stamp] - start) // step
            for member, values in members.items():
                if 0 <= place < len(values):
                    row[member] = values[place]
        return rows

    return change


def wrong(rows: list[Any], **about: Any) -> dict[str, Any]:
    """A row about something else, with values that are none of ours."""
    values = {"sumOpenInterest": "99999", "longAccount": "0.9", "shortAccount": "0.1", "fundingRate": "0.0099"}
    return {**(rows[5 % len(rows)] if rows else {"symbol": "", "fundingTime": 0, "timestamp": 0}), **values, **about}


def strays(rows: list[Row]) -> list[Row]:
    """Samples of another symbol, and of two days later, which REST has too."""
    later = f"{instant(rows[9][0]) + 2 * DAY:%Y-%m-%d %H:%M:%S}"
    return [[rows[9][0], "ETHUSDT", "99999", *rows[9][3:]], [later, rows[9][1], "99999", *rows[9][3:]]]


# ---------------------------------------------------------------- checksums
bars("CKUPPER", checksum=digest(lambda right, file: f"{right.upper()} *{file.name}.zip\r\n".encode()))
bars("CKLINES", checksum=digest(lambda right, file: f"{'0' * 64}  other.zip\n{right}  {file.name}.zip\n".encode()))
bars("CKOTHER", checksum=digest(lambda right, file: f"{right}  OTHER-5m-2020-01-01.zip".encode()))
bars("CKWRONG", checksum=digest(lambda right, file: f"{'0' * 64}  {file.name}.zip".encode()))
bars("CKHTML", checksum=digest(lambda right, file: b"<!doctype html><html>sorry</html>"))
bars("CKNONE", checksum=digest(lambda right, file: 404))
month("CKMONTH", checksum=digest(lambda right, file: b"f" * 64))
# ---------------------------------------------------------------- zips
bars("ZHTML", zip=body(lambda text, file: b"<html>not a zip</html>"))
bars("ZEMPTY", zip=body(lambda text, file: zipped({})))
bars("ZTWO", zip=body(lambda text, file: zipped({"README.csv": "1,2,3\n", f"{file.name}.csv": text})))
bars("ZNAME", zip=body(lambda text, file: zipped({"a/b/data.csv": text})))
bars("ZCUT", zip=body(lambda text, file: packed(text, file.name)[:-300]))
bars("Z403", zip=body(lambda text, file: 403))
# ---------------------------------------------------------------- what is in them
bars("CHEAD", header=HEADER)
bars(
    "CEXTRA",
    header=f"open_time,new,{HEADER.partition(',')[2]}",
    csv=csv(lambda rows: [[r[0], "7", *r[1:]] for r in rows]),
)
bars("CORDER", header=",".join(reversed(HEADER.split(","))), csv=csv(lambda rows: [row[::-1] for row in rows]))
bars("CWIDE", csv=csv(lambda rows: [[*row, "77"] for row in rows]))
bars("CMILLI", csv=csv(lambda rows: [[r[0][:-3], *r[1:6], r[6][:-3], *r[7:]] for r in rows]))
bars("CNANO", csv=csv(lambda rows: [[f"{r[0]}000", *r[1:6], f"{r[6]}999", *r[7:]] for r in rows]))
bars("CCRLF", csv=csv(lambda rows: lines(rows).replace("\n", "\r\n")))
bars("CTWICE", csv=csv(lambda rows: [row for pair in zip(rows, rows, strict=True) for row in pair]))
bars("CBACK", csv=csv(lambda rows: rows[::-1]))
bars(
    "CDAY", csv=lambda rows, file: File("klines", file.symbol, file.start + DAY, file.end + DAY).rows(every_eight_hours)
)
bars("CLONG", csv=lambda rows, file: File("klines", file.symbol, file.start, file.end, "15m").rows(every_eight_hours))
bars("CZERO", csv=csv(lambda rows: ""))
bars("CCUT", csv=csv(lambda rows: lines(rows)[:-60]))
bars("HSTART", csv=csv(without_spans(("2026-11-17 00:00", "2026-11-17 02:00"))))
bars("HEND", csv=csv(without_spans(("2026-11-17 20:00", "2026-11-18 00:00"))))
bars("HALF", csv=csv(lambda rows: rows[::2]))
bars("CPRICE", csv=csv(lambda rows: [row[:3] if n == 9 else row for n, row in enumerate(cells(rows, 4, ODD_CELLS))]))
month("MPRICE", csv=csv(lambda rows: cells(rows, 1, ODD_CELLS)))
month("MDAY", csv=csv(without_spans(("2026-10-12", "2026-10-13"))))
month("MWEEK", csv=csv(lambda rows: rows[: 7 * 24]))
# ---------------------------------------------------------------- REST
bars("EMPTY", klines=lambda rows, query, n: [] if n == 1 else rows)
bars("OBJECT", klines=lambda rows, query, n: {} if n == 1 else rows)
bars("OLDEST", klines=lambda rows, query, n: rows[:100])
bars("NEWEST", klines=lambda rows, query, n: rows[-100:])
bars("BACK", klines=lambda rows, query, n: rows[:100][::-1])
bars("TWICE", klines=lambda rows, query, n: [row for pair in zip(rows[:100], rows[:100], strict=True) for row in pair])
bars("STRAY", klines=lambda rows, query, n: [binance.kline(FIRST - 90 * DAY, "5m"), *rows])
bars("ODDTIME", klines=at_first({0: ODD_TIMES}))
bars("ODDPRICE", klines=at_first({4: ODD_NUMBERS}))
bars("ODDVOLUM", klines=at_first({5: ODD_NUMBERS}))
# ---------------------------------------------------------------- samples
futures("DBAD", csv=csv(lambda rows: cells(cells(rows, 2, ODD_CELLS), 6, ODD_CELLS, 100), "metrics"))
futures("DHOLE", csv=csv(lambda rows: rows[:144] + rows[168:], "metrics"))
futures("DHALF", csv=csv(lambda rows: rows[:100], "metrics"))
futures("DZERO", csv=csv(lambda rows: [], "metrics"))
futures("DCK", checksum=digest(lambda right, file: b"0" * 64, "metrics"))
futures("DNONE", zip=body(lambda text, file: 404, "metrics"))
futures("DTREMBLE", csv=csv(trembling, "metrics"))
futures("DISO", csv=csv(lambda rows: [[row[0].replace(" ", "T"), *row[1:]] for row in rows], "metrics"))
futures("DOTHER", csv=csv(lambda rows: cells(rows, 1, ["ETHUSDT"] * 288, 0), "metrics"))
futures("DNEWEST", statistics=lambda word, rows, query, n: rows[-50:])
futures("DSTRAY", statistics=lambda word, rows, query, n: [*rows, wrong(rows, timestamp=ms(FIRST + 9 * HOUR))])
futures("DNAMED", statistics=lambda word, rows, query, n: [*rows, wrong(rows, symbol="ETHUSDT")])
futures("DFILE", csv=csv(lambda rows: [*rows, *strays(rows)], "metrics"))
futures("DEMPTY", statistics=lambda word, rows, query, n: [] if n == 1 else rows)
# ---------------------------------------------------------------- settlements
futures("FSTOP", settled_until=instant("2026-11-18 08:00"))
futures("FOLDEST", first=OCTOBER, funding=lambda rows, query, n: rows[:10])
futures("FNEWEST", first=OCTOBER, funding=lambda rows, query, n: rows[-10:])
futures("FHOLE", first=OCTOBER, csv=csv(lambda rows: rows[:30] + rows[40:], "fundingRate"))
futures("FWEEK", first=OCTOBER, csv=csv(lambda rows: rows[:21], "fundingRate"))
futures("FZERO", first=OCTOBER, csv=csv(lambda rows: [], "fundingRate"))
futures("FHOURS", first=OCTOBER, csv=csv(lambda rows: cells(rows, 1, ["0", "", "x", "-8", "8.0"], 20), "fundingRate"))
futures(
    "FSTRAY", first=OCTOBER, funding=lambda rows, query, n: [*rows, wrong(rows, fundingTime=ms(OCTOBER + 8 * HOUR))]
)
futures("FNAMED", first=OCTOBER, funding=lambda rows, query, n: [*rows, wrong(rows, symbol="ETHUSDT")])
futures("FCK", first=OCTOBER, checksum=digest(lambda right, file: b"0" * 64, "fundingRate"))
# ---------------------------------------------------------------- contracts on many coins
futures("M1000", spot="PEPEUSDT", futures="1000PEPEUSDC", coins=Decimal(1000))
futures("MMILLION", spot="MOGUSDT", futures="1000000MOGUSDT", coins=Decimal(1_000_000))
futures("MSATS", spot="1000SATSUSDT", futures="1000SATSUSDT")
futures("MINCH", spot="1INCHUSDT", futures="1INCHUSDT")


def settlements(variation: Variation) -> Callable[[datetime, datetime], list[datetime]]:
    until = variation.settled_until
    return lambda start, end: [at for at in every_eight_hours(start, end) if at <= until]


@pytest.fixture(scope="module")
def played(make_warehouse: MakeWarehouse) -> Iterator[Warehouse]:
    """All of them extracted twice, and built."""
    warehouse = make_warehouse("variations")
    only = {"polygon": "", "yahoo": "", "coinmetrics": "", "source_priority": "binance"}
    warehouse.assets(
        [
            crypto(symbol, one.timeframe, **only, active_from=f"{one.first:%Y-%m-%d}", binance_futures=one.futures)
            | {"binance": f"{symbol}USDT" if one.spot is None else one.spot}
            for symbol, one in VARIATIONS.items()
        ]
    )
    twists = {symbol: {"settles": settlements(one), **one.twist} for symbol, one in VARIATIONS.items()}
    with pytest.MonkeyPatch.context() as patch, serving(Venue(NOW, twists=twists)) as venue:
        patch.chdir(warehouse.project.directory)
        for name, value in {**warehouse.database.environment, **environment(venue.url)}.items():
            patch.setenv(name, value)
        patch.setattr(RETRY_POLICY, "backoff", ())
        # A file of samples a symbol.
        patch.setattr("extract.providers.binance.derivatives.FIRST_STATISTICS_REACH", NOW - FIRST)
        for now in (NOW, LATER):
            venue.now = warehouse.now = now
            patch.setenv("WAREHOUSE_NOW", now.isoformat())
            forget()
            result = CliRunner().invoke(app, ["extract"])
            assert result.exit_code in (0, 3), result.output
        warehouse.build("+market_data_v2 +bar_gaps +rejected_rows")
        yield warehouse
        forget()


def rows_of(warehouse: Warehouse, symbol: str) -> dict[datetime, dict[str, Any]]:
    found = warehouse.query(
        "select * from marts.market_data_v2 where symbol = %s and timeframe = %s",
        symbol,
        VARIATIONS[symbol].timeframe,
    )
    return {row["timestamp"]: row for row in found}


@pytest.mark.parametrize("symbol", VARIATIONS)
def test_all_bars_are_there_and_no_other(played: Warehouse, symbol: str) -> None:
    one = VARIATIONS[symbol]
    step = STEP[one.timeframe]
    found = rows_of(played, symbol)
    assert {at: row["close"] for at, row in found.items()} == {
        at: Decimal(close(at)) for at in grid(one.first, LATER - step + timedelta(seconds=1), step)
    }
    assert all(row["is_validated"] and row["volume"] == Decimal("12.5") for row in found.values())
    assert played.query("select * from marts.bar_gaps where symbol = %s", symbol) == []


@pytest.mark.parametrize("symbol", [symbol for symbol, one in VARIATIONS.items() if one.futures])
def test_samples_and_settlements_are_those_of_the_close(played: Warehouse, symbol: str) -> None:
    one = VARIATIONS[symbol]
    settled = settlements(one)(OCTOBER - 90 * DAY, LATER)
    for at, row in rows_of(played, symbol).items():
        closed = at + HOUR
        last = max(moment for moment in settled if moment <= closed)
        # No rate is current longer than two of its intervals.
        current = closed - last <= 16 * HOUR
        assert row["funding_rate"] == (Decimal(rate(last)) if current else None), at
        if at >= FIRST:
            assert row["open_interest"] == Decimal(interest(closed)) * one.coins, at
            assert row["long_short_ratio"] == Decimal("0.6"), at


def test_what_is_odd_is_on_record(played: Warehouse) -> None:
    """Files that are no good say so, rows that cannot be read are rejected, each with its reason."""
    spoilt = played.query(
        "select distinct symbol from raw_binance.responses where origin = 'archive' and status in ('failed', 'quarantined')"
    )
    assert {row["symbol"] for row in spoilt} >= {
        "CKWRONG", "CKHTML", "CKNONE", "CKMONTH", "ZHTML", "ZEMPTY", "ZTWO", "ZCUT", "Z403", "CDAY", "CLONG", "CZERO",
        "DCK", "DNONE", "DOTHER", "FCK",
    }  # fmt: skip
    rejected = played.query("select distinct symbol from marts.rejected_bars")
    others = played.query("select distinct symbol, reason from marts.rejected_rows")
    assert {(row["symbol"], row["reason"]) for row in others} >= {
        ("DSTRAY", OUTSIDE), ("DNAMED", OTHER), ("DFILE", OUTSIDE), ("DFILE", OTHER), ("FSTRAY", OUTSIDE), ("FNAMED", OTHER),
    }  # fmt: skip
    assert {row["symbol"] for row in rejected} >= {"ODDTIME", "ODDPRICE", "ODDVOLUM", "STRAY"}
