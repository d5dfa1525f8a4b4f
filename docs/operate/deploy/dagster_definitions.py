"""Dagster, if you have it already: `dagster dev -f docs/operate/deploy/dagster_definitions.py` from the root.

One op for the run, because the run has its own lock, steps and record; Dagster brings the schedule and the retry.
"""

import subprocess

from dagster import Definitions, Failure, OpExecutionContext, RetryPolicy, ScheduleDefinition, job, op


@op(retry_policy=RetryPolicy(max_retries=2, delay=600))
def market_run(context: OpExecutionContext) -> None:
    # A retry is a run of its own.
    name = f"{context.run_id}-{context.retry_number}"
    run = subprocess.Popen([".venv/bin/market", "run", "--run-id", name, "--started-by", "schedule"])
    try:
        code = run.wait()
    finally:
        # A run that is stopped in Dagster gets to write down that it was; subprocess.run would kill it.
        run.terminate()
        run.wait()
    if code not in (0, 3, 75):
        raise Failure(f"market run ended with exit code {code}: see marts.pipeline_steps, run {name}")


@job
def refresh() -> None:
    market_run()


defs = Definitions(jobs=[refresh], schedules=[ScheduleDefinition(job=refresh, cron_schedule="30 1 * * *")])
