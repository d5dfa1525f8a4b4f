"""Dagster, if you have it already: `dagster dev -f docs/operate/deploy/dagster_definitions.py` from the root.

One asset for the run, because the run has its own lock, steps and record; Dagster brings the schedule, the retry and what
became of each run: bars, late series, and a check that fails while an alert of severity critical fires.
"""

import json
import subprocess
from typing import Any

from dagster import (
    AssetCheckResult,
    AssetExecutionContext,
    AssetSelection,
    Definitions,
    Failure,
    MaterializeResult,
    RetryPolicy,
    ScheduleDefinition,
    asset,
    asset_check,
    define_asset_job,
)

MARKET = ".venv/bin/market"


def ask(*command: str) -> list[dict[str, Any]]:
    """The rows of a reading command."""
    answer = subprocess.run([MARKET, *command, "--json"], check=True, capture_output=True, text=True)
    return json.loads(answer.stdout)


@asset(
    key=["marts", "market_data_v2"], group_name="market_warehouse", retry_policy=RetryPolicy(max_retries=2, delay=600)
)
def market_data_v2(context: AssetExecutionContext) -> MaterializeResult:
    """Bars and features of all symbols of the registry: extract, dbt build, alerts, metrics, site."""
    # A retry is a run of its own.
    name = f"{context.run_id}-{context.retry_number}"
    run = subprocess.Popen([MARKET, "run", "--run-id", name, "--started-by", "schedule"])
    try:
        code = run.wait()
    finally:
        # A run that is stopped in Dagster gets to write down that it was; subprocess.run would kill it.
        run.terminate()
        run.wait()
    if code not in (0, 3, 75):
        raise Failure(f"market run ended with exit code {code}: see marts.pipeline_steps, run {name}")
    series = ask("status")
    late = [
        f"{one['symbol']} {one['timeframe']}" for one in series if one["is_enabled"] and one["sla_level"] != "on time"
    ]
    outcome = {0: "done", 3: "partly done", 75: "left to another run"}[code]
    return MaterializeResult(
        metadata={"outcome": outcome, "bars": sum(one["bars"] for one in series), "series": len(series), "late": late}
    )


@asset_check(asset=market_data_v2, description="No alert of severity critical fires.")
def nothing_critical_fires() -> AssetCheckResult:
    firing = [f"{one['rule']} {one['subject']}" for one in ask("alerts") if one["severity"] == "critical"]
    return AssetCheckResult(passed=not firing, metadata={"firing": firing})


refresh = define_asset_job("refresh", AssetSelection.assets(market_data_v2))

defs = Definitions(
    assets=[market_data_v2],
    asset_checks=[nothing_critical_fires],
    jobs=[refresh],
    schedules=[ScheduleDefinition(job=refresh, cron_schedule="30 1 * * *")],
)
