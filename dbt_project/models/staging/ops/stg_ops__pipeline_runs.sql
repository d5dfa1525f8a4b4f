-- One row per run of the whole pipeline. Until a run has built, it has no exit code.
select
    run_id,
    started_by,
    started_at,
    ended_at,
    status,
    exit_code,
    failed_step,
    error
from {{ source('ops', 'pipeline_runs') }}
