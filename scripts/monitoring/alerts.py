"""Alerts: from what the condition models of marts/alerts find, to the people who look after it.

Data flow: marts.*_conditions + seeds.alert_rules -> ops.alerts (ops.evaluate_alerts, which the end of a `dbt build` by
hand calls, too) -> Apprise to ALERT_URLS (send).

The state is kept here and not in an incremental model, because it must survive a full refresh, and be right after a
build that failed. An alert is one row from its firing until its end, so it is sent once however often it is looked at.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import psycopg
from psycopg.rows import dict_row

from extract.core import clock, database, settings
from extract.core.redaction import redact
from extract.core.settings import ConfigurationError
from scripts.monitoring import dead_runs

PING_SECONDS = 10
# A year: what is to be silent for longer is not to be enabled in alert_rules.csv.
LONGEST_SILENCE_HOURS = 8_784
# One message holds no more than this many alerts of each kind; the rest is counted.
LONGEST_LIST = 20

log = logging.getLogger(__name__)
Alert = dict[str, Any]
# Whether an alert was sent that the server is down, by this process.
_is_down_sent = False

_CLAIM_FIRED = """
update ops.alerts as alerts
set notified_at = %(now)s
where alerts.alert_id in (
    select waiting.alert_id from ops.alerts as waiting
    where
        waiting.fired_at is not null and waiting.notified_at is null and waiting.resolved_at is null
        and (waiting.suppressed_until is null or waiting.suppressed_until <= %(now)s)
        and not exists (
            select from ops.alert_silences as silences
            where
                silences.rule = waiting.rule and coalesce(silences.subject, waiting.subject) = waiting.subject
                and silences.silenced_until > %(now)s
        )
    for update skip locked
)
returning alerts.*
"""
_CLAIM_RESOLVED = """
update ops.alerts as alerts
set resolution_notified_at = %(now)s
where alerts.alert_id in (
    select waiting.alert_id from ops.alerts as waiting
    where
        waiting.resolved_at is not null and waiting.notified_at is not null and waiting.resolution_notified_at is null
    for update skip locked
)
returning alerts.*
"""


class NotSent(Exception):
    """A notification did not get through; nothing is marked as sent, the next run tries again."""


def evaluate() -> tuple[int, int]:
    """Bring ops.alerts up to date; returns how many fired and how many ended.

    Where a condition model is missing (no build yet, or one that failed), the alerts of its rules stay as they are.
    """
    database.migrate()
    dead_runs.close()
    with database.pool().connection() as connection:
        before = _firing(connection)
        evaluated = connection.execute("select ops.evaluate_alerts(%s)", (clock.now(),)).fetchone()
        if evaluated == (False,):
            log.warning("alerts: nothing to look at yet, run `dbt build` first")
        after = _firing(connection)
    fired, ended = after.keys() - before.keys(), before.keys() - after.keys()
    for number in sorted(fired):
        log.warning("ALERT %s", redact(_line(after[number])))
    for number in sorted(ended):
        log.info("resolved: %s", redact(_line(before[number])))
    return len(fired), len(ended)


def send() -> int:
    """Send to ALERT_URLS what is new and what has ended, once each; returns how many alerts were sent.

    Rows are marked in the transaction that waits for the notification: of two senders only one gets them, and one that
    dies or fails marks none. Raises NotSent and ConfigurationError.
    """
    chosen = settings.load().alert_urls
    if chosen is None:
        return 0
    values = {"now": clock.now()}
    with database.pool().connection() as connection:
        fired = _rows(connection, _CLAIM_FIRED, values)
        ended = _rows(connection, _CLAIM_RESOLVED, values)
        if fired or ended:
            _notify(chosen.get_secret_value().split(), fired, ended)
    return len(fired) + len(ended)


def silence(rule: str, subject: str | None, hours: float, reason: str | None = None) -> datetime:
    """Alert nobody of a rule (or of one subject of it) for some hours; it is still on record. Returns until when.
    ConfigurationError: no such rule, an empty subject, or no time that makes sense."""
    if not 0 < hours <= LONGEST_SILENCE_HOURS:
        raise ConfigurationError(
            f"--hours {hours:g}: a silence lasts more than 0 and at most {LONGEST_SILENCE_HOURS:,} hours"
        )
    if subject is not None and not subject.strip():
        raise ConfigurationError("--subject is empty: leave it out to silence the whole rule")
    database.migrate()
    until = clock.now() + timedelta(hours=hours)
    with database.pool().connection() as connection:
        known = connection.execute("select rule from seeds.alert_rules order by rule").fetchall()
        if (rule,) not in known:
            raise ConfigurationError(f"{rule!r} is no rule of alert_rules.csv: {', '.join(row[0] for row in known)}")
        connection.execute(
            "insert into ops.alert_silences (rule, subject, silenced_until, reason) values (%s, %s, %s, %s)",
            (rule, subject, until, reason),
        )
    return until


def ping(event: str) -> None:
    """Report to the dead man's switch of HEALTHCHECK_URL: start, success or fail. Never fails itself."""
    import requests

    chosen = settings.load().healthcheck_url
    if chosen is None:
        return
    url = chosen.get_secret_value().rstrip("/") + {"success": "", "start": "/start", "fail": "/fail"}[event]
    try:
        requests.get(url, timeout=PING_SECONDS).raise_for_status()
    except requests.RequestException as problem:
        log.warning("HEALTHCHECK_URL does not answer: %s", redact(str(problem)))


def tell_of_the_warehouse(message: str | None) -> None:
    """Send to ALERT_URLS that the warehouse's server cannot be used: once, until it could be again (None). Of a process that
    stays; one that starts for each run sends it each time. Never fails itself."""
    global _is_down_sent
    if message is None or _is_down_sent:
        _is_down_sent = message is not None
        return
    chosen = settings.load().alert_urls
    if chosen is None:
        return
    alert: Alert = {
        "rule": "run_failed", "severity": "critical", "subject": "warehouse", "message": message,
        "owner": "data engineering", "runbook": "docs/operate/runbook.md#run_failed",
    }  # fmt: skip
    try:
        _notify(chosen.get_secret_value().split(), [alert], [])
        _is_down_sent = True
    except (NotSent, ConfigurationError) as problem:
        log.warning("%s", redact(str(problem)))


def _notify(urls: Sequence[str], fired: Sequence[Alert], ended: Sequence[Alert]) -> None:
    import apprise

    target = apprise.Apprise()
    for number, url in enumerate(urls, 1):
        if not target.add(url):
            raise ConfigurationError(f"ALERT_URLS: entry {number} is not a URL that Apprise knows")
    counts = ((len(fired), "fired"), (len(ended), "resolved"))
    title = f"Market warehouse: {', '.join(f'{number} {word}' for number, word in counts if number)}"
    critical = any(alert["severity"] == "critical" for alert in fired)
    kind = (
        apprise.NotifyType.FAILURE if critical else apprise.NotifyType.WARNING if fired else apprise.NotifyType.SUCCESS
    )
    body = "\n".join([*_lines("FIRED", fired), *_lines("RESOLVED", ended)])
    if not target.notify(title=title, body=redact(body), notify_type=kind):
        raise NotSent("a notification of ALERT_URLS did not get through; the next run tries again")


def _lines(word: str, some: Sequence[Alert]) -> list[str]:
    ordered = sorted(some, key=lambda alert: (alert["severity"], alert["rule"], alert["subject"]))
    lines = [f"{word} {_line(alert)}" for alert in ordered[:LONGEST_LIST]]
    return lines + ([f"... and {len(some) - LONGEST_LIST} more (market alerts)"] if len(some) > LONGEST_LIST else [])


def _line(alert: Alert) -> str:
    return (
        f"[{alert['severity']}] {alert['rule']}: {alert['subject']}: {alert['message']}"
        f" (for {alert['owner']}, see {alert['runbook']})"
    )


def _firing(connection: psycopg.Connection) -> dict[int, Alert]:
    found = _rows(connection, "select * from ops.alerts where fired_at is not null and resolved_at is null", {})
    return {alert["alert_id"]: alert for alert in found}


def _rows(connection: psycopg.Connection, statement: str, values: dict[str, Any]) -> list[Alert]:
    return connection.cursor(row_factory=dict_row).execute(statement.encode(), values).fetchall()
