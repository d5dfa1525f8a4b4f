"""Answers as providers really send them: what is odd is rejected with its reason, the rest is built, and an answer takes
back no more than it proves.

Every case has assets of its own and all are played in one warehouse, step by step (see test_bars.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal as D
from typing import Any

import pytest

from scripts.site.reference_formulas import STEP
from tests import payloads
from tests.dbt.test_bars import MARCH, NEW_YORK, Play, bar, bars_of, run_of, stock_bars
from tests.oracle.bars import Bar
from tests.warehouse import Answer, MakeWarehouse, Warehouse, crypto, stock

SELECTED = "+int_bars +rejected_bars +rejected_rows +int_splits +int_dividends +int_futures_samples +int_funding_rates"
SELECTED += " +int_liquidations +int_exchange_inflows +unfinished_bars"
WEEK = (date(2025, 3, 3), date(2025, 3, 7))
CASES: dict[str, tuple[list[dict[str, str]], Callable[..., Play]]] = {}


def case(*assets: dict[str, str]) -> Callable[[Callable[..., Play]], Callable[..., Play]]:
    """Register the function, which plays with the symbols of these assets; `?` in a symbol is the case's own."""

    def register(play: Callable[..., Play]) -> Callable[..., Play]:
        own = [{key: value.replace("?", f"Z{len(CASES)}") for key, value in asset.items()} for asset in assets]
        CASES[play.__name__] = (own, lambda warehouse: play(warehouse, *(asset["symbol"] for asset in own)))
        return play

    return register


@pytest.fixture(scope="module")
def outcomes(make_warehouse: MakeWarehouse) -> dict[str, Exception | None]:
    """All cases played together, on a server whose clock is west of UTC: the error that ended each, or None."""
    warehouse = make_warehouse("warehouse")
    warehouse.environment["PGOPTIONS"] = "-c timezone=America/Los_Angeles -c datestyle=German"
    warehouse.assets([asset for assets, _ in CASES.values() for asset in assets])
    playing = {name: play(warehouse) for name, (_, play) in CASES.items()}
    ended: dict[str, Exception | None] = {}
    while playing:
        for name, play in list(playing.items()):
            try:
                next(play)
            except StopIteration:
                ended[name] = None
            except Exception as error:
                ended[name] = error
        playing = {name: play for name, play in playing.items() if name not in ended}
        if playing:
            warehouse.build(SELECTED)
    return ended


def rejected(warehouse: Warehouse, symbol: str, relation: str = "rejected_bars") -> list[tuple[Any, str]]:
    return [
        (row["timestamp"], row["reason"])
        for row in warehouse.query(
            f"select timestamp, reason from marts.{relation} where symbol = %s order by batch, timestamp, reason",
            symbol,
        )
    ]


def reasons(warehouse: Warehouse, symbol: str, relation: str = "rejected_bars") -> set[str]:
    return {reason for _, reason in rejected(warehouse, symbol, relation)}


def closes(warehouse: Warehouse, symbol: str, timeframe: str) -> dict[datetime, Any]:
    return {at: row["close"] for at, row in bars_of(warehouse, symbol, timeframe).items()}


def chart(bars: list[Bar], timeframe: str, **changes: Any) -> payloads.Payload:
    """A chart of Yahoo, some of its members replaced: stamps (by number), zone, fields (by name and number)."""
    payload: Any = payloads.yahoo_chart(bars, timeframe, **changes.pop("chart", {}))
    (result,) = payload["chart"]["result"]
    for number, stamp in changes.get("stamps", {}).items():
        result["timestamp"][number] = stamp
    if "zone" in changes:
        result["meta"]["exchangeTimezoneName"] = changes["zone"]
    for (field, number), value in changes.get("fields", {}).items():
        result["indicators"]["quote"][0][field][number] = value
    return payload


# ---------------------------------------------------------------- one bad field


ODD_STAMPS: list[Any] = ["tomorrow", True, {}, [1], 1e20, None, "", 1741012200.5, -(10**17)]


@case(stock("?A", "1d"))
def a_stamp_that_is_none_rejects_its_row_alone(warehouse: Warehouse, symbol: str) -> Play:
    days = stock_bars("1d", date(2025, 3, 3), date(2025, 3, 14))
    payload: Any = chart(days, "1d", stamps=dict(enumerate(ODD_STAMPS)))
    window = (days[0].timestamp, days[-1].timestamp + STEP["1d"])
    warehouse.load("yahoo", Answer("bars", symbol, payload, "1d", window, origin="chart"))
    yield
    assert list(closes(warehouse, symbol, "1d")) == [days[-1].timestamp]
    assert rejected(warehouse, symbol) == [(None, "no readable time stamp or zone")] * len(ODD_STAMPS)
    rows = warehouse.query("select payload_row from marts.rejected_bars where symbol = %s", symbol)
    assert {str(row["payload_row"]["timestamp"]) for row in rows} >= {"tomorrow", "True", "{}", "None"}


@case(stock("?A", "1d"))
def a_stamp_is_read_as_number_and_as_text(warehouse: Warehouse, symbol: str) -> Play:
    days = stock_bars("1d", *WEEK)
    stamps = [int((one.timestamp + timedelta(hours=9, minutes=30)).timestamp()) for one in days]
    odd = {0: str(stamps[0]), 1: float(stamps[1]), 2: D(f"{stamps[2]}.000"), 3: f" {stamps[3]} "}
    warehouse.load("yahoo", Answer("bars", symbol, chart(days, "1d", stamps=odd), "1d", origin="chart"))
    yield
    assert list(closes(warehouse, symbol, "1d")) == [one.timestamp for one in days]


@case(*(stock(f"?{letter}", "1d") for letter in "ABCDEF"))
def a_time_zone_that_is_none_rejects_the_days_of_that_answer(warehouse: Warehouse, *symbols: str) -> Play:
    days = stock_bars("1d", *WEEK)
    zones = ["Mars/Olympus", "", "../etc/passwd", 7, None, "america/new_york"]
    for symbol, zone in zip(symbols, zones, strict=True):
        more = {"splits": {date(2025, 3, 5): (2, 1)}}
        warehouse.load("yahoo", Answer("bars", symbol, chart(days, "1d", zone=zone, chart=more), "1d", origin="chart"))
    yield
    for symbol in symbols[:-1]:
        assert closes(warehouse, symbol, "1d") == {}
        assert rejected(warehouse, symbol) == [(None, "no readable time stamp or zone")] * 5
        assert rejected(warehouse, symbol, "rejected_rows") == [(None, "no readable time zone")]
    assert len(closes(warehouse, symbols[-1], "1d")) == 5, "names of zones have no case"


@case(stock("?A", "5m"))
def hours_and_minutes_need_no_time_zone(warehouse: Warehouse, symbol: str) -> Play:
    fives = stock_bars("5m", date(2025, 3, 3), date(2025, 3, 3))
    warehouse.load("yahoo", Answer("bars", symbol, chart(fives, "5m", zone="Mars/Olympus"), "5m", origin="chart"))
    yield
    assert len(closes(warehouse, symbol, "5m")) == 78


@case(stock("?A", "1d"), stock("?B", "1d"))
def dates_that_are_none_reject_their_split_or_dividend(warehouse: Warehouse, told: str, market: str) -> Play:
    dates = [
        "TBD",
        "",
        "2026-02-30",
        "0000-00-00",
        "99999-01-01",
        None,
        20260101,
        "2025-02-29",
        "2024-13-01",
        "2024-02-29",
    ]
    splits = [{"execution_date": day, "split_from": 1, "split_to": 2, "ticker": told} for day in dates]
    warehouse.load("polygon", Answer("splits", told, {"results": splits, "status": "OK"}))
    dividends = [
        {"id": f"{n}", "ex_dividend_date": day, "cash_amount": 1, "currency": "USD"} for n, day in enumerate(dates)
    ]
    warehouse.load("polygon", Answer("dividends", told, {"results": dividends, "status": "OK"}))
    # Of the whole market only ours is of interest.
    wide = [
        {"execution_date": "TBD", "split_from": 1, "split_to": 2, "ticker": name} for name in (market, "NOBODYS", 5)
    ]
    warehouse.load("polygon", Answer("splits", None, {"results": wide, "status": "OK"}))
    yield
    for kind in ("int_splits", "int_dividends"):
        found = warehouse.query(f"select ex_date from intermediate.{kind} where symbol = %s", told)
        assert [row["ex_date"] for row in found] == [date(2024, 2, 29)]
    assert rejected(warehouse, told, "rejected_rows") == [(None, "no readable date")] * 18
    assert rejected(warehouse, market, "rejected_rows") == [(None, "no readable date")]
    rows = warehouse.query(
        "select count(*) as n from marts.rejected_rows where symbol is null or symbol like 'NOBODY%%'"
    )
    assert rows == [{"n": 0}]


@case(stock("?A", "1d"))
def a_split_that_cannot_be_read_takes_nothing_back(warehouse: Warehouse, symbol: str) -> Play:
    window = (datetime(2020, 1, 1, tzinfo=UTC), datetime(2025, 12, 1, tzinfo=UTC))
    good = payloads.polygon_splits({date(2024, 6, 10): (10, 1)})
    warehouse.load("polygon", Answer("splits", symbol, good, window=window))
    yield
    odd = {"results": [{"execution_date": "TBD", "split_from": 1, "split_to": 10, "ticker": "T"}], "status": "OK"}
    warehouse.load("polygon", Answer("splits", symbol, odd, window=window))
    yield
    ratio = "select split_to / split_from as ratio from intermediate.int_splits where symbol = %s"
    assert [row["ratio"] for row in warehouse.query(ratio, symbol)] == [10]
    warehouse.load("polygon", Answer("splits", symbol, payloads.polygon_splits({}), window=window))
    yield
    assert [row["ratio"] for row in warehouse.query(ratio, symbol)] == [1], "an answer without it does"


@case(crypto("?A", "5m"))
def samples_that_cannot_be_are_rejected(warehouse: Warehouse, symbol: str) -> Play:
    at = [MARCH + timedelta(minutes=5 * n) for n in range(6)]
    values = ["100.5", "-1", "", "abc", "1e30", "0"]
    rows = [
        [f"{one:%Y-%m-%d %H:%M:%S}", "T", value, "1", "1", "1", "1.5", "1"]
        for one, value in zip(at, values, strict=True)
    ]
    rows += [
        ["0000-00-00 00:00:00", "T", "1", "1", "1", "1", "1.5", "1"],
        ["2025-03-03 24:00:00", "T", "1", *"11111"],
        [],
        ["x"],
    ]
    rows[0][6] = ""
    file = {"file": "T-metrics.zip", "checksum": "0", "header": None, "rows": rows}
    warehouse.load("binance", Answer("metrics", symbol, file, origin="archive"))
    yield
    found = warehouse.query(
        "select sampled_at, value from intermediate.int_futures_samples where symbol = %s and measure = 'open_interest'"
        " order by sampled_at",
        symbol,
    )
    assert {row["value"] for row in found} == {D("100.5"), None}
    told = warehouse.query("select kind, reason, timestamp from marts.rejected_rows where symbol = %s", symbol)
    interest = sorted(
        (row["reason"], row["timestamp"]) for row in told if row["kind"] == "open_interest" and row["timestamp"]
    )
    assert interest == [
        ("a negative open interest", at[1]), ("an open interest above 1e18", at[4]),
        ("no readable open interest", at[2]), ("no readable open interest", at[3]),
    ]  # fmt: skip
    undated = [row["kind"] for row in told if row["reason"] == "no readable time stamp"]
    assert undated.count("open_interest") == 4
    # An empty ratio is none that was sent.
    assert undated.count("long_short_ratio") == len([row for row in told if row["kind"] == "long_short_ratio"]) == 2


@case(crypto("?A", "1d"))
def rates_orders_and_flows_that_cannot_be_are_rejected(warehouse: Warehouse, symbol: str) -> Play:
    settled: Any = payloads.funding([(MARCH + timedelta(hours=8 * n), D("0.0001")) for n in range(4)])
    settled[0]["fundingRate"], settled[1]["fundingTime"], settled[2]["fundingRate"] = None, "soon", "1.5E-4"
    settled[3]["fundingRate"] = "1e20"
    warehouse.load("binance", Answer("funding", symbol, settled))
    orders: Any = payloads.liquidations([(MARCH + timedelta(minutes=n), "SELL", D(3)) for n in range(5)])
    for n, (field, value) in enumerate([("S", "HOLD"), ("z", "-1"), ("T", []), ("ap", "1e12")]):
        orders["events"][n]["o"][field] = value
    warehouse.load("binance", Answer("liquidations", symbol, orders, origin="stream"))
    flows: Any = payloads.exchange_inflow({date(2025, 3, n): D(5) for n in (1, 2, 3)})
    flows["data"][0]["time"], flows["data"][1]["FlowInExNtv"], flows["data"][2]["FlowInExNtv"] = "TBD", "much", None
    warehouse.load("coinmetrics", Answer("exchange_inflow", symbol, flows))
    yield
    (rate,) = warehouse.query("select funding_rate from intermediate.int_funding_rates where symbol = %s", symbol)
    assert rate["funding_rate"] == D("0.00015")
    assert len(warehouse.query("select * from intermediate.int_liquidations where symbol = %s", symbol)) == 1
    told = warehouse.query("select kind, reason from marts.rejected_rows where symbol = %s", symbol)
    assert sorted((row["kind"], row["reason"]) for row in told) == [
        ("exchange_inflow", "no readable date"), ("exchange_inflow", "no readable inflow"),
        ("funding", "a rate of 100 or more"), ("funding", "no readable rate"), ("funding", "no readable time stamp"),
        ("liquidation", "a negative quantity"), ("liquidation", "a price of 1e9 or more"),
        ("liquidation", "a side that is neither BUY nor SELL"), ("liquidation", "no readable time stamp"),
    ]  # fmt: skip


@case(stock("?A", "1d"))
def answers_without_rows_are_answers(warehouse: Warehouse, symbol: str) -> Play:
    nothing: list[payloads.Payload] = [
        {"status": "OK", "resultsCount": 0, "results": None},
        {"results": {}},
        {"results": 5},
        [],
        {},
    ]
    for payload in nothing:
        warehouse.load("polygon", Answer("bars", symbol, payload, "1d", values={"row_count": 0}))
    yield
    assert closes(warehouse, symbol, "1d") == {} and rejected(warehouse, symbol) == []


# ---------------------------------------------------------------- range


@case(crypto("?A", "1h"))
def what_the_columns_cannot_hold_is_rejected_and_never_rounded(warehouse: Warehouse, symbol: str) -> Play:
    hours = run_of(MARCH, 8, "1h")
    payload: Any = payloads.binance_klines(hours, "1h")
    prices = {
        0: ["0.00000000015", "0.00000000019", "0.00000000011", "0.00000000015"], 1: ["1E-30"] * 4,
        2: ["0.0000000002"] * 4, 3: ["1.5E-7"] * 4, 4: ["1e400000"] * 4, 5: ["0.00001234567"] * 4,
    }  # fmt: skip
    for n, four in prices.items():
        payload[n][1:5] = four
    payload[6][5], payload[7][5] = "2000000000000000.00000000", "1000000000000000001"
    window = (hours[0].timestamp, hours[-1].timestamp + STEP["1h"])
    warehouse.load("binance", Answer("bars", symbol, payload, "1h", window))
    yield
    at = [one.timestamp for one in hours]
    found = bars_of(warehouse, symbol, "1h")
    assert {n: found[at[n]]["open"] for n in (2, 3)} == {2: D("0.0000000002"), 3: D("0.0000001500")}
    assert found[at[6]]["volume"] == D("2e15") and found[at[6]]["is_valid"]
    assert rejected(warehouse, symbol) == [
        (at[0], "a price finer than is stored"), (at[1], "a price finer than is stored"), (at[4], "no readable price"),
        (at[5], "a price finer than is stored"), (at[7], "a volume above 1e18"),
    ]  # fmt: skip


@case(stock("?A", "1d", source_priority="yahoo"))
def small_adjusted_prices_keep_their_digits(warehouse: Warehouse, symbol: str) -> Play:
    days = [replace(one, open=(p := D("0.00000012345678")), high=p, low=p, close=p) for one in stock_bars("1d", *WEEK)]
    warehouse.load_bars("yahoo", symbol, "1d", days)
    yield
    (row, *_) = warehouse.query(
        "select close from intermediate.int_bar_revisions inner join intermediate.int_series using (series_id)"
        " where symbol = %s",
        symbol,
    )
    assert row["close"] == D("0.00000012345678")


# ---------------------------------------------------------------- the window that was asked for


@case(crypto("?A", "1h"))
def rows_outside_the_window_never_count(warehouse: Warehouse, symbol: str) -> Play:
    hours = run_of(MARCH, 30, "1h")
    window = (hours[10].timestamp, hours[20].timestamp)
    warehouse.load_bars("binance", symbol, "1h", hours, window=window)
    yield
    assert list(closes(warehouse, symbol, "1h")) == [one.timestamp for one in hours[10:20]]
    assert rejected(warehouse, symbol) == [
        (one.timestamp, "outside the asked window") for one in hours[:10] + hours[20:]
    ]


@case(stock("?A", "1d 1w"), stock("?B", "5m 1h"))
def polygon_s_windows_begin_with_the_bar_that_holds_their_start(warehouse: Warehouse, days: str, hours: str) -> Play:
    """The day and week of the window's start are asked for, the one before is not; nor what begins at the end."""
    noon = datetime(2025, 3, 5, 12, tzinfo=NEW_YORK).astimezone(UTC)
    all_days = stock_bars("1d", *WEEK)
    warehouse.load_bars("polygon", days, "1d", all_days, window=(noon, all_days[4].timestamp))
    weeks = [bar(datetime(2025, 3, day, tzinfo=NEW_YORK).astimezone(UTC)) for day in (3, 10, 17)]
    warehouse.load_bars("polygon", days, "1w", weeks, window=(noon, weeks[2].timestamp))
    clock = stock_bars("1h", date(2025, 3, 5), date(2025, 3, 5), clock=True)
    inside = clock[2].timestamp + timedelta(minutes=20)
    warehouse.load_bars("polygon", hours, "1h", clock, window=(inside, clock[5].timestamp))
    yield
    assert list(closes(warehouse, days, "1d")) == [one.timestamp for one in all_days[2:4]]
    assert list(closes(warehouse, days, "1w")) == [one.timestamp for one in weeks[:2]]
    assert list(closes(warehouse, hours, "1h")) == [one.timestamp for one in clock[2:5]]
    assert reasons(warehouse, days) == reasons(warehouse, hours) == {"outside the asked window"}


@case(crypto("?A", "1h"))
def the_bar_that_runs_may_follow_the_window(warehouse: Warehouse, symbol: str) -> Play:
    hours = run_of(MARCH, 4, "1h")
    asked = hours[3].timestamp + timedelta(minutes=10)
    warehouse.load_bars("binance", symbol, "1h", hours, window=(MARCH, hours[3].timestamp), fetched_at=asked)
    yield
    assert len(closes(warehouse, symbol, "1h")) == 3
    assert rejected(warehouse, symbol) == []
    shown = warehouse.query(
        "select timestamp from marts.unfinished_bars where symbol = %s and timeframe = '1h'", symbol
    )
    assert [row["timestamp"] for row in shown] == [hours[3].timestamp]


# ---------------------------------------------------------------- what an answer takes back


def taken_back(warehouse: Warehouse, symbol: str) -> list[datetime]:
    rows = warehouse.query(
        "select opened_at from intermediate.int_bar_revisions as revisions inner join intermediate.int_series using (series_id)"
        " where symbol = %s and is_retracted order by opened_at",
        symbol,
    )
    return [row["opened_at"] for row in rows]


@case(*(crypto(f"?{letter}", "5m") for letter in "ABCDEFG"))
def an_answer_takes_back_no_more_than_it_proves(warehouse: Warehouse, *symbols: str) -> Play:
    every = run_of(MARCH, 300, "5m")
    window = (MARCH, every[-1].timestamp + STEP["5m"])
    for symbol in symbols:
        warehouse.load_bars("binance", symbol, "5m", every)
    yield
    outside, cut, stray, unreadable, twice, odd_price, plain = symbols
    step = STEP["5m"]

    def again(symbol: str, bars: list[Bar], **more: Any) -> None:
        warehouse.load_bars("binance", symbol, "5m", bars, **{"window": window, **more})

    # One bar far outside the window: it counts for nothing, nor does it widen the answer.
    again(outside, [*every[:10], every[-1]], window=(MARCH, MARCH + 10 * step))
    # A page that was cut, and one bar behind it.
    again(cut, [*every[:100], every[-1]])
    # The stamp of one row is wrong: it may be the one that is missing.
    again(stray, [*every[:100], replace(every[100], timestamp=MARCH + timedelta(days=40)), *every[101:]])
    payload: Any = payloads.binance_klines(every, "5m")
    payload[100][0] = "soon"
    warehouse.load("binance", Answer("bars", unreadable, payload, "5m", window))
    again(twice, [*every[:100], replace(every[100], timestamp=every[99].timestamp), *every[101:]])
    # Something is there, though not to be used.
    again(odd_price, [*every[:100], replace(every[100], high=D(10) ** 12), *every[101:]])
    # Two bars are passed over by bars on both sides.
    again(plain, [*every[:100], *every[102:]])
    yield
    found = {symbol: taken_back(warehouse, symbol) for symbol in symbols}
    assert found == {
        outside: [], cut: [], stray: [], unreadable: [], twice: [], odd_price: [],
        plain: [every[100].timestamp, every[101].timestamp],
    }  # fmt: skip
    assert rejected(warehouse, twice) == [(every[99].timestamp, "contradicted by a later row of its answer")]
    assert reasons(warehouse, odd_price) == {"a price of 1e9 or more"}


@case(crypto("?A", "1h"))
def of_two_rows_of_an_answer_the_later_counts_and_equal_ones_are_one(warehouse: Warehouse, symbol: str) -> Play:
    hours = run_of(MARCH, 4, "1h")
    other = replace(hours[1], close=hours[1].close + D("0.5"))
    warehouse.load_bars("binance", symbol, "1h", [hours[0], hours[1], hours[2], hours[2], hours[3], other])
    yield
    found = bars_of(warehouse, symbol, "1h")
    assert [row["close"] for row in found.values()] == [hours[0].close, other.close, hours[2].close, hours[3].close]
    assert {row["revision"] for row in found.values()} == {1}
    assert rejected(warehouse, symbol) == [(hours[1].timestamp, "contradicted by a later row of its answer")]


# ---------------------------------------------------------------- not over yet


@case(stock("?A", "1d"))
def a_delayed_day_of_the_whole_market_is_not_final(warehouse: Warehouse, symbol: str) -> Play:
    (day,) = stock_bars("1d", date(2025, 3, 5), date(2025, 3, 5))
    closed = datetime(2025, 3, 5, 16, tzinfo=NEW_YORK).astimezone(UTC)
    payload: Any = payloads.polygon_grouped({symbol: day}, closed)
    window = (day.timestamp, day.timestamp + timedelta(days=1))
    delayed = {**payload, "status": "DELAYED"}
    asked = closed + timedelta(minutes=5)
    warehouse.load("polygon", Answer("grouped_daily", None, delayed, "1d", window, asked, asked))
    yield
    assert closes(warehouse, symbol, "1d") == {}
    later = closed + timedelta(minutes=15)
    warehouse.load("polygon", Answer("grouped_daily", None, delayed, "1d", window, later, later))
    yield
    assert list(closes(warehouse, symbol, "1d")) == [day.timestamp]


@case(stock("?A", "1w", source_priority="yahoo"), stock("?B", "1d", source_priority="yahoo"))
def yahoo_s_running_week_and_day_come_in_two_rows(warehouse: Warehouse, weekly: str, daily: str) -> Play:
    """Asked on a Friday after the close, the week still comes as Monday to Thursday, and Friday beside it."""
    mondays = [datetime(2025, 3, day, tzinfo=NEW_YORK).astimezone(UTC) for day in (3, 10)]
    asked = datetime(2025, 3, 14, 17, tzinfo=NEW_YORK).astimezone(UTC)
    window = (mondays[0], asked)
    payload: Any = chart([bar(mondays[0]), bar(mondays[1], 102), bar(mondays[1], 103)], "1w")
    payload["chart"]["result"][0]["timestamp"][2] = int((asked - timedelta(hours=1)).timestamp())
    warehouse.load("yahoo", Answer("bars", weekly, payload, "1w", window, asked, asked, origin="chart"))
    today = datetime(2025, 3, 14, 11, tzinfo=NEW_YORK).astimezone(UTC)
    (day,) = stock_bars("1d", date(2025, 3, 14), date(2025, 3, 14))
    twice = chart([day, day], "1d", stamps={1: int(today.timestamp())})
    warehouse.load("yahoo", Answer("bars", daily, twice, "1d", (mondays[1], today), today, today, origin="chart"))
    yield
    assert list(closes(warehouse, weekly, "1w")) == [mondays[0]]
    assert closes(warehouse, daily, "1d") == {}
    assert rejected(warehouse, weekly) == rejected(warehouse, daily) == []
    later = asked + timedelta(days=3)
    warehouse.load_bars("yahoo", weekly, "1w", [bar(mondays[1], 104)], window=(mondays[1], later), fetched_at=later)
    yield
    assert closes(warehouse, weekly, "1w")[mondays[1]] == 104


@pytest.mark.parametrize("name", CASES)
def test_case(outcomes: dict[str, Exception | None], name: str) -> None:
    if error := outcomes[name]:
        raise error
