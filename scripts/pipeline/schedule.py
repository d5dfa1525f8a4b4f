"""`market schedule`: the resident scheduler, for machines that have neither cron nor systemd timers.

One thread does all work, so jobs never overlap: the daily run at ENRICHMENT_SCHEDULE_HOUR:MINUTE UTC, with --every a
loop over the timeframes shorter than a day, and a look at the alerts between them (a source that is down, a run that
did not come). Whatever else holds the lock of the warehouse goes first; the turn is left out, not queued.
"""

from __future__ import annotations

import logging
import re
import signal
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import psycopg
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger

from extract.calendar.timeframes import STEPS
from extract.core import clock, database, settings
from extract.core.embedded_server import PostgresError
from extract.core.redaction import redact
from extract.core.settings import ConfigurationError
from extract.symbols import registry
from extract.symbols.registry import Asset

LOOK_AT_ALERTS = timedelta(minutes=10)
# How soon a daily run is made up for that found the server down.
LOOK_FOR_THE_SERVER = timedelta(minutes=1)
# A machine that slept through its hour still runs; coalesced, so once, whatever it missed.
MISFIRE_GRACE = timedelta(hours=12)
# After the close of a bar the source needs a moment to have it.
AFTER_THE_CLOSE = timedelta(seconds=10)
DAY = timedelta(days=1)

log = logging.getLogger(__name__)


def interval(text: str) -> timedelta:
    """`5m` or `1h`: a divisor of the day, so that turns fall on closes of bars. Raises ConfigurationError."""
    found = re.fullmatch(r"(\d+)\s*([mh])", text.strip())
    step = timedelta(minutes=int(found[1]) * (60 if found[2] == "h" else 1)) if found else timedelta()
    if not step or DAY % step:
        raise ConfigurationError(f"--every: {text!r} is not a part of a day like 5m, 15m or 1h")
    return step


def serve(every: timedelta | None = None) -> int:
    """Run until SIGTERM or Ctrl-C; a run that is under way then stops after its step. Returns the exit code."""
    chosen = settings.load()
    if not chosen.data_enrichment_enabled:
        log.warning("DATA_ENRICHMENT_ENABLED=false: nothing is scheduled")
        return 0
    stopped = threading.Event()
    scheduler = make(every, stopped)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    scheduler.start()
    for job in scheduler.get_jobs():
        log.info("%s: next at %s", job.name, f"{job.next_run_time:%Y-%m-%d %H:%M:%S} UTC")
    # In pieces: a wait without end would keep Python from running the signal handlers on some platforms.
    while not stopped.wait(60):
        pass
    log.info("stopping: what is under way ends with its step")
    scheduler.shutdown(wait=True)
    return 0


def make(every: timedelta | None, stopped: threading.Event) -> BackgroundScheduler:
    """The scheduler with its jobs, not started."""
    chosen = settings.load()
    scheduler = BackgroundScheduler(
        timezone=UTC,
        executors={"default": ThreadPoolExecutor(1)},
        job_defaults={
            "coalesce": True, "max_instances": 1, "misfire_grace_time": int(MISFIRE_GRACE.total_seconds()),
        },
    )  # fmt: skip
    daily = CronTrigger(hour=chosen.enrichment_schedule_hour, minute=chosen.enrichment_schedule_minute, timezone=UTC)
    run_daily = DailyTurn(stopped)
    options = {"next_run_time": datetime.now(UTC)} if run_daily.is_owed_now() else {}
    scheduler.add_job(run_daily, daily, id="daily", name="daily run", **options)
    scheduler.add_job(run_daily.make_up, IntervalTrigger(seconds=int(LOOK_FOR_THE_SERVER.total_seconds())), id="missed",
                      name="look for a server that was down")  # fmt: skip
    if every:
        scheduler.add_job(
            IntradayLoop(every, stopped), on_the_grid(every, AFTER_THE_CLOSE), id="intraday", name=f"run every {every}"
        )
    scheduler.add_job(look_at_alerts, IntervalTrigger(seconds=int(LOOK_AT_ALERTS.total_seconds())), id="alerts",
                      name="look at alerts")  # fmt: skip
    return scheduler


def on_the_grid(every: timedelta, offset: timedelta) -> IntervalTrigger:
    """Every so often from midnight UTC on, a moment after it."""
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return IntervalTrigger(seconds=int(every.total_seconds()), start_date=midnight + offset, timezone=UTC)


def is_owed(last_done: datetime | None) -> bool:
    """Whether the daily run of the last scheduled instant was missed: the scheduler, or the machine, was down then."""
    chosen = settings.load()
    now = clock.now()
    due = now.replace(
        hour=chosen.enrichment_schedule_hour, minute=chosen.enrichment_schedule_minute, second=0, microsecond=0
    )
    due = due if due <= now else due - DAY
    return last_done is None or last_done < due


def _last_done() -> datetime | None:
    """The start of the last run that was no failure."""
    database.migrate()
    with database.pool().connection() as connection:
        row = connection.execute(
            "select max(started_at) from ops.pipeline_runs where status in ('succeeded', 'partly')"
        ).fetchone()
    return row[0] if row else None


class DailyTurn:
    """The daily run. One that finds the server down waits for it, and is made as soon as it answers."""

    def __init__(self, stopped: threading.Event) -> None:
        self._work = turn(stopped)
        self.is_waiting = False

    def __call__(self) -> None:
        self.is_waiting = not self._work()

    def is_owed_now(self) -> bool:
        """Whether the last one was missed; where nobody can say, because the server is down, it waits."""
        try:
            return is_owed(_last_done())
        except psycopg.Error as problem:
            meant = database.meaning_of(problem)
            if not isinstance(meant, database.Unreachable):
                raise
            log.warning("%s; the daily run waits for it", redact(str(meant)))
            self.is_waiting = True
            return False

    def make_up(self) -> None:
        """A job: where a daily run waits, and the server answers again, run it if it is still owed."""
        if not self.is_waiting:
            return
        try:
            with psycopg.connect(database.url()):
                pass
            is_missing = is_owed(_last_done())
        except (psycopg.Error, PostgresError):
            return
        log.info("the server answers again")
        self.is_waiting = False
        if is_missing:
            self()


def turn(stopped: threading.Event, **options: object) -> Callable[[], bool]:
    """A job that runs the pipeline; nothing that goes wrong in it ends the scheduler. It says whether the server could be
    used."""

    def work() -> bool:
        from scripts.pipeline import run

        try:
            run.run(started_by="schedule", is_stopped=stopped.is_set, **options)  # type: ignore[arg-type]
        except (database.Unreachable, PostgresError) as problem:
            log.warning("%s; the scheduler waits and goes on", redact(str(problem)))
            return False
        except ConfigurationError as problem:
            log.error("%s; the scheduler goes on", redact(str(problem)))
        except database.LockHeld as held:
            log.warning("left out: %s", held)
        except KeyboardInterrupt:
            log.info("stopped after a step; the next run goes on")
        except Exception:
            log.exception("the run ended unexpectedly; the next one is made all the same")
        return True

    return work


class IntradayLoop:
    """Runs the timeframes shorter than a day. Where a source's budget does not reach for all of its symbols in one
    interval, they take turns, so that each is asked as often as the budget allows."""

    def __init__(self, every: timedelta, stopped: threading.Event) -> None:
        self.every = every
        self.stopped = stopped
        self.turns = 0

    def __call__(self) -> None:
        symbols = symbols_of_turn(registry.select(registry.load()), self.turns, self.every)
        self.turns += 1
        if symbols:
            turn(self.stopped, symbols=symbols, shorter_than=DAY)()


def symbols_of_turn(assets: Sequence[Asset], number: int, every: timedelta) -> list[str]:
    """Which symbols are asked in the turn of this number: all whose first source is not scarce, a share of the others.

    Scarce is a source whose plan allows few requests a minute (Polygon's); the budgets of the others are larger than any
    registry so far.
    """
    series = {
        asset.symbol: sum(STEPS[name] < DAY for name in asset.timeframes)
        for asset in assets
        if any(STEPS[name] < DAY for name in asset.timeframes)
    }
    from extract.commands.running import provider_classes

    resting: set[str] = set()
    for name, make in provider_classes().items():
        per_minute = make.plan_per_minute()
        scarce = [asset.symbol for asset in assets if asset.symbol in series and first_source(asset) == name]
        if not per_minute or not scarce:
            continue
        budget = per_minute * (every / timedelta(minutes=1))
        at_once = max(1, int(budget / max(series[symbol] for symbol in scarce)))
        turns = -(-len(scarce) // at_once)
        resting |= {symbol for place, symbol in enumerate(scarce) if place % turns != number % turns}
    return [symbol for symbol in series if symbol not in resting]


def first_source(asset: Asset) -> str | None:
    """The source that an asset's bars are asked of first."""
    order = asset.source_priority or settings.load().fallback_source_priority
    return next((name for name in order if asset.name_at(name)), None)


def look_at_alerts() -> None:
    """Find and report what has changed without a run: a source down for too long, a run that did not come."""
    from scripts.monitoring import alerts

    try:
        alerts.evaluate()
        alerts.send()
    except psycopg.Error as problem:
        meant = database.meaning_of(problem) or problem
        log.warning("the alerts could not be looked at: %s; the next look is in %s", redact(str(meant)), LOOK_AT_ALERTS)
    except Exception:
        log.exception("the alerts could not be looked at; the next look is in %s", LOOK_AT_ALERTS)
