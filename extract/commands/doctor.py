"""`market doctor`: is everything in place for a run? One line a check, with the remedy."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import psycopg

from extract.calendar.timeframes import DAY
from extract.commands import probe
from extract.commands.running import open_providers, provider_classes
from extract.core import clock, database, settings, sources
from extract.core.redaction import redact
from extract.core.settings import ConfigurationError
from extract.load import pipeline
from extract.providers.base import Provider
from extract.symbols import registry, registry_checks
from extract.symbols.registry import Asset
from extract.transport.retry_policy import RETRY_POLICY

OLDEST_POSTGRES = 15
SMALLEST_DISK = 2_000_000_000
LARGEST_SKEW = timedelta(seconds=5)
# Long enough to hold a session whatever the holidays.
PROBE = timedelta(days=10)


@dataclass(frozen=True)
class Check:
    """The result of one check; `remedy` is what to do where it is not good. What a run can do without (`is_needed` false)
    is a warning."""

    name: str
    is_good: bool
    found: str
    remedy: str = ""
    is_needed: bool = True

    @property
    def has_failed(self) -> bool:
        """Whether something has to be mended."""
        return self.is_needed and not self.is_good

    def __str__(self) -> str:
        word = "ok  " if self.is_good else "FAIL" if self.is_needed else "WARN"
        line = f"{word}  {self.name}: {self.found}"
        return line if self.is_good else f"{line}\n      -> {self.remedy}"


def examine(symbols: bool = True) -> Iterator[Check]:
    """All checks; the symbol map takes one request per symbol and source, so that it can be left out."""
    try:
        settings.load()
    except ConfigurationError as problem:
        yield Check("settings", False, str(problem), "correct them in .env or in the environment")
        return
    yield Check("settings", True, "all valid")
    for make in provider_classes().values():
        for check in make.check_settings():
            yield Check(check.name, check.is_good, check.found, check.remedy, is_needed=False)
    assets: list[Asset] = []
    try:
        assets = registry.select(registry.load())
        yield Check("asset registry", True, f"{len(assets)} enabled rows")
    except ConfigurationError as problem:
        yield Check("asset registry", False, str(problem), "correct dbt_project/seeds/assets.csv")
    remedy = "correct dbt_project/seeds/assets.csv"
    yield _registry(
        "calendars", registry_checks.calendars_of(assets, clock.now().date()), f"{remedy}, or calendars.csv"
    )
    yield _registry("upper and lower case", registry_checks.cases(assets), remedy)
    yield _registry("lists of sources", registry_checks.lists(assets), f"{remedy}; `market add SYMBOL` fills names in")
    try:
        with psycopg.connect(database.url()) as connection:
            yield from _database(connection)
    except psycopg.OperationalError as problem:
        yield Check("database", False, str(problem).strip(), "check PGHOST, PGPORT, PGUSER, PGPASSWORD; or: make up")
        return
    yield _listings(assets)
    yield _pending_loads()
    yield _disk()
    if symbols and assets:
        database.migrate()
        try:
            yield from _sources(assets)
        except ConfigurationError as problem:
            yield Check("symbols", False, str(problem), "until then no source is asked; --quick leaves this check out")


def _registry(name: str, problems: list[str], remedy: str) -> Check:
    return Check(f"registry: {name}", not problems, "; ".join(problems) or "in order", remedy)


def show_probe(as_json: bool = False) -> int:
    """Print how each endpoint in use answers, compared with its documents; the exit code: 0 only if nothing differs."""
    database.migrate()
    found = []
    for probed in probe.probe():
        found.append(probed)
        if not as_json:
            print(redact(str(probed)), flush=True)
    if as_json:
        print(redact(json.dumps([probed.as_dict() for probed in found], indent=1)))
    return 0 if all(probed.is_good for probed in found) else 1


# Into the schemas that are there, or else into those that it may make.
_MAY_LOAD = """
select
    has_database_privilege(current_database(), 'create')
    or count(*) filter (where has_schema_privilege(oid, 'create')) = %(number)s
from pg_namespace
where nspname = any(%(schemas)s)
"""


def _database(connection: psycopg.Connection) -> Iterator[Check]:
    version = connection.info.server_version // 10_000
    where = f"PostgreSQL {version} at {connection.info.host}:{connection.info.port}, database {connection.info.dbname}"
    yield Check("database", version >= OLDEST_POSTGRES, where, f"use PostgreSQL {OLDEST_POSTGRES} or newer (MERGE)")
    schemas = [*sources.schemas(), "ops"]
    row = connection.execute(_MAY_LOAD, {"schemas": schemas, "number": len(schemas)}).fetchone()
    may_load = bool(row and row[0])
    remedy = "`market roles` makes a role for extract (market_extract): be in it"
    yield Check("privileges", may_load, f"may write raw_* and ops: {may_load}", remedy)
    row = connection.execute("select clock_timestamp()").fetchone()
    skew = abs(datetime.now(UTC) - row[0]) if row else timedelta()
    found = f"{skew.total_seconds():.1f} s from the server's"
    if settings.load().warehouse_now:
        found += f"; WAREHOUSE_NOW replaces it by {clock.now():%Y-%m-%d %H:%M:%S} UTC"
    yield Check(
        "clock", skew < LARGEST_SKEW, found, "synchronise the clocks (NTP): a fast one takes open bars for closed"
    )
    holder = database.lock_holder(connection)
    yield Check("run lock", holder is None, holder or "free", "wait for that run, or end its process")


def _listings(assets: list[Asset]) -> Check:
    """What the sources have last reported of their names: a delisted one brings no more bars."""
    problems: list[str] = []
    with database.pool().connection() as connection:
        for name, make in provider_classes().items():
            if connection.execute(
                "select to_regclass(%s)", (f"{sources.listed()[name].schema}.responses",)
            ).fetchone() == (None,):
                return Check("listings", True, "nothing is loaded yet")
            problems += make.delisted(connection, assets)
    remedy = "set its active_to in assets.csv; where it was renamed, add a row with the new name from the next day on"
    return Check("listings", not problems, "; ".join(problems) or "no enabled symbol is delisted", remedy)


def _pending_loads() -> Check:
    pending = pipeline.pending_packages()
    found = f"{len(pending)} interrupted" if pending else "none"
    return Check("pending loads", not pending, found, "nothing to do: the next run throws them away and asks again")


def _disk() -> Check:
    free = shutil.disk_usage(settings.project_directory()).free
    return Check("disk", free > SMALLEST_DISK, f"{free / 1e9:.1f} GB free", "make room: 10 M bars take about 4 GB")


@contextmanager
def _one_attempt() -> Iterator[None]:
    """Whoever calls the doctor waits for it: with the pipeline's retry policy it took over ten minutes without a network."""
    before, RETRY_POLICY.backoff = RETRY_POLICY.backoff, ()
    try:
        yield
    finally:
        RETRY_POLICY.backoff = before


def _sources(assets: list[Asset]) -> Iterator[Check]:
    """Each source answers, and knows each of its symbols."""
    with ExitStack() as stack:
        stack.enter_context(_one_attempt())
        for name, provider in open_providers(stack).items():
            if not provider.source.is_available:
                # Each of its symbols would say the same.
                until = provider.source.block.until
                found = (
                    f"not asked: left alone until {until:%Y-%m-%d %H:%M} UTC"
                    if until
                    else "not asked: it has failed again and again"
                )
                yield Check(f"symbols of {name}", False, found, f"wait, or ask it again: market unblock {name}")
                continue
            known, problems = 0, []
            names = [one for asset in assets for one in provider.names_to_try(asset) if provider.symbol_of(one)]
            for place, one in enumerate(names, 1):
                problem, is_answered = _probe(provider, one)
                known += problem is None
                if problem:
                    problems.append(problem)
                if not is_answered:
                    if len(names) > place:
                        problems.append(f"the other {len(names) - place} names are not asked for")
                    break
            remedy = "correct the symbol in assets.csv, or its active_from and active_to; or the source is down"
            # A coin has a name on each of two markets, which a source that is down fails alike.
            found = "; ".join(dict.fromkeys(problems)) or f"all {known} names known"
            yield Check(f"symbols of {name}", not problems, found, remedy)


def _probe(provider: Provider, asset: Asset) -> tuple[str | None, bool]:
    """Ask for the newest days of a symbol: what is wrong with the answer, if anything, and whether one came."""
    now = clock.now()
    end = min(now, asset.active_window()[1])
    task = provider.bar_tasks(asset, DAY, end - PROBE, end, now)[-1]
    fetched = next(provider.fetch(task, lambda task: None))
    if fetched.parsed:
        return None if fetched.parsed.row_count else f"{task.name}: no bars", True
    return fetched.error, fetched.answer.http_status is not None
