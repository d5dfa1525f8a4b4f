{{ config(materialized='view') }}
-- The last 30 sessions of every series, those without a bar included: what the dashboard draws as a strip. A view over
-- the counts per day, never over the bars.
with

series as (
    select
        series.*,
        (
            select min(days.session_date)
            from {{ ref('series_quality_by_day') }} as days
            where days.series_id = series.series_id and days.bars > 0
        ) as first_session_date
    from {{ ref('int_series') }} as series
),

begun as (
    select
        *,
        row_number() over (partition by calendar, timeframe, alignment order by bar_date desc) as sessions_ago
    from {{ ref('int_expected_bars') }}
    where first_expected_at < {{ warehouse_now() }}
),

recent as (
    select *
    from begun
    where sessions_ago <= 30
),

expected as (
    select
        series.series_id,
        series.symbol,
        series.asset_class,
        series.timeframe,
        recent.bar_date as session_date,
        recent.sessions_ago,
        recent.closes_at <= {{ warehouse_now() }} as is_over,
        case
            when recent.closes_at <= {{ warehouse_now() }} then recent.expected_bars
            when series.step_minutes >= 1440 then 0
            else cast(floor(
                ({{ epoch_seconds(warehouse_now()) }} - {{ epoch_seconds('recent.first_expected_at') }})
                / (60.0 * series.step_minutes)
            ) as integer)
        end as expected_bars
    from series
    inner join recent
        on
            recent.calendar = series.calendar
            and recent.timeframe = series.timeframe
            and recent.alignment = series.alignment
            and recent.bar_date >= series.first_session_date
            and (series.active_to is null or recent.bar_date <= series.active_to)
),

counted as (
    select
        expected.*,
        coalesce(days.bars, 0) as bars,
        coalesce(days.validated_bars, 0) as validated_bars,
        coalesce(days.gaps, 0) as gaps,
        coalesce(days.anomalies, 0) as anomalies,
        cast(round(days.quality_score_sum / nullif(days.bars, 0), 2) as numeric(3, 2)) as avg_quality_score,
        cast(round(days.completeness_sum / nullif(days.bars, 0), 2) as numeric(3, 2)) as data_completeness
    from expected
    left join {{ ref('series_quality_by_day') }} as days
        on days.series_id = expected.series_id and days.session_date = expected.session_date
),

final as (
    select
        symbol,
        asset_class,
        timeframe,
        session_date,
        cast(sessions_ago as integer) as sessions_ago,
        expected_bars,
        bars,
        validated_bars,
        gaps,
        anomalies,
        avg_quality_score,
        data_completeness,
        case
            when bars = 0 and expected_bars = 0 then 'awaited'
            when bars = 0 then 'missing'
            when
                avg_quality_score < {{ var('min_quality_score') }}
                or bars < {{ var('min_data_completeness') }} * expected_bars
                then 'poor'
            when validated_bars < bars or bars < expected_bars then 'flawed'
            when not is_over then 'running'
            else 'complete'
        end as state
    from counted
)

select * from final
