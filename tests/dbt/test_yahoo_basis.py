"""Splits as they are met in the wild: what Yahoo has adjusted already or not yet, splits nobody asked about, rows that
contradict each other or the prices, and what is set or struck by hand.

Each story has a symbol of its own; all are told in one warehouse, step by step. A story yields where it wants a build.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal as D
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from scripts.site.reference_formulas import STEP
from tests import payloads
from tests.oracle.bars import Bar, sessions, slots
from tests.warehouse import Answer, MakeWarehouse, Warehouse, bar_answer, stock

NEW_YORK = ZoneInfo("America/New_York")
SELECTED = "+market_data_v2 +split_suspicions +corporate_actions +rejected_rows"
# A Monday.
EX_DATE = date(2026, 6, 15)
FOUR = {EX_DATE: (4, 1)}
Splits = Mapping[date, tuple[int, int]]
Story = Iterator[None]


def at(day: date, clock: time = time(17, 30)) -> datetime:
    return datetime.combine(day, clock, NEW_YORK).astimezone(UTC)


def single(price: D) -> D:
    """As Yahoo sends it: single precision, written out as a double."""
    return D(repr(float(np.float32(price))))


def factor(day: date, splits: Splits) -> D:
    """Shares that one of the first session is on that day."""
    shares = D(1)
    for ex_date, (new, old) in splits.items():
        if ex_date <= day:
            shares = shares * new / old
    return shares


def traded(first: date, last: date, splits: Splits, timeframe: str = "1d", price: D = D(400)) -> list[Bar]:
    """Bars as traded: `price` at first, moving little but for the splits."""
    bars: list[Bar] = []
    for session in sessions("XNYS", first, last):
        midnight = datetime.combine(session.session_date, time(), NEW_YORK).astimezone(UTC)
        for opened in [midnight] if timeframe == "1d" else slots(session, STEP[timeframe]):
            n = len(bars)
            shares = factor(session.session_date, splits)
            close = (price * (100 + n % 5) / 100 / shares).quantize(D("0.01"))
            bars.append(Bar(opened, close, close * D("1.01"), close * D("0.99"), close, 6000 * (100 + n) * shares))
    return bars


def weeks(days: Sequence[Bar]) -> list[Bar]:
    """The days put together as a provider does that knows of no split."""
    made: dict[datetime, Bar] = {}
    for day in days:
        local = day.timestamp.astimezone(NEW_YORK)
        monday = datetime.combine(local.date() - timedelta(days=local.weekday()), time(), NEW_YORK).astimezone(UTC)
        week = made.get(monday)
        made[monday] = replace(day, timestamp=monday) if week is None else Bar(
            monday, week.open, max(week.high, day.high), min(week.low, day.low), day.close, week.volume + day.volume
        )  # fmt: skip
    return list(made.values())


def adjusted(bars: Iterable[Bar], splits: Splits) -> list[Bar]:
    """In the shares of the last day."""
    out = []
    for bar in bars:
        day = bar.timestamp.astimezone(NEW_YORK).date()
        ratio = factor(date.max, splits) / factor(day, splits)
        prices: dict[str, Any] = {name: single(getattr(bar, name) / ratio) for name in ("open", "high", "low", "close")}
        out.append(replace(bar, **prices, volume=(bar.volume * ratio).quantize(D(1))))
    return out


def chart(symbol: str, bars: Sequence[Bar], asked: datetime, timeframe: str = "1d", **events: Any) -> Answer:
    """Asked up to then: with the events of its window."""
    window = (bars[0].timestamp, asked)
    return bar_answer("yahoo", symbol, timeframe, bars, window=window, fetched_at=asked, **events)


def told(symbol: str, rows: Sequence[tuple[date, int, int]], asked: datetime) -> Answer:
    """Polygon's splits."""
    payload: payloads.Payload = {
        "results": [
            {"execution_date": str(day), "split_to": new, "split_from": old, "ticker": symbol, "id": f"E{n}"}
            for n, (day, new, old) in enumerate(rows)
        ],
        "status": "OK",
    }
    return Answer("splits", symbol, payload, window=(datetime(1970, 1, 1, tzinfo=UTC), asked), fetched_at=asked)


def closes(warehouse: Warehouse, symbol: str, timeframe: str = "1d") -> list[D]:
    return [row["close"] for row in rows(warehouse, symbol, timeframe)]


def rows(warehouse: Warehouse, symbol: str, timeframe: str = "1d") -> list[dict[str, Any]]:
    return warehouse.query(
        "select * from marts.market_data_v2 where symbol = %s and timeframe = %s order by timestamp", symbol, timeframe
    )


def assert_as_traded(warehouse: Warehouse, symbol: str, bars: Sequence[Bar], timeframe: str = "1d") -> None:
    """Price and volume of each bar, validated, and nothing suspected."""
    found = {row["timestamp"]: row for row in rows(warehouse, symbol, timeframe)}
    assert [(found[bar.timestamp]["close"], found[bar.timestamp]["volume"]) for bar in bars] == [
        (bar.close, bar.volume) for bar in bars
    ]
    assert all(found[bar.timestamp]["is_validated"] for bar in bars)
    assert suspicions(warehouse, symbol) == []


def assert_held_back(warehouse: Warehouse, symbol: str, bars: Sequence[Bar], why: str) -> None:
    found = {row["timestamp"]: row for row in rows(warehouse, symbol)}
    assert {found[bar.timestamp]["is_validated"] for bar in bars} == {False}
    assert all(why in found[bar.timestamp]["validation_notes"] for bar in bars)


def suspicions(warehouse: Warehouse, symbol: str) -> list[tuple[date, str]]:
    return [
        (row["session_date"], row["suspicion"])
        for row in warehouse.query(
            "select session_date, suspicion from marts.split_suspicions where symbol = %s order by 1, 2", symbol
        )
    ]


STORIES: dict[str, tuple[dict[str, str], Callable[[Warehouse, str], Story]]] = {}


def story(timeframes: str = "1d", **cells: str) -> Callable[..., Callable[[Warehouse, str], Story]]:
    """Register the function as the story of a stock that only Yahoo has, unless `cells` say otherwise."""

    def register(play: Callable[[Warehouse, str], Story]) -> Callable[[Warehouse, str], Story]:
        symbol = f"S{len(STORIES)}"
        asset = stock(symbol, timeframes, **{"polygon": "", "yahoo": symbol, "source_priority": "yahoo", **cells})
        if "polygon" in asset["source_priority"]:
            asset["polygon"] = symbol
        STORIES[play.__name__] = (asset, play)
        return play

    return register


@pytest.fixture(scope="module")
def outcomes(make_warehouse: MakeWarehouse) -> dict[str, Exception | None]:
    """All stories told together: the error that ended each, or None."""
    warehouse = make_warehouse("warehouse")
    warehouse.now = at(date(2026, 7, 1))
    warehouse.assets([asset for asset, _ in STORIES.values()])
    playing = {name: play(warehouse, asset["symbol"]) for name, (asset, play) in STORIES.items()}
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
    incremental = stored(warehouse)
    warehouse.build(SELECTED, full_refresh=True)
    ended["incremental equals full"] = None if stored(warehouse) == incremental else AssertionError("it differs")
    return ended


def stored(warehouse: Warehouse) -> list[dict[str, Any]]:
    return warehouse.query(
        "select series_id, opened_at, source, open, high, low, close, volume, split_factor, failed_checks, is_valid"
        " from intermediate.int_bars order by series_id, opened_at"
    )


MAY = date(2026, 5, 11)
FRIDAY = date(2026, 6, 12)


# ---------------------------------------------------------------- one answer


@story()
def history_still_as_traded_on_the_ex_date(warehouse: Warehouse, symbol: str) -> Story:
    days = traded(MAY, EX_DATE, FOUR)
    warehouse.load("yahoo", chart(symbol, days, at(EX_DATE), splits=FOUR))
    yield
    assert_as_traded(warehouse, symbol, days)


@story()
def history_adjusted_on_the_ex_date(warehouse: Warehouse, symbol: str) -> Story:
    days = traded(MAY, EX_DATE, FOUR)
    warehouse.load("yahoo", chart(symbol, adjusted(days, FOUR), at(EX_DATE), splits=FOUR))
    yield
    assert_as_traded(warehouse, symbol, days)


@story()
def reverse_split_not_adjusted_yet(warehouse: Warehouse, symbol: str) -> Story:
    split = {EX_DATE: (1, 10)}
    days = traded(MAY, EX_DATE, split, price=D("1.5"))
    warehouse.load("yahoo", chart(symbol, days, at(EX_DATE), splits=split))
    yield
    assert_as_traded(warehouse, symbol, days)


@story()
def reverse_split_adjusted(warehouse: Warehouse, symbol: str) -> Story:
    split = {EX_DATE: (1, 10)}
    days = traded(MAY, EX_DATE, split, price=D("1.5"))
    warehouse.load("yahoo", chart(symbol, adjusted(days, split), at(EX_DATE), splits=split))
    yield
    assert_as_traded(warehouse, symbol, days)


@story()
def of_two_splits_one_is_reflected(warehouse: Warehouse, symbol: str) -> Story:
    """3:2 in May is divided out, 4:1 of today is not yet; a dividend is paid on the same day."""
    both = {date(2026, 5, 20): (3, 2), **FOUR}
    days = traded(MAY, EX_DATE, both, price=D(600))
    said = adjusted(days[:-1], {date(2026, 5, 20): (3, 2)}) + days[-1:]
    warehouse.load("yahoo", chart(symbol, said, at(EX_DATE), splits=both, dividends={EX_DATE: D("0.5")}))
    yield
    assert_as_traded(warehouse, symbol, days)


@story()
def days_are_missing_around_the_ex_date(warehouse: Warehouse, symbol: str) -> Story:
    days = [bar for bar in traded(MAY, date(2026, 6, 19), FOUR) if not 10 <= bar.timestamp.day <= 16]
    days = [bar for bar in days if bar.timestamp >= at(date(2026, 6, 1))]
    warehouse.load("yahoo", chart(symbol, days, at(date(2026, 6, 19)), splits=FOUR))
    yield
    assert_as_traded(warehouse, symbol, days)


@story("5m 15m 1h")
def intraday_bars_are_judged_for_themselves(warehouse: Warehouse, symbol: str) -> Story:
    """Days are adjusted, 5m bars never: coarser bars made of them are as traded, too."""
    bars = traded(FRIDAY, EX_DATE, FOUR, "5m")
    warehouse.load("yahoo", chart(symbol, bars, at(EX_DATE), "5m", splits=FOUR))
    yield
    assert_as_traded(warehouse, symbol, bars, "5m")
    assert {round(close) // 100 for close in closes(warehouse, symbol, "1h")} == {4, 1}
    assert {round(close) // 100 for close in closes(warehouse, symbol, "1d")} == {4, 1}


@story("1h 1d")
def old_intraday_bars_are_compared_with_the_days(warehouse: Warehouse, symbol: str) -> Story:
    """A window of hours before the split shows no jump; the days of another answer tell the basis of its sessions."""
    days, asked = traded(MAY, date(2026, 6, 26), FOUR), at(date(2026, 6, 26))
    hours = [
        replace(day, timestamp=opened)
        for day in days[3:8]
        for opened in slots(sessions("XNYS", *[day.timestamp.astimezone(NEW_YORK).date()] * 2)[0], STEP["1h"])
    ]
    window = (hours[0].timestamp, hours[-1].timestamp + STEP["1h"])
    warehouse.load("yahoo", chart(symbol, adjusted(days, FOUR), asked, splits=FOUR))
    warehouse.load("yahoo", bar_answer("yahoo", symbol, "1h", hours, window=window, fetched_at=asked))
    yield
    assert_as_traded(warehouse, symbol, hours, "1h")


@story("1w")
def weeks_not_adjusted_yet(warehouse: Warehouse, symbol: str) -> Story:
    """The week of the split, told in two bases, is held back; the weeks before and after it are as traded."""
    ex_date = date(2026, 6, 17)
    days = traded(MAY, date(2026, 6, 26), {ex_date: (4, 1)})
    made = weeks(days)
    warehouse.load("yahoo", chart(symbol, made, at(date(2026, 6, 27)), "1w", splits={ex_date: (4, 1)}))
    yield
    found = rows(warehouse, symbol, "1w")
    assert [row["close"] for row in found] == [week.close for week in made]
    assert [row["is_validated"] for row in found] == [True] * 5 + [False] + [True]
    assert "split inside" in found[-2]["validation_notes"]


@story("1w")
def weeks_adjusted(warehouse: Warehouse, symbol: str) -> Story:
    ex_date = date(2026, 6, 17)
    split = {ex_date: (4, 1)}
    days = traded(MAY, date(2026, 6, 26), split)
    said = weeks(adjusted(days, split))
    warehouse.load("yahoo", chart(symbol, said, at(date(2026, 6, 27)), "1w", splits=split))
    yield
    found = rows(warehouse, symbol, "1w")
    assert all(row["is_validated"] for row in found)
    assert [row["close"] for row in found[:5]] == [week.close for week in weeks(days)[:5]]
    assert found[-1]["close"] == days[-1].close


# ---------------------------------------------------------------- several answers


@story()
def adjusted_the_evening_before_and_told_on_the_day(warehouse: Warehouse, symbol: str) -> Story:
    """The second answer re-reads five days only: it shows the basis of all that the first one brought."""
    days = traded(MAY, EX_DATE, FOUR)
    said = adjusted(days, FOUR)
    warehouse.load("yahoo", chart(symbol, said[:-1], at(FRIDAY)))
    yield
    assert closes(warehouse, symbol)[-1] == round(days[-2].close / 4, 4), "nobody told a split"
    warehouse.load("yahoo", chart(symbol, said[-6:], at(EX_DATE), splits=FOUR))
    yield
    assert_as_traded(warehouse, symbol, days)


@story()
def adjusted_the_evening_before_though_long_loaded(warehouse: Warehouse, symbol: str) -> Story:
    days = traded(MAY, EX_DATE, FOUR)
    said = adjusted(days, FOUR)
    warehouse.load("yahoo", chart(symbol, days[:-2], at(date(2026, 6, 11))))
    warehouse.load("yahoo", chart(symbol, said[-7:-1], at(FRIDAY)))
    yield
    assert_held_back(warehouse, symbol, days[-7:-1], "basis unknown")
    assert suspicions(warehouse, symbol) == [(FRIDAY, "splits before it was asked unknown")]
    warehouse.load("yahoo", chart(symbol, said[-6:], at(EX_DATE), splits=FOUR))
    yield
    assert_as_traded(warehouse, symbol, days)


@story()
def amended_and_not_adjusted_yet(warehouse: Warehouse, symbol: str) -> Story:
    """A late print on a history that is still as traded changes the volume, and no price."""
    days = traded(date(2026, 6, 1), EX_DATE, FOUR)
    late = replace(days[-2], volume=days[-2].volume + 100)
    warehouse.load("yahoo", chart(symbol, days[:-1], at(FRIDAY)))
    yield
    before = rows(warehouse, symbol)[-1]
    warehouse.load("yahoo", chart(symbol, [*days[-6:-2], late, days[-1]], at(EX_DATE), splits=FOUR))
    yield
    assert_as_traded(warehouse, symbol, [*days[:-2], late, days[-1]])
    after = rows(warehouse, symbol)[-2]
    differing = {name for name in ("open", "high", "low", "close", "volume") if before[name] != after[name]}
    assert differing == {"volume"}
    # And adjusted a day later.
    tuesday = date(2026, 6, 16)
    more = [*days[:-2], late, days[-1], *traded(tuesday, tuesday, {}, price=D(100))]
    warehouse.load("yahoo", chart(symbol, adjusted(more[-6:], FOUR), at(tuesday), splits=FOUR))
    yield
    assert_as_traded(warehouse, symbol, more)
    assert rows(warehouse, symbol)[-3]["revision"] == after["revision"]


@story()
def an_event_that_is_missing_for_a_day(warehouse: Warehouse, symbol: str) -> Story:
    days = traded(MAY, date(2026, 6, 17), FOUR)
    said = adjusted(days, FOUR)
    warehouse.load("yahoo", chart(symbol, said[:-2], at(EX_DATE), splits=FOUR))
    yield
    warehouse.load("yahoo", chart(symbol, said[-8:-1], at(date(2026, 6, 16))))
    yield
    assert_as_traded(warehouse, symbol, days[:-1])
    warehouse.load("yahoo", chart(symbol, said[-8:], at(date(2026, 6, 17)), splits=FOUR))
    yield
    assert_as_traded(warehouse, symbol, days)


@story()
def an_event_that_is_taken_back_with_its_prices(warehouse: Warehouse, symbol: str) -> Story:
    """There was no split: Yahoo divides, and undoes both on the next day."""
    days = traded(MAY, date(2026, 6, 16), {})
    wrong = adjusted(days[:-1], FOUR)
    warehouse.load("yahoo", chart(symbol, wrong, at(EX_DATE), splits=FOUR))
    yield
    warehouse.load("yahoo", chart(symbol, days, at(date(2026, 6, 16))))
    yield
    assert_as_traded(warehouse, symbol, days)
    (action,) = warehouse.query("select verdict from marts.corporate_actions where symbol = %s", symbol)
    assert action["verdict"] == "withdrawn"


# ---------------------------------------------------------------- what cannot be decided


@story()
def small_ratio_on_first_load_is_held_back(warehouse: Warehouse, symbol: str) -> Story:
    """A stock dividend of 5 % moves a price no more than a day does. An answer of ten days later is adjusted."""
    split = {EX_DATE: (21, 20)}
    days = traded(MAY, date(2026, 6, 26), split)
    today = [bar for bar in days if bar.timestamp < at(EX_DATE)]
    warehouse.load("yahoo", chart(symbol, today, at(EX_DATE), splits=split))
    yield
    assert_held_back(warehouse, symbol, today[:-1], "basis undecided")
    assert rows(warehouse, symbol)[-1]["is_validated"]
    assert suspicions(warehouse, symbol) == [(EX_DATE, "adjusted for the split of 2026-06-15 or not")]
    warehouse.load("yahoo", chart(symbol, adjusted(days, split), at(date(2026, 6, 26)), splits=split))
    yield
    assert_as_traded(warehouse, symbol, days)


@story()
def small_ratio_is_decided_by_what_was_known_before(warehouse: Warehouse, symbol: str) -> Story:
    split = {EX_DATE: (21, 20)}
    days = traded(MAY, EX_DATE, split)
    warehouse.load("yahoo", chart(symbol, days[:-6], at(date(2026, 6, 5))))
    yield
    warehouse.load("yahoo", chart(symbol, adjusted(days, split)[-9:], at(EX_DATE), splits=split))
    yield
    assert_as_traded(warehouse, symbol, days)


@story()
def a_crash_by_a_ratio_of_its_size_is_held_back(warehouse: Warehouse, symbol: str) -> Story:
    """5:4 and a fifth lost overnight: an adjusted history looks as traded."""
    split = {EX_DATE: (5, 4)}
    days = traded(MAY, EX_DATE, split)
    last = days[-1]
    lower: dict[str, Any] = {name: getattr(last, name) * D("0.8") for name in ("open", "high", "low", "close")}
    fallen = replace(last, **lower)
    warehouse.load("yahoo", chart(symbol, [*adjusted(days[:-1], split), fallen], at(EX_DATE), splits=split))
    yield
    assert_held_back(warehouse, symbol, days[:-1], "basis undecided")


@story()
def bars_before_a_split_nobody_asked_about(warehouse: Warehouse, symbol: str) -> Story:
    """Months of 2023, backfilled in 2026: divided by the split of September 2023, which their answer does not tell."""
    split = {date(2023, 9, 1): (4, 1)}
    days, asked = traded(date(2023, 1, 3), date(2023, 2, 28), split), at(date(2026, 6, 10))
    window = (days[0].timestamp, at(date(2023, 2, 28)))
    answer = bar_answer("yahoo", symbol, "1d", adjusted(days, split), window=window, fetched_at=asked)
    warehouse.load("yahoo", answer, knows_later_splits=False)
    yield
    assert_held_back(warehouse, symbol, days, "basis unknown")
    assert suspicions(warehouse, symbol) == [(date(2026, 6, 10), "splits before it was asked unknown")]
    events = payloads.yahoo_chart(traded(date(2023, 9, 1), date(2023, 9, 1), {}), "1d", splits=split)
    warehouse.load("yahoo", Answer("events", symbol, events, window=(window[1], asked), fetched_at=asked))
    yield
    assert_as_traded(warehouse, symbol, days)


# ---------------------------------------------------------------- Polygon's splits


def polygon_days(warehouse: Warehouse, symbol: str, days: Sequence[Bar]) -> None:
    warehouse.load_bars("polygon", symbol, "1d", days, fetched_at=at(date(2026, 6, 20)))


@story(source_priority="polygon")
def of_two_rows_the_prices_choose(warehouse: Warehouse, symbol: str) -> Story:
    split = {EX_DATE: (1, 15)}
    days = traded(MAY, date(2026, 6, 19), split, price=D(2))
    polygon_days(warehouse, symbol, days)
    asked = at(date(2026, 6, 20))
    warehouse.load("polygon", told(symbol, [(EX_DATE, 1, 15), (EX_DATE, 14, 15)], asked))
    yield
    assert_as_traded(warehouse, symbol, days)
    assert round(rows(warehouse, symbol)[-1]["split_factor"], 19) == round(D(1) / 15, 19)


@story(source_priority="polygon")
def of_a_row_and_its_inverse_the_prices_choose(warehouse: Warehouse, symbol: str) -> Story:
    days = traded(MAY, date(2026, 6, 19), FOUR)
    polygon_days(warehouse, symbol, days)
    asked = at(date(2026, 6, 20))
    rows_told = [(EX_DATE, 4, 1), (EX_DATE, 1, 4), (EX_DATE, 8, 2)]
    warehouse.load("polygon", told(symbol, rows_told, asked))
    yield
    assert_as_traded(warehouse, symbol, days)
    assert rows(warehouse, symbol)[-1]["split_factor"] == 4


@story(source_priority="polygon")
def of_two_rows_that_no_price_decides_none_counts(warehouse: Warehouse, symbol: str) -> Story:
    days = traded(EX_DATE, date(2026, 6, 19), {})
    polygon_days(warehouse, symbol, days)
    warehouse.load("polygon", told(symbol, [(EX_DATE, 4, 1), (EX_DATE, 1, 4)], at(date(2026, 6, 20))))
    yield
    assert {row["split_factor"] for row in rows(warehouse, symbol)} == {D(1)}
    assert suspicions(warehouse, symbol) == [(EX_DATE, "two splits of one date")]
    (action,) = warehouse.query("select * from marts.corporate_actions where symbol = %s", symbol)
    assert (action["verdict"], action["is_used"]) == ("contradictory", False)
    assert "polygon: 1:4 4:1" in action["reason"]
    warehouse.correct_split(symbol, EX_DATE, "set", (4, 1))
    yield
    assert rows(warehouse, symbol)[-1]["split_factor"] == 4
    assert suspicions(warehouse, symbol) == []


@story(source_priority="polygon")
def one_split_on_two_dates_counts_where_prices_jump(warehouse: Warehouse, symbol: str) -> Story:
    days = traded(MAY, date(2026, 6, 19), FOUR)
    polygon_days(warehouse, symbol, days)
    friday = EX_DATE - timedelta(days=3)
    rows_told = [(friday, 4, 1), (EX_DATE, 4, 1), (EX_DATE + timedelta(days=1), 8, 2)]
    warehouse.load("polygon", told(symbol, rows_told, at(date(2026, 6, 20))))
    yield
    assert_as_traded(warehouse, symbol, days)
    assert rows(warehouse, symbol)[-1]["split_factor"] == 4
    actions = warehouse.query(
        "select ex_date, verdict from marts.corporate_actions where symbol = %s order by ex_date", symbol
    )
    assert [row["verdict"] for row in actions] == ["other date", "one source", "other date"]


@story(source_priority="polygon")
def two_equal_splits_within_days_are_two_where_prices_jump_twice(warehouse: Warehouse, symbol: str) -> Story:
    twice = {EX_DATE: (2, 1), EX_DATE + timedelta(days=3): (2, 1)}
    days = traded(MAY, date(2026, 6, 19), twice)
    polygon_days(warehouse, symbol, days)
    warehouse.load("polygon", told(symbol, [(day, *ratio) for day, ratio in twice.items()], at(date(2026, 6, 20))))
    yield
    assert_as_traded(warehouse, symbol, days)
    assert rows(warehouse, symbol)[-1]["split_factor"] == 4


@story(source_priority="polygon")
def a_ratio_that_the_prices_contradict_is_suspected(warehouse: Warehouse, symbol: str) -> Story:
    """2:1 is told, prices fall to a third; set right by hand, and given back."""
    days = traded(MAY, date(2026, 6, 19), {EX_DATE: (3, 1)})
    polygon_days(warehouse, symbol, days)
    warehouse.load("polygon", told(symbol, [(EX_DATE, 2, 1)], at(date(2026, 6, 20))))
    yield
    assert suspicions(warehouse, symbol) == [(EX_DATE, "split of another ratio than its jump")]
    warehouse.correct_split(symbol, EX_DATE, "set", (3, 1))
    yield
    assert_as_traded(warehouse, symbol, days)
    assert rows(warehouse, symbol)[-1]["split_factor"] == 3
    (action,) = warehouse.query("select * from marts.corporate_actions where symbol = %s", symbol)
    assert (action["verdict"], action["used_source"], action["used_value"]) == ("by hand", "manual", 3)
    assert (action["polygon_value"], action["reason"], action["corrected_by"]) == (
        2,
        "set by a tester: seen",
        "a tester",
    )
    warehouse.correct_split(symbol, EX_DATE, "withdraw")
    yield
    assert rows(warehouse, symbol)[-1]["split_factor"] == 2


@story(source_priority="polygon")
def a_ratio_of_one_splits_nothing(warehouse: Warehouse, symbol: str) -> Story:
    days = traded(MAY, EX_DATE, {})
    polygon_days(warehouse, symbol, days)
    warehouse.load("polygon", told(symbol, [(EX_DATE, 1, 1)], at(EX_DATE)))
    yield
    assert_as_traded(warehouse, symbol, days)
    (action,) = warehouse.query("select * from marts.corporate_actions where symbol = %s", symbol)
    assert (action["verdict"], action["is_used"]) == ("one source", False)
    assert action["reason"] == "a ratio of 1: no share is split"


@story()
def a_split_that_never_was_is_struck(warehouse: Warehouse, symbol: str) -> Story:
    """Yahoo tells one, and its prices do not jump: like any adjusted history. Struck by hand, they are as they were told."""
    days = traded(MAY, EX_DATE, {})
    warehouse.load("yahoo", chart(symbol, days, at(EX_DATE), splits=FOUR))
    yield
    assert closes(warehouse, symbol)[:-1] == [4 * bar.close for bar in days[:-1]]
    warehouse.correct_split(symbol, EX_DATE, "strike")
    yield
    assert_as_traded(warehouse, symbol, days)
    (action,) = warehouse.query("select * from marts.corporate_actions where symbol = %s", symbol)
    assert (action["verdict"], action["is_used"], action["yahoo_value"]) == ("by hand", False, 4)


@story(source_priority="polygon yahoo")
def yahoo_tells_a_split_that_polygon_lacks(warehouse: Warehouse, symbol: str) -> Story:
    """Polygon supplies the bars, as traded; Yahoo's answer is still as traded, too."""
    days = traded(MAY, EX_DATE, FOUR)
    polygon_days(warehouse, symbol, days[:-1])
    warehouse.load("polygon", told(symbol, [], at(EX_DATE)))
    warehouse.load("yahoo", chart(symbol, days[-6:], at(EX_DATE), splits=FOUR))
    yield
    assert_as_traded(warehouse, symbol, days)
    assert [row["source"] for row in rows(warehouse, symbol)][-2:] == ["polygon", "yahoo"]
    assert rows(warehouse, symbol)[-1]["log_return"] is not None
    assert abs(rows(warehouse, symbol)[-1]["log_return"]) < D("0.05")


# ---------------------------------------------------------------- events in other forms


def events_of(answer: Answer) -> dict[str, Any]:
    assert isinstance(answer.payload, dict)
    events: dict[str, Any] = answer.payload["chart"]["result"][0]["events"]
    return events


@story()
def a_split_stamped_with_its_date_alone(warehouse: Warehouse, symbol: str) -> Story:
    """00:00 UTC is the evening before in New York: taken for that day, a history as traded counted as adjusted."""
    wednesday = date(2026, 6, 17)
    days = traded(MAY, wednesday, {wednesday: (4, 1)})
    answer = chart(symbol, days, at(wednesday), splits={wednesday: (4, 1)})
    for event in events_of(answer)["splits"].values():
        event["date"] = int(datetime(2026, 6, 17, tzinfo=UTC).timestamp())
    warehouse.load("yahoo", answer)
    yield
    assert_as_traded(warehouse, symbol, days)
    assert rows(warehouse, symbol)[-1]["split_factor"] == 4


@story()
def days_stamped_with_their_date_alone(warehouse: Warehouse, symbol: str) -> Story:
    days = traded(MAY, EX_DATE, {})
    answer = chart(symbol, days, at(EX_DATE), day_starts_at=timedelta(hours=-4))
    warehouse.load("yahoo", answer)
    yield
    assert_as_traded(warehouse, symbol, days)


@story()
def splits_in_an_array(warehouse: Warehouse, symbol: str) -> Story:
    days = traded(MAY, EX_DATE, FOUR)
    answer = chart(symbol, days, at(EX_DATE), splits=FOUR)
    events = events_of(answer)
    events["splits"] = [*events["splits"].values(), "TBD"]
    warehouse.load("yahoo", answer)
    yield
    assert rows(warehouse, symbol)[-1]["split_factor"] == 4
    assert_as_traded(warehouse, symbol, days)
    assert warehouse.query("select kind, reason from marts.rejected_rows where symbol = %s", symbol) == [
        {"kind": "split", "reason": "no readable date"}
    ]


@story()
def a_split_told_for_the_day_before_its_jump_is_held_back(warehouse: Warehouse, symbol: str) -> Story:
    """Over the day that is told prices do not jump, like those of any adjusted history; a day later they do."""
    wednesday = date(2026, 6, 17)
    days = traded(MAY, date(2026, 6, 18), {wednesday: (4, 1)})
    warehouse.load("yahoo", chart(symbol, days, at(date(2026, 6, 18)), splits={date(2026, 6, 16): (4, 1)}))
    yield
    assert_held_back(warehouse, symbol, days[:-3], "basis undecided")
    warehouse.correct_split(symbol, wednesday, "set", (4, 1))
    yield
    assert_as_traded(warehouse, symbol, days)


@story()
def two_splits_of_one_date_that_nothing_decides_hold_back_what_they_may_have_divided(
    warehouse: Warehouse, symbol: str
) -> Story:
    days = traded(MAY, date(2026, 6, 16), FOUR)
    answer = chart(symbol, adjusted(days, FOUR), at(date(2026, 6, 16)), splits=FOUR)
    splits = events_of(answer)["splits"]
    (event,) = splits.values()
    splits["again"] = {**event, "numerator": 1, "denominator": 4}
    warehouse.load("yahoo", answer)
    yield
    assert suspicions(warehouse, symbol) == [
        (EX_DATE, "two splits of one date"), (date(2026, 6, 16), f"adjusted for the split of {EX_DATE} or not")
    ]  # fmt: skip
    assert_held_back(warehouse, symbol, days[:-2], "basis undecided")
    assert [row["is_validated"] for row in rows(warehouse, symbol)[-2:]] == [True, True]
    warehouse.correct_split(symbol, EX_DATE, "set", (4, 1))
    yield
    assert_as_traded(warehouse, symbol, days)


# ---------------------------------------------------------------- dividends, digits


@story(source_priority="polygon yahoo")
def dividends_of_one_date(warehouse: Warehouse, symbol: str) -> Story:
    """A regular and a special one are both paid; equal rows are one; of two amounts the one that Yahoo tells, or none."""
    asked = at(date(2026, 6, 20))
    pays = {
        date(2026, 5, 14): [("0.5", "CD"), ("1.0", "SC")], date(2026, 5, 21): [("0.5", "CD"), ("0.5", "CD")],
        date(2026, 6, 4): [("0.5", "CD"), ("0.7", "CD")], date(2026, 6, 11): [("0.5", "CD"), ("0.9", "CD")],
    }  # fmt: skip
    results = [
        {
            "ex_dividend_date": str(day),
            "cash_amount": D(amount),
            "dividend_type": kind,
            "currency": "USD",
            "id": f"{day}{n}",
        }
        for day, paid in pays.items()
        for n, (amount, kind) in enumerate(paid)
    ]
    window = (datetime(1970, 1, 1, tzinfo=UTC), asked)
    answer = Answer("dividends", symbol, {"results": results, "status": "OK"}, window=window, fetched_at=asked)
    warehouse.load("polygon", answer)
    days = traded(MAY, date(2026, 6, 19), {})
    warehouse.load("yahoo", chart(symbol, days, asked, dividends={date(2026, 6, 4): D("0.7")}))
    yield
    found = warehouse.query(
        "select ex_date, used_value, is_used from marts.corporate_actions where symbol = %s order by ex_date", symbol
    )
    assert [(row["ex_date"], row["used_value"], row["is_used"]) for row in found] == [
        (date(2026, 5, 14), D("1.5"), True), (date(2026, 5, 21), D("0.5"), True),
        (date(2026, 6, 4), D("0.7"), True), (date(2026, 6, 11), None, False),
    ]  # fmt: skip
    assert suspicions(warehouse, symbol) == [(date(2026, 6, 11), "two dividends of one date")]


@story(source_priority="polygon yahoo")
def what_a_fund_gained_is_paid_out_like_a_dividend(warehouse: Warehouse, symbol: str) -> Story:
    """Gains alone; beside a dividend that is too small to hold them; and in a dividend that holds them. Polygon says it by
    types, and what it says of a date is the same sum."""
    asked = at(date(2026, 6, 20))
    alone, beside, within, short = (date(2026, 5, day) for day in (14, 18, 20, 27))
    days = traded(MAY, date(2026, 6, 19), {})
    gains = {alone: D("0.5"), beside: D("1.25"), within: D("6.42"), short: D("2")}
    paid = {beside: D("0.25"), within: D("7.857"), short: D("2.5")}
    warehouse.load("yahoo", chart(symbol, days, asked, dividends=paid, capital_gains=gains))
    results = [
        {
            "ex_dividend_date": str(beside),
            "cash_amount": D(amount),
            "dividend_type": kind,
            "currency": "USD",
            "id": kind,
        }
        for amount, kind in (("0.25", "CD"), ("1", "LT"), ("0.25", "ST"))
    ]
    window = (datetime(1970, 1, 1, tzinfo=UTC), at(date(2026, 5, 19)))
    warehouse.load("polygon", Answer("dividends", symbol, {"results": results, "status": "OK"}, window=window))
    yield
    found = warehouse.query(
        "select ex_date, used_value, used_source, verdict, is_used from marts.corporate_actions where symbol = %s"
        " order by ex_date",
        symbol,
    )
    assert [tuple(row.values()) for row in found] == [
        (alone, D("0.5"), "yahoo", "one source", True),
        (beside, D("1.5"), "polygon", "agreed", True),
        (within, D("7.857"), "yahoo", "one source", True),
        (short, D("2.5"), "yahoo", "one source", True),
    ]
    # Into the total return, as any dividend.
    factors = warehouse.query(
        "select ex_date, used_value, dividend_factor from marts.corporate_actions where symbol = %s order by ex_date",
        symbol,
    )
    closes = {day.timestamp.date(): day.close for day in days}
    for row in factors:
        before = max(day for day in closes if day < row["ex_date"])
        assert abs(row["dividend_factor"] - (1 - row["used_value"] / closes[before])) < D("1e-11")
    # The next answer takes one of them back.
    warehouse.load(
        "yahoo", chart(symbol, days, at(date(2026, 6, 21)), dividends=paid, capital_gains={beside: D("1.25")})
    )
    yield
    found = warehouse.query(
        "select verdict, is_used from marts.corporate_actions where symbol = %s and ex_date = %s", symbol, alone
    )
    assert [tuple(row.values()) for row in found] == [("withdrawn", False)]


@story(asset_class="index", source_priority="polygon yahoo")
def an_index_has_no_volume(warehouse: Warehouse, symbol: str) -> Story:
    """Polygon's bars of one have none; Yahoo's is that of its shares, which is another thing. Prices are valid all the same."""
    days = traded(MAY, date(2026, 6, 19), {})
    early = bar_answer("polygon", symbol, "1d", days[:25])
    assert isinstance(early.payload, dict)
    for row in early.payload["results"]:
        del row["v"]
    warehouse.load("polygon", early)
    warehouse.load("yahoo", chart(symbol, days[25:], at(date(2026, 6, 20))))
    yield
    found = rows(warehouse, symbol)
    assert [(row["source"], row["close"]) for row in found] == [
        ("polygon" if number < 25 else "yahoo", day.close) for number, day in enumerate(days)
    ]
    assert {(row["volume"], row["is_validated"], row["quality_score"]) for row in found} == {(None, True, 1)}
    for name in ("vwap_20", "rolling_volume_20", "volume_spike_score"):
        assert {row[name] for row in found} == {None}, name
    assert all(found[-1][name] is not None for name in ("sma_20", "atr", "volatility_20", "return_1d"))


@story()
def a_share_of_a_hundredth_of_a_cent_keeps_its_digits(warehouse: Warehouse, symbol: str) -> Story:
    days = traded(MAY, EX_DATE, {})
    prices = [D("0.00012345"), D("0.0123456"), D("0.987654"), D("1.23456"), D("99.9975"), D("6123.4567")]
    said = [
        Bar(day.timestamp, price, price, price, price, D(1000)) for day, price in zip(days[-6:], prices, strict=True)
    ]
    warehouse.load(
        "yahoo", chart(symbol, [replace(bar, close=single(bar.close)) for bar in said[:5]] + said[5:], at(EX_DATE))
    )
    yield
    assert closes(warehouse, symbol) == [D("0.00012345"), *prices[1:]]


@story()
def a_price_finer_than_is_stored_is_never_rounded_in_silence(warehouse: Warehouse, symbol: str) -> Story:
    days = traded(MAY, EX_DATE, {})
    price = D("1.5E-10")
    warehouse.load("yahoo", chart(symbol, [replace(days[0], open=price, high=price, low=price, close=price)], at(MAY)))
    yield
    assert_held_back(warehouse, symbol, days[:1], "a price finer than is stored")


@pytest.mark.parametrize("name", [*STORIES, "incremental equals full"])
def test_story(outcomes: dict[str, Exception | None], name: str) -> None:
    error = outcomes[name]
    if error is not None:
        raise error
