-- One row per step of each run of the pipeline.
select
    run_id,
    step,
    started_at,
    ended_at,
    status,
    exit_code,
    detail
from {{ source('ops', 'pipeline_steps') }}
