"""Airflow 3, if you have it already: this file into its dags folder, MARKET_WAREHOUSE set to the path of the checkout.

One task for the run, because the run has its own lock, steps and record; Airflow brings the schedule, the retry and the
view of it. A second task sends what fires, even where the run has failed.
"""

import os
from datetime import UTC, datetime, timedelta

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

CHECKOUT = os.environ.get("MARKET_WAREHOUSE", "/opt/market-warehouse")

with DAG(
    dag_id="market_warehouse",
    description="Extract, dbt build, alerts, metrics, site",
    schedule="30 1 * * *",
    start_date=datetime(2025, 1, 1, tzinfo=UTC),
    # A run repairs what earlier ones left: days that were missed need no runs of their own.
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": timedelta(minutes=10)},
) as dag:
    run = BashOperator(
        task_id="run",
        # 3: partly done, the alerts say what. 75: another run has the lock, so this one is skipped.
        bash_command=".venv/bin/market run --started-by schedule || { code=$?; [ $code -eq 3 ] || exit $code; }",
        cwd=CHECKOUT,
        skip_on_exit_code=75,
        # On a stop Airflow sends SIGTERM, and the run writes down that it was stopped.
        execution_timeout=timedelta(hours=3),
    )
    alerts = BashOperator(
        task_id="alerts",
        bash_command=".venv/bin/market alerts --send",
        cwd=CHECKOUT,
        trigger_rule="all_done",
    )
    run >> alerts
