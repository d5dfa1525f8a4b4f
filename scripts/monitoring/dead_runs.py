"""Runs that were killed: nobody was left to write down how they ended.

Data flow: ops.pipeline_runs, the run lock -> ops.pipeline_runs, ops.pipeline_steps.
"""

from __future__ import annotations

import logging

from extract.core import clock, database

log = logging.getLogger(__name__)

DIED = "the process ended without a word: it was killed, or the machine went down"
# The exit code of a run that failed.
FAILED = 1


def close(holds_lock: bool = False) -> None:
    """Put on record that runs were killed: those that never ended, and do not hold the lock any more."""
    with database.pool().connection() as connection:
        running = [
            row[0] for row in connection.execute("select run_id from ops.pipeline_runs where status = 'running'")
        ]
        # Asked after that: a run that has begun meanwhile is not among them.
        if not running or (not holds_lock and database.lock_holder(connection)):
            return
        for name in running:
            log.warning("run %s: %s", name, DIED)
        connection.execute(
            """
            update ops.pipeline_runs as runs
            set status = 'failed', exit_code = %(code)s, ended_at = %(now)s, error = %(error)s, failed_step = (
                select steps.step from ops.pipeline_steps as steps
                where steps.run_id = runs.run_id
                order by steps.started_at desc
                limit 1
            )
            where runs.status = 'running' and runs.run_id = any(%(runs)s)
            """,
            {"code": FAILED, "now": clock.now(), "error": DIED, "runs": running},
        )
        connection.execute(
            """
            update ops.pipeline_steps set status = 'failed', exit_code = %s, ended_at = %s, detail = %s
            where status = 'running' and run_id = any(%s)
            """,
            (FAILED, clock.now(), DIED, running),
        )
