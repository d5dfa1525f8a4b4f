{{ config(materialized='view') }}
-- What is wrong with the runs themselves, now. Reads nothing but the record of runs and the rules, so that it is there
-- and up to date also when the build of everything else has failed.
with

rules as (
    select * from {{ ref('alert_rules') }}
),

-- A run has an exit code from the moment its build has ended: its own alerts go by it.
outcomes as (
    select
        started_at,
        failed_step,
        error,
        case
            when exit_code = 0 then 'succeeded'
            when exit_code = 3 then 'partly'
            else 'failed'
        end as outcome,
        row_number() over (order by started_at desc, run_id asc) as place,
        count(*) over () as runs
    from {{ ref('stg_ops__pipeline_runs') }}
    where exit_code is not null
),

-- The newest outcome, and in how many runs in a row it has come.
latest as (
    select
        newest.outcome,
        newest.failed_step,
        newest.error,
        coalesce(min(earlier.place) - 1, newest.runs) as times
    from outcomes as newest
    left join outcomes as earlier on earlier.outcome <> newest.outcome
    where newest.place = 1
    group by newest.outcome, newest.failed_step, newest.error, newest.runs
),

done as (
    select
        max(started_at) as last_done_at,
        ({{ epoch_seconds(warehouse_now()) }} - {{ epoch_seconds('max(started_at)') }}) / 3600.0 as hours
    from outcomes
    where outcome in ('succeeded', 'partly')
),

-- Of the newest turn that brought bars, by class and source: how much longer they took than may be. An old one says nothing
-- on now, and a daily run promises no seconds.
late as (
    select
        rules.rule,
        rules.threshold,
        latencies.asset_class,
        latencies.source,
        latencies.latency_seconds,
        latencies.target_seconds,
        latencies.latency_seconds - latencies.delay_seconds - latencies.critical_seconds as seconds_over,
        row_number() over (
            partition by latencies.asset_class, latencies.source order by latencies.in_mart_at desc
        ) as place
    from {{ ref('run_latencies') }} as latencies
    inner join rules on rules.rule = 'run_late'
    where
        latencies.is_turn
        and latencies.in_mart_at >= {{ warehouse_now() }} - rules.window_hours * interval '1 hour'
),

final as (
    select
        rules.rule,
        'pipeline' as subject,
        cast(latest.times as numeric(20, 4)) as value,
        rules.threshold,
        'step ' || coalesce(latest.failed_step, 'unknown') || ' failed: '
        || coalesce(latest.error, 'no message') as message
    from latest
    inner join rules on rules.rule = 'run_' || latest.outcome
    where latest.outcome = 'failed' and latest.times > rules.threshold

    union all

    select
        rules.rule,
        'pipeline',
        cast(latest.times as numeric(20, 4)),
        rules.threshold,
        'some series failed, all others are loaded: ' || coalesce(latest.error, 'see the log of extract')
    from latest
    inner join rules on rules.rule = 'run_' || latest.outcome
    where latest.outcome = 'partly' and latest.times > rules.threshold

    union all

    select
        rules.rule,
        'pipeline',
        cast(round(done.hours, 1) as numeric(20, 4)),
        rules.threshold,
        'no run has brought the warehouse up to date for ' || cast(round(done.hours, 1) as text) || ' hours'
    from done
    inner join rules on rules.rule = 'no_run_since'
    where done.hours > rules.threshold
    union all

    select
        late.rule,
        late.asset_class || ' from ' || late.source,
        cast(round(cast(late.seconds_over as numeric), 1) as numeric(20, 4)),
        late.threshold,
        'the newest bar was in the mart ' || cast(cast(late.latency_seconds as integer) as text)
        || ' s after its close, promised are ' || cast(late.target_seconds as text) || ' s'
    from late
    where late.place = 1 and late.seconds_over > late.threshold
)

select * from final
