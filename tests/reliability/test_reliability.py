"""The runner goes on where it stopped and replays what failed; a point kills at the same place each time. The campaigns
themselves take hours: `make torture`, and a few seeds of each with `pytest -m long`."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from scripts.postgres import Server
from tests.extract.conftest import BTC
from tests.reliability.__main__ import CAMPAIGNS
from tests.reliability.campaign import Campaign, Play, Played, Record, commit_at_hand, play, summary
from tests.reliability.points import Point
from tests.reliability.stage import differences, staged


@pytest.fixture
def record(tmp_path: Path) -> Record:
    return Record(tmp_path / "lines.jsonl", "c0ffee", "PostgreSQL 18")


def made_of(*failing: int) -> tuple[Campaign, list[int]]:
    """A campaign in which these seeds fail, and the seeds it has played."""
    seen: list[int] = []

    def play_seed(seed: int, played: Played) -> None:
        seen.append(seed)
        played.counts["things tried"] += 2
        played.story.append(f"what {seed} did")
        if seed in failing:
            raise ValueError(f"{seed} is broken")

    @contextmanager
    def opened(server: Server, directory: Path) -> Iterator[Play]:
        yield play_seed

    return Campaign("made-up", "nothing fails", opened), seen


def test_a_campaign_goes_on_with_the_seeds_that_have_not_passed(record: Record, tmp_path: Path) -> None:
    campaign, seen = made_of(2)
    server = Server(tmp_path)
    assert play(campaign, range(1, 4), server, record, tmp_path, 60) == {2: "ValueError: 2 is broken"}
    assert play(campaign, range(1, 6), server, record, tmp_path, 60).keys() == {2}
    assert seen == [1, 2, 3, 2, 4, 5]
    assert record.passed() == {1, 3, 4, 5} and record.counts() == {"things tried": 8}
    # On another commit or server nothing has passed yet.
    for other in (replace(record, commit="decaf"), replace(record, server="PostgreSQL 15")):
        assert other.passed() == set() and other.failed() == {}


def test_a_campaign_says_which_seed_failed_why_and_how_to_see_it_again(record: Record, tmp_path: Path) -> None:
    campaign, _ = made_of(7)
    play(campaign, range(6, 8), Server(tmp_path), record, tmp_path, 60)
    told = summary(campaign, record)
    assert "made-up at c0ffee, PostgreSQL 18: 1 seeds passed, 1 failed" in told
    assert "seed 7: ValueError: 7 is broken" in told and "make torture CAMPAIGNS=made-up SEEDS=7" in told


def test_a_campaign_ends_when_its_time_is_over(record: Record, tmp_path: Path) -> None:
    campaign, seen = made_of()
    assert play(campaign, range(1, 4), Server(tmp_path), record, tmp_path, -1) == {} and seen == []


def extracted() -> int:
    from extract.commands import extraction

    return extraction.extract().exit_code


def test_a_point_kills_at_the_same_place_each_time_and_the_next_run_has_all(postgres: Server, tmp_path: Path) -> None:
    """The files that dlt leaves behind say how far it was."""

    def left(point: Point) -> tuple[int, list[str]]:
        stage.reset("empty")
        ended = stage.child(extracted, point)
        stage.wait_for_silence()
        return ended.code, sorted(path.name for path in stage.project.directory.glob(".warehouse/dlt/*/*/*/*"))

    bars = (
        "select distinct cast(bar ->> 0 as bigint), cast(bar ->> 4 as numeric) from raw_binance.responses,"
        " jsonb_array_elements(case when origin = 'archive' then payload -> 'rows' else payload end) as bar"
        " where endpoint = 'bars' and status = 'ok'"
        " and _dlt_load_id in (select load_id from raw_binance._dlt_loads where status = 0) order by 1"
    )
    registry = [{**BTC, "timeframes": "1d", "calendar": "24/7", "source_priority": "binance", "enabled": "true"}]
    with staged(postgres, tmp_path / "project", registry, "2013-03-02T02:00:00Z", needs_dbt=False) as stage:
        stage.keep("empty")
        whole = stage.child(extracted)
        assert whole.code == 0, stage.last_words()
        expected = stage.query(bars)
        assert len(expected) >= 60
        code, files = left(Point("dlt normalize", 1))
        assert code == -signal.SIGKILL and "extracted" in files
        assert left(Point("dlt normalize", 1)) == (code, files)
        assert stage.child(extracted, Point("dlt load", whole.points["dlt load"] // 2)).code == -signal.SIGKILL
        stage.wait_for_silence()
        assert stage.child(extracted).code == 0, stage.last_words()
        assert stage.query(bars) == expected


def test_a_table_that_differs_is_named_with_its_rows() -> None:
    from collections import Counter

    ours, twins = {"marts.a": Counter({"(1)": 1}), "marts.b": Counter({"(2)": 2})}, {"marts.b": Counter({"(2)": 1})}
    assert differences(ours, ours) == []
    assert [line.partition("\n")[0] for line in differences(ours, twins)] == [
        "marts.a: 1 rows only here, 0 only in the twin",
        "marts.b: 1 rows only here, 0 only in the twin",
    ]


@pytest.mark.long
@pytest.mark.builds
@pytest.mark.parametrize("name", CAMPAIGNS)
def test_some_seeds_of_each_campaign(name: str, postgres: Server, tmp_path: Path) -> None:
    record = Record(tmp_path / f"{name}.jsonl", commit_at_hand(), "the suite's server")
    seconds = float(os.environ.get("TORTURE_SECONDS", "120"))
    assert play(CAMPAIGNS[name], range(1, 1000), postgres, record, tmp_path / "project", seconds) == {}
    assert record.passed()
