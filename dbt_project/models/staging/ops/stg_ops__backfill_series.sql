-- The series of every backfill that was asked for, with the window wished for.
select
    jobs.job_id,
    series.symbol,
    series.asset_class,
    series.timeframe,
    jobs.source,
    jobs.window_start,
    jobs.window_end,
    jobs.state,
    jobs.created_at,
    jobs.asked_at,
    jobs.changed_at
from {{ source('ops', 'backfill_jobs') }} as jobs
inner join {{ source('ops', 'backfill_series') }} as series on series.job_id = jobs.job_id
