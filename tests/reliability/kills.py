"""Whatever is killed or taken away, and wherever: one more run, and every table is what it would have been.

A seed picks what runs (a day's run, a backfill, a full refresh), what happens to it (it is killed, the server is, sessions,
statements, connections or the disk are taken from it) and at which point of which stage; now and then it happens to the run
after it, too. The twin does the same undisturbed.
"""

from __future__ import annotations

import os
import random
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from scripts.postgres import Server
from tests.reliability.campaign import Campaign, Play, Played
from tests.reliability.points import Point
from tests.reliability.resources import FULL_DISK, STRIKES, small_disk
from tests.reliability.stage import Contents, Stage, Strike, Work, differences, staged
from tests.warehouse import crypto, stock

BEGINNING = "2013-02-27T02:00:00Z"
A_DAY_LATER = "2013-02-28T02:00:00Z"
REGISTRY = [crypto("BTC", "5m 1d"), crypto("ETH", "1h", yahoo="", polygon=""), stock("AAPL", "1d")]


def a_run_with_its_site() -> int:
    from scripts.pipeline import run

    return run.run()


def a_run() -> int:
    """Without the site, which nothing reads."""
    from scripts.pipeline import run

    run._site = lambda: (run.DONE, "left out")
    return run.run()


def a_backfill() -> int:
    """The days before the first bar of ETH, up to it: a gap between the two would only be repaired by the run after next."""
    from extract.commands import backfill

    start, end = datetime(2013, 2, 13, tzinfo=UTC), datetime(2013, 2, 17, tzinfo=UTC)
    return backfill.backfill(start, end, ["ETH"]).exit_code or a_run()


def a_full_refresh() -> int:
    """What an operator does after a formula was corrected."""
    from scripts.pipeline import build

    return int(build._invoke("build", *build.NO_TESTS, "--full-refresh").has_errors)


SCENARIOS: dict[str, Work] = {
    "run": a_run,
    "run with its site": a_run_with_its_site,
    "backfill": a_backfill,
    "full refresh": a_full_refresh,
}
# The seed's number says which, so that any few seeds in a row have all of them.
IN_TURN = ("run", "backfill", "run", "full refresh", "run", "run with its site")


@dataclass(frozen=True)
class Twin:
    """What nobody disturbed: the points of the work itself, and what the tables hold after one more run."""

    points: Counter[str]
    contents: Contents


def twin_of(stage: Stage, work: Work) -> Twin:
    stage.reset("beginning")
    stage.at(A_DAY_LATER)
    first = stage.child(work)
    assert first.code == 0, f"the twin's work ended with {first.code}: {stage.last_words()}"
    assert stage.child(a_run).code == 0, stage.last_words()
    return Twin(first.points, stage.contents())


def point_of(pick: random.Random, points: Counter[str]) -> Point:
    """Any stage as likely as any other, and within it any point."""
    stage = pick.choice(sorted(points))
    return Point(stage, pick.randint(1, points[stage]))


def killed_server(stage: Stage) -> Callable[[], None]:
    """Kill the server as if its machine had lost power, for all that a process can see of it."""
    postmaster = int((stage.server.data / "postmaster.pid").read_text().split()[0])
    return lambda: os.kill(postmaster, signal.SIGKILL)


PROCESS = Strike("process killed", lambda stage: lambda: os.kill(os.getpid(), signal.SIGKILL), is_deadly=True)
SERVER = Strike("server killed", killed_server, lambda stage: stage.server.start())


def play_strike(stage: Stage, twins: dict[str, Twin], strikes: Sequence[Strike], seed: int, played: Played) -> None:
    """One seed: something strikes at a point of the scenario whose turn it is; one more run, and all is the twin's."""
    pick = random.Random(seed)
    scenario = IN_TURN[seed % len(IN_TURN)]
    if scenario not in twins:
        twins[scenario] = twin_of(stage, SCENARIOS[scenario])
    twin = twins[scenario]
    stage.reset("beginning")
    stage.at(A_DAY_LATER)
    for attempt in range(1 + (pick.random() < 0.3)):
        point, strike = point_of(pick, twin.points), pick.choice(strikes)
        ended = stage.child(SCENARIOS[scenario], point, strike.make(stage))
        strike.mend(stage)
        stage.wait_for_silence()
        played.story.append(f"{scenario}: {strike.name} at {point}, ended with {ended.code}")
        # The second attempt finds less to do, and may not get as far.
        has_struck = ended.code == -signal.SIGKILL if strike.is_deadly else ended.points[point.stage] >= point.number
        played.counts[strike.name if has_struck else "points that were not reached"] += 1
        if has_struck:
            played.counts[f"in {scenario}"] += 1
        elif attempt == 0:
            assert ended.code == 0, f"it ended with {ended.code}: {stage.last_words()}"
    last = stage.child(a_run)
    assert last.code == 0, f"one more run ended with {last.code}: {stage.last_words()}"
    found = differences(stage.contents(), twin.contents)
    assert not found, "\n".join(found)


@contextmanager
def opened(server: Server, directory: Path) -> Iterator[Play]:
    """The warehouse before a day's news, on a small disk where one may be mounted."""
    with (
        small_disk(directory.with_name("disk"), server) as small,
        staged(small or server, directory, REGISTRY, BEGINNING) as stage,
    ):
        first = stage.child(a_run)
        assert first.code == 0, f"the first run ended with {first.code}: {stage.last_words()}"
        stage.keep("beginning")
        twins: dict[str, Twin] = {}
        strikes = (*[PROCESS] * 5, *[SERVER] * 2, *STRIKES, *([FULL_DISK] if small else []))
        yield lambda seed, played: play_strike(stage, twins, strikes, seed, played)


KILLS = Campaign(
    "kills",
    "a run, backfill or full refresh is killed or loses server, sessions, room: one more run, and every table is its twin's",
    opened,
)
