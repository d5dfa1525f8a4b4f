{{ config(materialized='view') }}
-- One row per step of a run: what it did, how it ended and how long it took.
select
    run_id,
    step,
    started_at,
    ended_at,
    status,
    exit_code,
    detail,
    {{ double('extract(epoch from ended_at - started_at)') }} as seconds
from {{ ref('stg_ops__pipeline_steps') }}
