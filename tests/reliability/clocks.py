"""Whenever it runs, and whatever its own clock says meanwhile: the same time live in turns and loaded at once is the same.

A seed picks a time (weeks of a clock change, a leap day, the end of a year, a listing, a half day), the turns at which the
pipeline runs (irregular, now and then a month apart), and now and then a machine whose clock is hours slow or fast for a turn.
At the end a second warehouse loads the same time at once; every bar is the same.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from scripts.postgres import Server
from tests.reliability.campaign import Campaign, Play, Played
from tests.reliability.providers import bars_of, built, extracted
from tests.reliability.stage import Stage, staged
from tests.warehouse import crypto, stock

TIMES = {
    "the clocks of New York go forward": datetime(2012, 3, 8, 2, tzinfo=UTC),
    "the clocks of New York go back": datetime(2012, 11, 1, 2, tzinfo=UTC),
    "a leap day": datetime(2012, 2, 27, 2, tzinfo=UTC),
    "the end of a year": datetime(2012, 12, 29, 2, tzinfo=UTC),
    "a listing": datetime(2012, 5, 16, 2, tzinfo=UTC),
    "a half day": datetime(2012, 11, 20, 2, tzinfo=UTC),
    "a delisting": datetime(2012, 9, 12, 2, tzinfo=UTC),
}
ONLY_BINANCE = {"polygon": "", "yahoo": "", "source_priority": "binance"}
# META is listed on 18 May 2012; GOOG is taken off the market on 14 September of that year, for us.
REGISTRY = [
    crypto("BTC", "1h 1d", **ONLY_BINANCE),
    stock("AAPL", "1d"),
    stock("META", "1d", polygon="FB", yahoo="FB"),
    stock("GOOG", "1d", active_to="2012-09-14"),
]


def backfilled(start: datetime, end: datetime) -> Callable[[], int]:
    def work() -> int:
        from extract.commands import backfill

        return backfill.backfill(start, end).exit_code

    return work


def play_times(stage: Stage, seed: int, played: Played) -> None:
    """One seed; see the module."""
    pick = random.Random(seed)
    name = list(TIMES)[seed % len(TIMES)]
    start = TIMES[name] + timedelta(hours=pick.choice([0, 5, 12.5]))
    turns = [start]
    for _ in range(pick.choice([3, 5])):
        hours = pick.choice([1, 4, 7.25, 24, 24, 49])
        turns.append(turns[-1] + timedelta(hours=hours))
    if pick.random() < 0.2:
        turns.append(turns[-1] + timedelta(days=31))
    stage.reset("empty")
    for number, now in enumerate(turns):
        stage.at(now)
        wrong = ""
        if pick.random() < 0.25 and 0 < number < len(turns) - 1:
            hours = pick.choice([-30, -5, -0.1, 0.1, 5])
            wrong = f", our clock {hours} h off"
            stage.clock = (now + timedelta(hours=hours)).isoformat().replace("+00:00", "Z")
            played.counts["turns with a wrong clock"] += 1
        played.story.append(f"{name}: {now:%Y-%m-%d %H:%M}{wrong}")
        code = stage.child(extracted).code
        assert code == 0, f"extract ended with {code}: {stage.last_words()}"
        if pick.random() < 0.4 or number in (0, len(turns) - 1):
            assert stage.child(built).code == 0, f"the build failed: {stage.last_words()}"
    live = bars_of(stage)
    first = min(datetime.fromisoformat(row["timestamp"]) for row in live.values())

    stage.reset("empty")
    stage.at(turns[-1])
    code = stage.child(backfilled(first, turns[-1])).code
    assert code == 0, f"the backfill ended with {code}: {stage.last_words()}"
    assert stage.child(built).code == 0, f"the build failed: {stage.last_words()}"
    at_once = bars_of(stage)

    wrong_bars = []
    for key in sorted(live.keys() | at_once.keys()):
        if datetime.fromisoformat(key[2]) < start:
            continue
        one, other = live.get(key), at_once.get(key)
        if one is None or other is None:
            wrong_bars.append(f"{key} only {'at once' if one is None else 'live'}")
        elif one != other:
            odd = {column: (one[column], other[column]) for column in one if one[column] != other[column]}
            wrong_bars.append(f"{key} (live, at once): {odd}")
    played.counts["turns"] += len(turns)
    played.counts["bars compared"] += len(live)
    played.counts[name] += 1
    assert not wrong_bars, f"{len(wrong_bars)} bars\n" + "\n".join(wrong_bars[:6])


@contextmanager
def opened(server: Server, directory: Path) -> Iterator[Play]:
    """A warehouse whose models are there, without a row."""
    with staged(server, directory, REGISTRY, "2011-12-01T00:00:00Z") as stage:
        stage.keep("empty")
        yield lambda seed, played: play_times(stage, seed, played)


CLOCKS = Campaign(
    "clocks",
    "turns at any times, around clock changes, leap days and listings, with a wrong clock now and then: equal to all at once",
    opened,
)
