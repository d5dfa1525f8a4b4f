{{ config(materialized='view') }}
-- One row per series: its newest bar, how old that is, and whether it is late. Age counts from the bar's close;
-- lateness from the close of the first bar that is expected after it, so that a weekend makes nothing stale. A view:
-- age is that of the moment of asking.
with

series as (
    select
        series.*,
        case when series.is_fetched then series.timeframe else series.base_timeframe end as asked_timeframe,
        (
            select max(case when assets.enabled then 1 else 0 end) = 1
            from {{ ref('assets') }} as assets
            where assets.symbol = series.symbol and assets.asset_class = series.asset_class
        ) as is_enabled
    from {{ ref('int_series') }} as series
),

newest as (
    select
        series.*,
        bars.timestamp as newest_bar,
        bars.session_date,
        bars.source,
        expected_bars.first_expected_at,
        expected_bars.closes_at,
        expected_bars.expected_bars,
        (
            {{ epoch_seconds('bars.timestamp') }} - {{ epoch_seconds('expected_bars.first_expected_at') }}
        ) / (60 * series.step_minutes) + 1 as expected_done
    from series
    left join lateral (
        select bars.timestamp, bars.session_date, bars.source
        from {{ ref('market_data', v=2) }} as bars
        where
            bars.symbol = series.symbol
            and bars.asset_class = series.asset_class
            and bars.timeframe = series.timeframe
        order by bars.timestamp desc
        limit 1
    ) as bars on true
    left join {{ ref('int_expected_bars') }} as expected_bars
        on
            expected_bars.calendar = series.calendar
            and expected_bars.timeframe = series.timeframe
            and expected_bars.alignment = series.alignment
            and expected_bars.bar_date = bars.session_date
),

expecting as (
    select
        newest.*,
        case
            when newest.step_minutes >= 1440 then newest.closes_at
            else least(newest.newest_bar + {{ minutes('newest.step_minutes') }}, newest.closes_at)
        end as newest_bar_closed_at,
        case
            when not newest.is_enabled then null
            when newest.step_minutes < 1440 and newest.expected_done < newest.expected_bars
                then least(
                    newest.first_expected_at + {{ minutes('newest.step_minutes') }} * (newest.expected_done + 1),
                    newest.closes_at
                )
            when newest.step_minutes >= 1440 then next_session.closes_at
            else least(next_session.first_expected_at + {{ minutes('newest.step_minutes') }}, next_session.closes_at)
        end as next_bar_closes_at
    from newest
    left join lateral (
        select expected_bars.first_expected_at, expected_bars.closes_at
        from {{ ref('int_expected_bars') }} as expected_bars
        where
            expected_bars.calendar = newest.calendar
            and expected_bars.timeframe = newest.timeframe
            and expected_bars.alignment = newest.alignment
            and expected_bars.bar_date > newest.session_date
            and (newest.active_to is null or expected_bars.bar_date <= newest.active_to)
        order by expected_bars.bar_date
        limit 1
    ) as next_session on true
),

aged as (
    select
        expecting.*,
        {{ epoch_seconds(warehouse_now()) }}
        - {{ epoch_seconds('expecting.newest_bar_closed_at') }} as data_age_seconds,
        greatest(
            0,
            {{ epoch_seconds(warehouse_now()) }} - {{ epoch_seconds('expecting.next_bar_closes_at') }}
            - coalesce(delays.delay_seconds, 0)
        ) as late_seconds,
        expecting.next_bar_closes_at + coalesce(delays.delay_seconds, 0) * interval '1 second' as due_at,
        sla.target_seconds,
        sla.critical_seconds,
        sla.alert_seconds,
        sla.stale_seconds
    from expecting
    inner join {{ ref('freshness_sla') }} as sla on sla.asset_class = expecting.asset_class
    left join {{ ref('source_delays') }} as delays
        on delays.source = expecting.source and delays.asset_class = expecting.asset_class
),

final as (
    select
        aged.symbol,
        aged.asset_class,
        aged.timeframe,
        aged.is_enabled,
        aged.is_fetched,
        aged.newest_bar,
        aged.newest_bar_closed_at,
        aged.next_bar_closes_at,
        aged.data_age_seconds,
        coalesce(aged.late_seconds, 0) as late_seconds,
        case
            when aged.newest_bar is null then aged.is_enabled and aged.is_fetched
            else coalesce(aged.late_seconds, 0) > aged.stale_seconds
        end as is_stale,
        case
            when aged.newest_bar is null then 'no data'
            when coalesce(aged.late_seconds, 0) <= aged.target_seconds then 'on time'
            when aged.late_seconds > aged.stale_seconds then 'stale'
            when aged.late_seconds > aged.critical_seconds then 'critical'
            else 'late'
        end as sla_level,
        coalesce(aged.late_seconds, 0) > aged.alert_seconds as is_alert_due,
        aged.source as source_in_use,
        cast(coalesce(totals.bars, 0) as bigint) as bars,
        cast(coalesce(totals.validated_bars, 0) as bigint) as validated_bars,
        cast(round(totals.quality_score_sum / nullif(totals.bars, 0), 2) as numeric(3, 2)) as avg_quality_score,
        cast(round(totals.completeness_sum / nullif(totals.bars, 0), 2) as numeric(3, 2)) as data_completeness,
        totals.first_bar,
        cast(gaps.open_gaps as integer) as open_gaps,
        last_fetch.fetch_timestamp as last_run_at,
        last_fetch.run_id as last_run_id,
        last_success.fetch_timestamp as last_success_at,
        last_failure.fetch_timestamp as last_error_at,
        last_failure.error_details as last_error,
        -- For readers that cannot ask again: from when on the series is what it is not yet, if no newer bar comes.
        aged.due_at + aged.target_seconds * interval '1 second' as late_from,
        aged.due_at + aged.critical_seconds * interval '1 second' as critical_from,
        aged.due_at + aged.stale_seconds * interval '1 second' as stale_from
    from aged
    left join lateral (
        select
            sum(days.bars) as bars,
            sum(days.validated_bars) as validated_bars,
            sum(days.quality_score_sum) as quality_score_sum,
            sum(days.completeness_sum) as completeness_sum,
            min(days.first_bar_at) as first_bar
        from {{ ref('series_quality_by_day') }} as days
        where days.series_id = aged.series_id
    ) as totals on true
    left join lateral (
        select count(*) as open_gaps
        from {{ ref('bar_gaps') }} as gaps
        where
            gaps.symbol = aged.symbol
            and gaps.asset_class = aged.asset_class
            and gaps.timeframe = aged.timeframe
            and gaps.repair_state = 'open'
            and gaps.place = 'between'
    ) as gaps on true
    {% for name, condition in {
        'last_fetch': 'true', 'last_success': 'answers.success', 'last_failure': 'not answers.success'
    }.items() -%}
    left join lateral (
        select answers.fetch_timestamp, answers.run_id, answers.error_details
        from {{ ref('enrichment_fetch_log') }} as answers
        where
            answers.symbol = aged.symbol
            and answers.asset_class = aged.asset_class
            and answers.timeframe = aged.asked_timeframe
            and answers.endpoint = 'bars'
            and {{ condition }}
        order by answers.fetch_timestamp desc, answers.id desc
        limit 1
    ) as {{ name }} on true
    {% endfor %}
)

select * from final
