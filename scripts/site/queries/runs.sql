-- The last 40 runs, oldest first.
select *
from (
    select
        run_id,
        started_by,
        status,
        failed_step,
        error,
        cast(extract(epoch from started_at) as bigint) as started_at,
        cast(extract(epoch from ended_at - started_at) as double precision) as seconds
    from marts.pipeline_runs
    order by started_at desc
    limit 40
) as newest
order by started_at
