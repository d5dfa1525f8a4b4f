{{ config(materialized='view') }}
-- One row per series of every backfill: how far it is. What was asked for is in schema ops; how far it has come is read off
-- what came (int_answers), as `market backfill-status` does (extract/plan/backfill_jobs.py), so that the state cannot lie about
-- the data.
with

wanted as (
    select
        jobs.*,
        series.time_zone,
        greatest(
            jobs.window_start,
            coalesce({{ local_instant('series.active_from', "'00:00'", 'series.time_zone') }}, jobs.window_start)
        ) as starts_at,
        -- Until the close of the last expected bar that is over: nothing is owed for nights, weekends and the running bar.
        coalesce(last_targets.closed_until, least(jobs.window_end, {{ warehouse_now() }})) as wanted_until
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
                        then days.first_expected_at + {{ minutes('series.step_minutes') }} * floor(
                            (
                                {{ epoch_seconds('least(jobs.window_end, ' ~ warehouse_now() ~ ')') }}
                                - {{ epoch_seconds('days.first_expected_at') }}
                            ) / (60.0 * series.step_minutes)
                        )
                end
            ) as closed_until
        from (
            select expected_bars.first_expected_at, expected_bars.closes_at
            from {{ ref('int_expected_bars') }} as expected_bars
            where
                expected_bars.calendar = series.calendar
                and expected_bars.timeframe = series.timeframe
                and expected_bars.alignment = series.alignment
                and expected_bars.first_expected_at < least(jobs.window_end, {{ warehouse_now() }})
            order by expected_bars.bar_date desc
            limit 2
        ) as days
    ) as last_targets on true
),

answers as (
    select
        wanted.job_id,
        wanted.symbol,
        wanted.asset_class,
        wanted.timeframe,
        wanted.starts_at as wanted_from,
        answers.source,
        answers.is_answer,
        answers.run_id,
        answers.http_status,
        answers.error,
        answers.requested_at,
        cast(loads.load_id as numeric) >= extract(epoch from wanted.asked_at) as is_since_asked,
        answers.asked_from,
        answers.asked_to,
        coalesce(answers.covered_to, answers.asked_from) as covered_to
    from wanted
    inner join {{ ref('int_answers') }} as answers
        on
            answers.symbol = wanted.symbol
            and answers.asset_class = wanted.asset_class
            and answers.timeframe = wanted.timeframe
            and answers.asked_from < wanted.window_end
            and answers.asked_to > wanted.window_start
            and (wanted.source is null or answers.source = wanted.source)
    inner join {{ ref('int_loads') }} as loads on loads.batch = answers.batch and loads.provider = answers.source

    union all

    select
        wanted.job_id,
        wanted.symbol,
        wanted.asset_class,
        wanted.timeframe,
        wanted.starts_at,
        answers.source,
        answers.is_answer,
        answers.run_id,
        answers.http_status,
        answers.error,
        answers.requested_at,
        cast(loads.load_id as numeric) >= extract(epoch from wanted.asked_at),
        answers.asked_from,
        answers.asked_to,
        coalesce(answers.covered_to, answers.asked_from)
    from wanted
    inner join {{ ref('calendars') }} as markets on markets.calendar = {{ usual_calendar("'stock'") }}
    inner join {{ ref('int_answers') }} as answers
        on
            answers.symbol = '*'
            and answers.asset_class = '*'
            and answers.timeframe = wanted.timeframe
            and wanted.timeframe = {{ day_timeframe() }}
            and wanted.asset_class <> 'crypto'
            -- A day of the whole market is one of the stocks of its zone.
            and coalesce(wanted.time_zone, markets.time_zone) = markets.time_zone
            and answers.asked_from < wanted.window_end
            and answers.asked_to > wanted.window_start
            and (wanted.source is null or answers.source = wanted.source)
    inner join {{ ref('int_loads') }} as loads on loads.batch = answers.batch and loads.provider = answers.source
),

first_known as (
    select
        job_id,
        symbol,
        timeframe,
        min(asked_from) as known_from
    from answers
    where is_answer and covered_to > asked_from
    group by job_id, symbol, timeframe
),

-- What was asked for and not answered with rows.
in_vain as (
    select
        job_id,
        symbol,
        asset_class,
        timeframe,
        wanted_from,
        run_id,
        requested_at,
        source,
        covered_to as from_at,
        asked_to as to_at
    from answers
    where is_answer and asked_to > covered_to
),

-- Done is what came, and what was answered without rows twice or before the first bar that is known.
done as (
    select job_id, symbol, asset_class, timeframe, wanted_from, asked_from as window_start, covered_to as window_end
    from answers
    where is_answer and covered_to > asked_from

    union all

    select
        in_vain.job_id,
        in_vain.symbol,
        in_vain.asset_class,
        in_vain.timeframe,
        in_vain.wanted_from,
        in_vain.from_at,
        least(in_vain.to_at, first_known.known_from)
    from in_vain
    inner join first_known
        on
            first_known.job_id = in_vain.job_id
            and first_known.symbol = in_vain.symbol
            and first_known.timeframe = in_vain.timeframe
            and first_known.known_from > in_vain.from_at

    union all

    select
        one.job_id,
        one.symbol,
        one.asset_class,
        one.timeframe,
        one.wanted_from,
        greatest(one.from_at, other.from_at),
        least(one.to_at, other.to_at)
    from in_vain as one
    inner join in_vain as other
        on
            other.job_id = one.job_id
            and other.symbol = one.symbol
            and other.timeframe = one.timeframe
            and other.source = one.source
            and other.requested_at > one.requested_at
            and other.from_at < one.to_at
            and other.to_at > one.from_at
    left join first_known
        on
            first_known.job_id = one.job_id
            and first_known.symbol = one.symbol
            and first_known.timeframe = one.timeframe
    where one.to_at > coalesce(first_known.known_from, one.from_at)
),

covering as (
    select
        *,
        greatest(wanted_from, max(window_end) over (
            partition by job_id, symbol, asset_class, timeframe
            order by window_start, window_end
            rows between unbounded preceding and 1 preceding
        )) as covered_before
    from done
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
        max(requested_at) as last_at
    from answers
    where not is_answer and http_status is not null and is_since_asked
    group by job_id, symbol, asset_class, timeframe
),

states as (
    select
        wanted.*,
        covered.covered_until,
        coalesce(failures.runs, 0) as failed_runs,
        (
            select max(answers.error)
            from answers
            where
                answers.job_id = wanted.job_id
                and answers.symbol = wanted.symbol
                and answers.asset_class = wanted.asset_class
                and answers.timeframe = wanted.timeframe
                and not answers.is_answer
                and answers.requested_at = failures.last_at
        ) as last_error,
        (
            select max(answers.requested_at)
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
