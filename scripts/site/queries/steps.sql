-- The steps of the last run, and what each took in the ten runs before it.
with

recent as (
    select
        run_id,
        row_number() over (order by started_at desc) as runs_ago
    from marts.pipeline_runs
)

select
    steps.step,
    max(case when recent.runs_ago = 1 then steps.status end) as status,
    max(case when recent.runs_ago = 1 then steps.detail end) as detail,
    max(case when recent.runs_ago = 1 then steps.seconds end) as seconds,
    percentile_cont(0.5) within group (order by case when recent.runs_ago > 1 then steps.seconds end) as usual_seconds
from recent
inner join marts.pipeline_steps as steps on steps.run_id = recent.run_id
where recent.runs_ago <= 11 and not (steps.step = 'site' and steps.status = 'running')
group by steps.step
having count(case when recent.runs_ago = 1 then 1 end) > 0
order by min(case when recent.runs_ago = 1 then steps.started_at end)
