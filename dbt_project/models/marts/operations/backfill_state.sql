{{ config(materialized='view') }}
-- One row per series of every backfill: how far it is. The wish is kept in schema ops; how far it has come is read off
-- the answers in the fetch log, so that the state cannot lie about the data.
with

wanted as (
    select
        jobs.*,
        series.time_zone,
        greatest(
            jobs.window_start,
            coalesce({{ local_instant('series.active_from', "'00:00'", 'series.time_zone') }}, jobs.window_start)
        ) as starts_at,
        -- Until the close of the last slot that is over: nothing is owed for nights, weekends and the running bar.
        coalesce(last_slots.closed_until, least(jobs.window_end, {{ warehouse_now() }})) as wanted_until
    from {{ ref('stg_ops__backfill_series') }} as jobs
    left join {{ ref('int_series') }} as series
        on
            series.symbol = jobs.symbol
            and series.asset_class = jobs.asset_class
            and series.timeframe = jobs.timeframe
    left join lateral (
        select
            max(
                case
                    when days.closes_at <= least(jobs.window_end, {{ warehouse_now() }}) then days.closes_at
                    when series.step_minutes < 1440
                        then days.first_slot_at + {{ minutes('series.step_minutes') }} * floor(
                            (
                                {{ epoch_seconds('least(jobs.window_end, ' ~ warehouse_now() ~ ')') }}
                                - {{ epoch_seconds('days.first_slot_at') }}
                            ) / (60.0 * series.step_minutes)
                        )
                end
            ) as closed_until
        from (
            select slots.first_slot_at, slots.closes_at
            from {{ ref('int_slots') }} as slots
            where
                slots.calendar = series.calendar
                and slots.timeframe = series.timeframe
                and slots.grid = series.grid
                and slots.first_slot_at < least(jobs.window_end, {{ warehouse_now() }})
            order by slots.slot_date desc
            limit 2
        ) as days
    ) as last_slots on true
),

answers as (
    select
        wanted.job_id,
        wanted.symbol,
        wanted.asset_class,
        wanted.timeframe,
        wanted.starts_at as wanted_from,
        answers.success,
        answers.run_id,
        answers.http_status,
        answers.error_details,
        answers.fetch_timestamp,
        answers.id,
        cast(loads.load_id as numeric) >= extract(epoch from wanted.asked_at) as is_since_asked,
        answers.window_start,
        -- A value may still have moved after the instant it was asked for.
        least(answers.window_end, answers.requested_at) as window_end
    from wanted
    inner join {{ ref('enrichment_fetch_log') }} as answers
        on
            (
                (
                    answers.endpoint = 'bars'
                    and answers.symbol = wanted.symbol
                    and answers.asset_class = wanted.asset_class
                    and answers.timeframe = wanted.timeframe
                )
                or (answers.endpoint = 'grouped_daily' and wanted.timeframe = '1d' and wanted.asset_class <> 'crypto')
            )
            and answers.window_start < wanted.window_end
            and answers.window_end > wanted.window_start
            and (wanted.source is null or answers.source = wanted.source)
    inner join {{ ref('int_loads') }} as loads on loads.load_no = answers.load_no and loads.provider = answers.source
),

covering as (
    select
        *,
        greatest(wanted_from, max(window_end) over (
            partition by job_id, symbol, asset_class, timeframe
            order by window_start, window_end
            rows between unbounded preceding and 1 preceding
        )) as covered_before
    from answers
    where success and window_end > window_start
),

covered as (
    select
        job_id,
        symbol,
        asset_class,
        timeframe,
        coalesce(
            min(case when window_start > covered_before then covered_before end),
            greatest(max(window_end), max(wanted_from))
        ) as covered_until
    from covering
    group by job_id, symbol, asset_class, timeframe
),

failures as (
    select
        job_id,
        symbol,
        asset_class,
        timeframe,
        count(distinct run_id) as runs,
        max(id) as last_id
    from answers
    where not success and http_status is not null and is_since_asked
    group by job_id, symbol, asset_class, timeframe
),

states as (
    select
        wanted.*,
        covered.covered_until,
        coalesce(failures.runs, 0) as failed_runs,
        last_failures.error_details as last_error,
        (
            select max(answers.fetch_timestamp)
            from answers
            where
                answers.job_id = wanted.job_id
                and answers.symbol = wanted.symbol
                and answers.asset_class = wanted.asset_class
                and answers.timeframe = wanted.timeframe
        ) as last_answer_at,
        coalesce(covered.covered_until, wanted.starts_at) >= wanted.wanted_until as is_complete
    from wanted
    left join covered
        on
            covered.job_id = wanted.job_id
            and covered.symbol = wanted.symbol
            and covered.asset_class = wanted.asset_class
            and covered.timeframe = wanted.timeframe
    left join failures
        on
            failures.job_id = wanted.job_id
            and failures.symbol = wanted.symbol
            and failures.asset_class = wanted.asset_class
            and failures.timeframe = wanted.timeframe
    left join {{ ref('enrichment_fetch_log') }} as last_failures on last_failures.id = failures.last_id
),

final as (
    select
        {{ hash63("job_id || '|' || symbol || '|' || asset_class || '|' || timeframe") }} as id,
        cast(symbol as varchar(20)) as symbol,
        cast(asset_class as varchar(10)) as asset_class,
        cast(timeframe as varchar(10)) as timeframe,
        {{ uuid_of_number('job_id') }} as backfill_job_id,
        {{ local_date('window_start', "'UTC'") }} as start_date,
        {{ local_date("window_end - interval '1 microsecond'", "'UTC'") }} as end_date,
        case
            when covered_until > starts_at
                then {{ local_date(
                    "least(covered_until, window_end) - interval '1 microsecond'", "coalesce(time_zone, 'UTC')"
                ) }}
        end as last_successful_date,
        cast(
            case
                when is_complete then 'completed'
                when failed_runs >= {{ var('max_backfill_retries') }} then 'failed'
                when covered_until is not null then 'in_progress'
                else 'pending'
            end as varchar(20)
        ) as status,
        case when not is_complete then last_error end as error_message,
        cast(least(failed_runs, {{ var('max_backfill_retries') }}) as integer) as retry_count,
        created_at,
        greatest(changed_at, last_answer_at) as updated_at,
        state as job_state
    from states
)

select * from final
