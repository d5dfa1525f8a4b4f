{{ config(materialized='view') }}
-- What is wrong with a series, now: a bar that was due did not come, it never had one, bars are missing between others,
-- or what was computed of it fails its checks.
with

rules as (
    select * from {{ ref('alert_rules') }}
),

series as (
    select
        states.*,
        states.asset_class || ' ' || states.symbol || ' ' || states.timeframe as subject,
        sla.critical_seconds
    from {{ ref('enrichment_status') }} as states
    inner join {{ ref('freshness_sla') }} as sla on sla.asset_class = states.asset_class
    where states.is_enabled
),

-- Late is what was asked for when it was due, and had not come. Bars that fell due after the last run are the business
-- of no_run_since; a request for other days (a backfill) proves nothing.
late as (
    select
        series.subject,
        series.critical_seconds,
        series.last_error,
        series.source_in_use,
        series.late_seconds - ({{ epoch_seconds(warehouse_now()) }} - {{ epoch_seconds('asked.asked_at') }}) as seconds
    from series
    inner join lateral (
        select max(answers.fetch_timestamp) as asked_at
        from {{ ref('enrichment_fetch_log') }} as answers
        where
            (
                (
                    answers.endpoint = 'bars'
                    and answers.symbol = series.symbol
                    and answers.asset_class = series.asset_class
                    and answers.timeframe = series.timeframe
                )
                or (
                    answers.endpoint = 'grouped_daily'
                    and answers.symbol is null
                    and series.timeframe = {{ day_timeframe() }}
                    and series.asset_class <> 'crypto'
                )
            )
            and answers.fetch_timestamp > series.next_bar_closes_at
            and answers.window_end > series.newest_bar_closed_at
    ) as asked on asked.asked_at is not null
    where series.is_fetched and series.late_seconds > 0
),

-- The newest computation of each series.
computed as (
    select
        series.subject,
        newest.error_details
    from series
    inner join lateral (
        select builds.success, builds.error_details
        from {{ ref('enrichment_compute_log') }} as builds
        where
            builds.symbol = series.symbol
            and builds.asset_class = series.asset_class
            and builds.timeframe = series.timeframe
        order by builds.computation_timestamp desc
        limit 1
    ) as newest on not newest.success
),

gaps as (
    select
        asset_class || ' ' || symbol || ' ' || timeframe as subject,
        sum(missing_bars) as bars,
        max(evidence) as evidence
    from {{ ref('bar_gaps') }}
    where repair_state = 'open' and place = 'between'
    group by asset_class, symbol, timeframe
),

-- Settled or not: who trades on the last days has to know at once.
recent_gaps as (
    select
        gaps.asset_class || ' ' || gaps.symbol || ' ' || gaps.timeframe as subject,
        sum(gaps.missing_bars) as bars,
        max(gaps.verdict || ': ' || gaps.evidence) as evidence
    from {{ ref('bar_gaps') }} as gaps
    inner join rules on rules.rule = 'recent_gaps'
    where
        gaps.repair_state in ('open', 'final')
        and gaps.verdict not in ('no trades', 'closed session')
        and gaps.place = 'between'
        and gaps.gap_to > {{ warehouse_now() }} - rules.window_hours * interval '1 hour'
    group by gaps.asset_class, gaps.symbol, gaps.timeframe
),

final as (
    select
        rules.rule,
        late.subject,
        cast(late.seconds as numeric(20, 4)) as value,
        cast(late.critical_seconds as numeric(20, 4)) as threshold,
        'the bar that was due had not come ' || cast(late.seconds / 60 as text)
        || ' minutes later (newest bar from ' || late.source_in_use || ')'
        || coalesce('; last error: ' || late.last_error, '') as message
    from late
    inner join rules on rules.rule = 'data_late'
    where late.seconds > coalesce(rules.threshold, late.critical_seconds)

    union all

    select
        rules.rule,
        series.subject,
        cast(0 as numeric(20, 4)),
        rules.threshold,
        'asked for, and never had a bar' || coalesce('; last error: ' || series.last_error, '')
    from series
    inner join rules on rules.rule = 'series_without_data'
    where series.is_fetched and series.newest_bar is null and series.last_run_at is not null

    union all

    select
        rules.rule,
        gaps.subject,
        cast(gaps.bars as numeric(20, 4)),
        rules.threshold,
        cast(gaps.bars as text) || ' bars are missing between others: ' || gaps.evidence
    from gaps
    inner join rules on rules.rule = 'open_gaps'
    where gaps.bars > rules.threshold

    union all

    select
        rules.rule,
        recent_gaps.subject,
        cast(recent_gaps.bars as numeric(20, 4)),
        rules.threshold,
        cast(recent_gaps.bars as text) || ' bars of the last ' || rules.window_hours || ' hours are missing: '
        || recent_gaps.evidence
    from recent_gaps
    inner join rules on rules.rule = 'recent_gaps'
    where recent_gaps.bars > rules.threshold

    union all

    select
        rules.rule,
        computed.subject,
        cast(1 as numeric(20, 4)),
        rules.threshold,
        computed.error_details
    from computed
    inner join rules on rules.rule = 'feature_computation_failed'
)

select * from final
