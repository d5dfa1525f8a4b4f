"""What is asked about futures: no stamp is left out where bars end, where files meet REST, or where one name ends."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from extract.calendar.timeframes import day_start
from extract.calendar.windows import Window
from extract.coverage.state import Known, Loaded
from extract.load.responses import Task
from extract.providers.binance import derivatives
from extract.providers.binance.settings import STATISTICS, STATISTICS_REACH
from extract.symbols.registry import Asset
from tests.extract.conftest import BTC, Market

STEP, DAY = timedelta(minutes=5), timedelta(days=1)
# Since when a metrics file runs from ... to ...: the first and the last stamp, counted from its day's midnight.
FILES = {
    date(1970, 1, 1): (timedelta(0), DAY - STEP),
    date(2024, 3, 4): (STEP, DAY),
    date(2026, 6, 25): (timedelta(0), DAY - STEP),
}
NAMES = {"binance": "COINUSDT", "binance_futures": "COINUSDT"}
COIN = Asset("COIN", "crypto", ("1h",), NAMES, "24/7", None, None, (), True)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def of(tasks: Iterable[Task], endpoint: str) -> list[Task]:
    return [task for task in tasks if task.endpoint == endpoint]


def stamps(tasks: Iterable[Task], endpoint: str) -> set[datetime]:
    """The stamps that the answers to these tasks hold, of files and over REST."""
    found = set()
    for task in tasks:
        if task.endpoint not in (endpoint, "metrics"):
            continue
        first, stop = task.start, task.end
        if task.endpoint == "metrics":
            begins, ends = FILES[max(day for day in FILES if day <= task.start.date())]
            first, stop = task.start + begins, task.start + ends + STEP
        found |= {first + n * STEP for n in range(-(-(stop - first) // STEP))}
    return found


def every(start: datetime, end: datetime) -> set[datetime]:
    """The stamps from start to end, both included."""
    return {start + n * STEP for n in range((end - start) // STEP + 1)}


def plan(now: datetime, loaded: Loaded | None = None, window: Window | None = None, asset: Asset = COIN) -> list[Task]:
    return derivatives.tasks("binance", [asset], loaded or Loaded(), now, window)


@pytest.fixture(autouse=True)
def no_files_due(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which files are due is read from the database; test_extract.py has it."""
    monkeypatch.setattr("extract.coverage.attempts.files_due", lambda *about: [])


@pytest.mark.parametrize("now", ["2024-02-10 12:05", "2024-05-05 00:00", "2024-05-20 00:00:02", "2026-06-26 08:03"])
def test_a_first_run_leaves_no_stamp_out_up_to_this_very_moment(now: str) -> None:
    moment = at(now)
    tasks = plan(moment)
    newest = moment - (moment - at("2020-01-01")) % STEP
    for endpoint in STATISTICS:
        wanted = every(day_start(moment - timedelta(days=29), UTC), newest)
        assert wanted <= stamps(tasks, endpoint), endpoint
        assert all(task.end - task.start <= 500 * STEP for task in of(tasks, endpoint))


@pytest.mark.parametrize("now", ["2024-03-20 16:00:00", "2024-03-20 16:00:02"])
def test_a_settlement_at_the_close_is_asked_in_the_same_run(now: str) -> None:
    loaded = Loaded({("funding", "COIN", None): Known([(at("2023-01-01"), at("2024-03-20 15:55:02"))])})
    (task,) = of(plan(at(now), loaded), "funding")
    assert task.start < at("2024-03-20 08:00") and task.end == at("2024-03-20 17:00")


def test_a_turn_asks_one_request_a_statistic_that_begins_an_hour_before_the_last() -> None:
    """Samples come late: what was not there an hour ago is found, in the same request as the new ones."""
    known = Known([(at("2024-01-01"), at("2024-03-20 15:55:02"))])
    loaded = Loaded({(endpoint, "COIN", "5m"): known for endpoint in STATISTICS})
    for endpoint in STATISTICS:
        (task,) = of(plan(at("2024-03-20 16:00:02"), loaded), endpoint)
        assert task.window == (at("2024-03-20 14:55"), at("2024-03-20 16:05"))
        assert task.timeframe == "5m", "as files have it: samples an hour apart would stand for longer"


# 2024-03-04 00:00 is in no file: that of the day before ends five minutes earlier, that of the day begins later.
@pytest.mark.parametrize("day", ["2023-06-10", "2024-03-02", "2024-03-05", "2024-06-10", "2026-06-24", "2026-06-25"])
def test_a_day_of_long_ago_comes_with_the_stamps_at_both_its_ends(day: str) -> None:
    """Of files alone, REST does not reach back; the hour before is what may still stand for the first bar."""
    start = at(day)
    tasks = plan(start + timedelta(days=300), window=(start, start + DAY))
    assert {task.endpoint for task in tasks} == {"funding", "metrics"}
    assert every(start - timedelta(hours=1), start + DAY) <= stamps(tasks, "open_interest")
    assert len(of(tasks, "metrics")) == 3
    funding = of(tasks, "funding")
    assert min(task.start for task in funding) <= start - timedelta(days=30), "the settlements it is ranked among"
    assert max(task.end for task in funding) > start + DAY


def test_where_files_and_rest_meet_the_stamp_between_is_asked_of_rest() -> None:
    """The file of the 19th, which stood in for a blocked request, may hold neither of the stamps at its ends."""
    loaded = Loaded({("metrics", "COIN", None): Known([(at("2024-03-19"), at("2024-03-20"))])})
    tasks = plan(at("2024-03-20 16:00"), loaded)
    assert max(task.end for task in of(tasks, "metrics")) == at("2024-03-18")
    for endpoint in STATISTICS:
        windows = sorted(task.window for task in of(tasks, endpoint))
        assert windows == [(at("2024-03-18"), at("2024-03-19") + STEP), (at("2024-03-20"), at("2024-03-20 16:05"))]


def test_a_day_of_which_rest_has_a_part_and_reaches_no_more_comes_as_a_file() -> None:
    known = Known([(at("2023-12-01"), at("2024-01-10 12:00:02"))])
    loaded = Loaded({(endpoint, "COIN", "5m"): known for endpoint in STATISTICS})
    tasks = plan(at("2024-03-20 16:00"), loaded, window=(at("2024-01-05"), at("2024-01-15")))
    assert min(task.start for task in of(tasks, "metrics")) == at("2024-01-10")
    assert every(at("2024-01-10 12:05"), at("2024-01-15")) <= stamps(tasks, "open_interest")


def test_a_file_that_is_not_there_sends_its_day_to_rest_with_the_stamp_at_its_end() -> None:
    now = at("2024-03-20 16:00")
    file = Task("binance", "metrics", at("2024-03-10"), at("2024-03-11"), "COIN", "crypto", "COINUSDT")
    tasks = derivatives.over_rest(file, now)
    assert {task.endpoint for task in tasks} == set(STATISTICS)
    for endpoint in STATISTICS:
        assert stamps(tasks, endpoint) == every(at("2024-03-10"), at("2024-03-11"))
    oldest = day_start(now - STATISTICS_REACH, UTC)
    partly = derivatives.over_rest(file.part(oldest, oldest + DAY), now)
    assert min(task.start for task in partly) > now - STATISTICS_REACH
    assert derivatives.over_rest(file.part(oldest - DAY - STEP, oldest - STEP), now) == []


def test_the_stamp_at_which_one_contract_follows_another_is_asked_of_the_later_one() -> None:
    early = replace(COIN, names=NAMES | {"binance_futures": "1000COINUSDT"}, active_to=date(2024, 3, 9))
    late = replace(COIN, active_from=date(2024, 3, 10))
    border, window = at("2024-03-10"), (at("2024-03-09"), at("2024-03-11"))

    def ends(assets: list[Asset], endpoint: str) -> list[datetime]:
        found = derivatives.tasks("binance", assets, Loaded(), at("2024-03-12"), window)
        return [
            task.end for task in of(found, endpoint) if task.provider_symbol == "1000COINUSDT" and task.end >= border
        ]

    assert ends([early], "open_interest") == [border + STEP] and ends([early, late], "open_interest") == []
    assert ends([early], "funding") == [border + timedelta(hours=1)] and ends([early, late], "funding") == [border]


def test_the_sample_of_the_moment_is_in_the_answer(market: Market) -> None:
    """Over HTTP: at the second of the close the newest sample and settlement are those of the close."""
    market.assets({**BTC, "timeframes": "5m", "binance_futures": "BTCUSDT"})
    market.at("2013-03-02T00:00:01Z")
    market.run("extract", "--source", "binance")
    for endpoint, field in (
        ("open_interest", "timestamp"),
        ("long_short_ratio", "timestamp"),
        ("funding", "fundingTime"),
    ):
        rows = market.rows("binance", f"endpoint = '{endpoint}' and status = 'ok'")
        newest = max(sample[field] for row in rows for sample in row["payload"])
        assert newest // 1000 == at("2013-03-02").timestamp(), endpoint
