-- The last 40 runs, oldest first. The one that writes this page is described by what it has recorded of itself until then.
select *
from (
    select
        run_id,
        started_by,
        case
            when status = 'running' and exit_code = 0 then 'succeeded'
            when status = 'running' and exit_code = 3 then 'partly'
            when status = 'running' and exit_code is not null then 'failed'
            else status
        end as status,
        failed_step,
        error,
        cast(extract(epoch from started_at) as bigint) as started_at,
        cast(
            extract(epoch from coalesce(
                ended_at, (select max(steps.ended_at) from marts.pipeline_steps as steps where steps.run_id = runs.run_id)
            ) - started_at) as double precision
        ) as seconds
    from marts.pipeline_runs as runs
    order by started_at desc
    limit 40
) as newest
order by started_at
