"""What a run got: per series and source, and in all."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from extract.calendar.windows import Window
from extract.load.responses import Row

log = logging.getLogger(__name__)


@dataclass
class Outcome:
    """What one series (or one question besides the bars) got from one source."""

    name: str
    source: str
    purpose: str = ""
    requests: int = 0
    rows: int = 0
    unchanged: int = 0
    absent: int = 0
    # Not served in this country, and no bars: files of the archive replace them, as far as they go.
    is_blocked: bool = False
    # Not all was asked, because the budget was spent.
    is_deferred: bool = False
    answered: list[Window] = field(default_factory=list)
    errors: dict[Window, str] = field(default_factory=dict)
    # What was no good and has been asked elsewhere: archive files whose window was asked over REST.
    replaced: list[str] = field(default_factory=list)

    def add(self, row: Row) -> None:
        task, status = row.task, row.values["http_status"]
        self.purpose = task.purpose
        self.requests += 1
        self.is_deferred |= row.is_deferred
        if row.status in ("ok", "unchanged"):
            self.answered.append(task.window)
            # Another host, or the file's substitute, has answered what failed before.
            self.errors.pop(task.window, None)
            self.unchanged += row.status == "unchanged"
            if row.status == "ok" and not task.serves:
                self.rows += row.values["row_count"] or 0
        elif status == 404 and task.origin == "archive":
            self.absent += 1
        elif status == 451 and task.endpoint != "bars":
            self.is_blocked = True
        elif row.is_replaced:
            self.replaced.append(str(row.values["error"]))
        else:
            self.errors[task.window] = str(row.values["error"])

    @property
    def symbol(self) -> str | None:
        """The registry's symbol that the name begins with; None of an answer about the whole market."""
        return self.name.partition(" ")[0] if " " in self.name else None

    def __str__(self) -> str:
        asked = _count(self.requests, "request")
        if self.errors:
            first = next(iter(self.errors.values()))
            return f"{self.name}: not all of it from {self.source} ({asked}): {first}"
        absent = f", {_count(self.absent, 'file')} not in the archive" if self.absent else ""
        if self.is_blocked:
            instead = f"; {_count(self.rows, 'row')} from files instead{absent}" if self.answered or self.absent else ""
            return f"{self.name}: {self.source} does not serve it in this country (HTTP 451){instead}"
        if not self.requests:
            return f"{self.name}: nothing to ask {self.source}"
        if self.requests == self.unchanged:
            return f"{self.name}: unchanged at {self.source} ({asked})"
        spoilt = ""
        if self.replaced:
            spoilt = f"; {_count(len(self.replaced), 'file')} of no use, e.g. {self.replaced[0]}"
        return f"{self.name}: {_count(self.rows, 'row')} from {self.source} in {asked}{absent}{spoilt}"


@dataclass
class Report:
    """The end of a run: exit code 0, 3 (some of it failed) or 1 (all did)."""

    outcomes: list[Outcome] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    done: int = 0

    @property
    def exit_code(self) -> int:
        if not self.failed:
            return 0
        return 3 if self.done else 1

    def close(self, outcome: Outcome) -> None:
        """Say what came of a series, or of a question besides the bars, once, at its end."""
        self.outcomes.append(outcome)
        about = {"source": outcome.source, "symbol": outcome.symbol}
        if outcome.errors and not outcome.purpose:
            log.error("%s", outcome, extra=about)
            self.failed.append(outcome.name)
            return
        is_odd = outcome.errors or outcome.is_blocked or outcome.replaced
        log.log(logging.WARNING if is_odd else logging.INFO, "%s", outcome, extra=about)
        self.done += not outcome.errors


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
