"""The runner of campaigns: seeds in, one line per seed in a file that the next run goes on from.

Data flow: campaign and seeds -> those that have not passed at this commit -> play each -> `.warehouse/reliability/NAME.jsonl`
-> counts, and the seed of each failure.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from scripts.postgres import Server

ROOT = Path(__file__).resolve().parents[2]
# Where each campaign's lines are kept.
FOLDER = ROOT / ".warehouse" / "reliability"


@dataclass
class Played:
    """What happened under one seed: counts for the sum, and a line a thing for whoever looks into a failure."""

    counts: Counter[str] = field(default_factory=Counter)
    story: list[str] = field(default_factory=list)


# Plays one seed; writes into `Played` as it goes, and raises whatever shows that a promise is not kept.
Play = Callable[[int, Played], None]


@dataclass(frozen=True)
class Campaign:
    """A promise, and how it is tried. `open` prepares what all seeds share: a server of its own, a directory to work in."""

    name: str
    promise: str
    open: Callable[[Server, Path], AbstractContextManager[Play]]


@dataclass(frozen=True)
class Record:
    """The lines of a campaign: which seed passed or failed at which commit, on which server."""

    path: Path
    commit: str
    server: str

    def passed(self) -> set[int]:
        """The seeds that passed at this commit on this server."""
        return {line["seed"] for line in self._lines() if line["passed"]}

    def failed(self) -> dict[int, str]:
        """The seeds whose last play at this commit on this server failed, with why."""
        last = {line["seed"]: line for line in self._lines()}
        return {seed: line["error"] for seed, line in last.items() if not line["passed"]}

    def counts(self) -> Counter[str]:
        """The sums over all seeds that passed."""
        last = {line["seed"]: line for line in self._lines() if line["passed"]}
        return sum((Counter(line["counts"]) for line in last.values()), Counter())

    def add(self, seed: int, played: Played, seconds: float, error: str | None) -> None:
        line: dict[str, Any] = {
            "seed": seed, "commit": self.commit, "server": self.server, "passed": error is None,
            "seconds": round(seconds, 1), "counts": dict(played.counts), "story": played.story, "error": error,
        }  # fmt: skip
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")

    def _lines(self) -> list[dict[str, Any]]:
        if not self.path.exists():
            return []
        lines = [json.loads(text) for text in self.path.read_text().splitlines()]
        return [line for line in lines if (line["commit"], line["server"]) == (self.commit, self.server)]


def commit_at_hand() -> str:
    """The commit, with a digest of what differs from it: seeds that passed on other code prove nothing about this one."""

    def git(*arguments: str) -> bytes:
        return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True).stdout

    commit = git("rev-parse", "--short=12", "HEAD").decode().strip()
    difference = git("diff", "HEAD")
    return f"{commit}+{hashlib.sha256(difference).hexdigest()[:8]}" if difference else commit


def play(
    campaign: Campaign, seeds: Iterable[int], server: Server, record: Record, directory: Path, seconds: float
) -> dict[int, str]:
    """Play those of the seeds that have not passed yet, until the time is over; returns why which one failed."""
    wanted = [seed for seed in seeds if seed not in record.passed()]
    failed: dict[int, str] = {}
    if not wanted:
        return failed
    with campaign.open(server, directory) as play_seed:
        ends_at = time.monotonic() + seconds
        for seed in wanted:
            if time.monotonic() > ends_at:
                break
            began, played, error = time.monotonic(), Played(), None
            try:
                play_seed(seed, played)
            except (Exception, pytest.fail.Exception) as problem:
                error = failed[seed] = f"{type(problem).__name__}: {problem}"
                played.story += traceback.format_exc().splitlines()[-12:]
            record.add(seed, played, time.monotonic() - began, error)
            word = "passed" if error is None else f"FAILED: {error}"
            print(f"{campaign.name} {seed}: {word} ({'; '.join(played.story[:4])})"[:4000], flush=True)
    return failed


def summary(campaign: Campaign, record: Record) -> str:
    """Counts and failures of all plays of this commit, and how to replay a failure."""
    failed = record.failed()
    lines = [
        f"{campaign.name} at {record.commit}, {record.server}: {len(record.passed())} seeds passed, {len(failed)} failed"
    ]
    lines += [f"  {number:6,} {what}" for what, number in sorted(record.counts().items())]
    for seed, error in sorted(failed.items()):
        lines.append(f"  seed {seed}: {error.splitlines()[0]}")
        lines.append(f"    replay: make torture CAMPAIGNS={campaign.name} SEEDS={seed}")
    return "\n".join(lines)
