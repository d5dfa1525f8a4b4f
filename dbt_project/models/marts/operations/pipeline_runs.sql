{{ config(materialized='view') }}
-- One row per run of the pipeline, live: the table behind it is written while the run goes on.
select
    run_id,
    started_by,
    started_at,
    ended_at,
    status,
    exit_code,
    failed_step,
    error
from {{ ref('stg_ops__pipeline_runs') }}
