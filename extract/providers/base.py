"""What the planner and the runner know of a provider. Each one is a package next to this module."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import ClassVar

import psycopg
from pydantic import AnyUrl

from extract.calendar.windows import Window
from extract.core import clock
from extract.coverage.state import Loaded
from extract.load import storable
from extract.load.responses import Answer, BadPayload, NoAnswer, Parsed, Task
from extract.symbols.registry import Asset
from extract.transport.http import Source

BYTE_ORDER_MARK = b"\xef\xbb\xbf"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fetched:
    """One answer to a task or to a part of it, examined."""

    task: Task
    answer: Answer
    parsed: Parsed | None = None
    error: str | None = None
    # The same is asked elsewhere in this run.
    is_replaced: bool = False


@dataclass(frozen=True)
class SettingCheck:
    """Whether a setting is as it should be: what was found (never a secret), and the remedy. Not being so is a warning."""

    name: str
    is_good: bool
    found: str
    remedy: str


@dataclass(frozen=True)
class QuotaCost:
    """What some tasks take of one of a source's quotas; `per_minute` is None where the source sets no limit."""

    what: str
    amount: int
    per_minute: int | None

    @property
    def minutes(self) -> int:
        """How long they take at least: the first minute's share goes at once."""
        return (self.amount - 1) // self.per_minute if self.per_minute and self.amount else 0


class Provider(ABC):
    """Asks one source. Instances are shared by the worker threads of a run."""

    NAME: ClassVar[str]
    TIMEFRAMES: ClassVar[frozenset[str]]
    # Whether a plan of few requests a minute is usual: such a source is asked after the others of a run.
    HAS_SMALL_BUDGET: ClassVar[bool] = False
    # Where requests are few, new bars and the re-read of old ones share a request; elsewhere a re-read is a request of
    # its own, so that an unchanged one stores nothing.
    requests_are_scarce: bool = True
    # The client-side budget, None where requests are not what is counted.
    requests_per_minute: int | None = None

    # Whether a run cannot do without it.
    is_required: bool = False

    def __init__(self) -> None:
        self.source = Source(self.NAME)

    @classmethod
    def urls(cls) -> list[AnyUrl | None]:
        """Where it is asked, all hosts; None for one that is not set, and so is the real one."""
        return []

    @classmethod
    def plan_per_minute(cls) -> int | None:
        """How many requests a minute its plan allows, where these are fewer than a registry needs; None where they are not."""
        return None

    @classmethod
    def check_settings(cls) -> list[SettingCheck]:
        """What `market doctor` says of its keys."""
        return []

    def symbol_of(self, asset: Asset) -> str | None:
        """The provider's name for the asset's bars; None if it has none."""
        return asset.name_at(self.NAME)

    def names_to_try(self, asset: Asset) -> list[Asset]:
        """The asset as `market doctor` tries it: once for each of its names here."""
        return [asset]

    @classmethod
    def delisted(cls, connection: psycopg.Connection, assets: Sequence[Asset]) -> list[str]:
        """Which of the assets the source has reported as delisted, in words."""
        return []

    @abstractmethod
    def reach(self, timeframe: str) -> timedelta | None:
        """How far back bars are served; None = all."""

    @abstractmethod
    def bar_tasks(self, asset: Asset, timeframe: str, start: datetime, end: datetime, now: datetime) -> list[Task]:
        """The fewest tasks that bring the bars of [start, end)."""

    def repair_tasks(self, asset: Asset, timeframe: str, start: datetime, end: datetime, now: datetime) -> list[Task]:
        """The same for bars that a first answer lacked: from where they may be, if the source has several places."""
        return self.bar_tasks(asset, timeframe, start, end, now)

    def extra_tasks(
        self, assets: Sequence[Asset], loaded: Loaded, now: datetime, window: Window | None = None
    ) -> list[Task]:
        """What else than bars to ask for these assets: in the window, or what a plain extract lacks."""
        return []

    def needs(self, tasks: Sequence[Task]) -> list[QuotaCost]:
        """What the tasks take of each of the source's quotas."""
        return [QuotaCost("requests", sum(task.requests for task in tasks), self.requests_per_minute)]

    def combined(self, tasks: list[Task]) -> list[Task]:
        """The same answers from fewer requests, where the source has a way."""
        return tasks

    @abstractmethod
    def fetch(self, task: Task, known_sha: Callable[[Task], str | None]) -> Iterator[Fetched]:
        """Ask, page by page; `known_sha` is the digest of the last good answer for a window."""

    def serves(self, asset: Asset, timeframe: str) -> bool:
        return timeframe in self.TIMEFRAMES and self.symbol_of(asset) is not None

    def may_answer(self, task: Task) -> bool:
        """False while it is pointless to ask: the host of this task is blocked, or its breaker is open."""
        return self.source.is_available

    def prepare(self) -> str | None:
        """Check once per run that the source can be asked at all; the reason if not."""
        return None

    def refusal(self) -> Fetched | None:
        """The answer by which prepare() learnt that it cannot, for the record; None if nothing was asked."""
        return None

    def close(self) -> None:  # noqa: B027 - a provider without connections need not say so
        """Release connections."""


def examined(task: Task, answer: Answer, parse: Callable[[bytes], Parsed], is_json: bool = True) -> Fetched:
    """Parse a good answer; whatever is wrong with it becomes an error that names the task."""
    if not answer.is_success or answer.body is None:
        return Fetched(task, answer, error=f"{task.name}: {answer.error}")
    if answer.problem:
        return bad(task, answer, answer.problem)
    # Some servers begin their JSON with a byte order mark, which neither orjson nor jsonb takes.
    if answer.body.startswith(BYTE_ORDER_MARK):
        answer = replace(answer, body=answer.body.removeprefix(BYTE_ORDER_MARK))
    assert answer.body is not None
    try:
        if is_json:
            storable.check(answer.body)
        return Fetched(task, answer, parsed=parse(answer.body))
    except NoAnswer as problem:
        return failed(task, answer, str(problem))
    except BadPayload as problem:
        return bad(task, answer, str(problem))
    except Exception as problem:
        # A body that no parser foresaw must not cost the other answers of its package.
        log.debug("%s: not understood", task.name, exc_info=True)
        return bad(task, answer, f"not understood ({type(problem).__name__}: {problem})")


def bad(task: Task, answer: Answer, problem: str) -> Fetched:
    """A body that is not what was asked for: quarantined."""
    kept = "the body is kept in bad_payload; a later run asks again, `market doctor --probe` says what has changed"
    return Fetched(task, answer, error=f"{task.name}: {problem}; {kept}")


def failed(task: Task, answer: Answer, problem: str) -> Fetched:
    """An answer that answers nothing."""
    return Fetched(task, replace(answer, error=problem), error=f"{task.name}: {problem}")


def unasked(task: Task, problem: str) -> Fetched:
    """What was to be asked, and could not be."""
    now = clock.now()
    return failed(task, Answer(now, now, "CLOSED"), problem)


def milliseconds(instant: datetime) -> int:
    return round(instant.timestamp() * 1000)
