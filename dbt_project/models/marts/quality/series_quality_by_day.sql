{%- set values = [
    'bars', 'validated_bars', 'gaps', 'anomalies', 'quality_score_sum', 'completeness_sum', 'first_bar_at', 'last_bar_at'
] -%}
{%- set changed_rows = changed_rows_of_the_mart('series_quality_by_day') -%}
{{
    config(
        materialized='incremental',
        unique_key=['series_id', 'session_date'],
        incremental_strategy='merge',
        on_schema_change='fail',
        indexes=[
            {'columns': ['session_date']},
            {'columns': ['changed_in_batch'], 'type': 'brin'},
        ],
        pre_hook=['{{ delete_rows_of_former_version() }}'],
        post_hook=["{{ advance_watermark([ref('market_data', v=2)], stamp=last_written_at()) }}", '{{ analyze() }}']
    )
}}
-- depends_on: {{ ref('int_recompute_ranges') }}
-- depends_on: {{ ref('int_expected_bars') }}
-- depends_on: {{ ref('int_series_fingerprints') }}
-- One row per series and session with bars: how many, how good. What is shown of days, symbols and series is summed up
-- from here, so that nobody else counts the bars. A day that lost all its bars stays, with none.
with

{% if changed_rows == 'ranges' -%}
touched_days as (
    select distinct
        series.series_id,
        series.symbol,
        series.asset_class,
        series.timeframe,
        expected_bars.bar_date,
        expected_bars.first_expected_at,
        expected_bars.closes_at
    from {{ ref('int_recompute_ranges') }} as recompute_ranges
    inner join {{ ref('int_series') }} as series on series.series_id = recompute_ranges.series_id
    -- By the index, range by range, here and below: as plain joins each range was compared with every day of its calendar, and on
    -- stock Postgres 15 each day against all bars of its series. A week is filed under its Monday.
    inner join lateral (
        select existing_rows.bar_date, existing_rows.first_expected_at, existing_rows.closes_at
        from {{ ref('int_expected_bars') }} as existing_rows
        where
            existing_rows.calendar = series.calendar
            and existing_rows.timeframe = series.timeframe
            and existing_rows.alignment = series.alignment
            and existing_rows.bar_date >= {{ local_date('recompute_ranges.write_from', "'UTC'") }} - 8
            and existing_rows.bar_date <= {{ local_date('recompute_ranges.write_to', "'UTC'") }} + 1
            and existing_rows.first_expected_at <= recompute_ranges.write_to
            and existing_rows.closes_at > recompute_ranges.write_from
        {{ optimization_fence() }}
    ) as expected_bars on true
),

bars as (
    select
        touched_days.series_id,
        bars.*
    from touched_days
    inner join lateral (
        select
            existing_rows.session_date, existing_rows.is_validated, existing_rows.gap_detected, existing_rows.volume_anomaly,
            existing_rows.quality_score,
            existing_rows.data_completeness, existing_rows.timestamp
        from {{ ref('market_data', v=2) }} as existing_rows
        where
            existing_rows.symbol = touched_days.symbol
            and existing_rows.asset_class = touched_days.asset_class
            and existing_rows.timeframe = touched_days.timeframe
            and existing_rows.timestamp >= touched_days.first_expected_at
            and existing_rows.timestamp < touched_days.closes_at
        {{ optimization_fence() }}
    ) as bars on true
),
{%- else -%}
bars as (
    select
        series.series_id,
        bars.*
    from {{ ref('market_data', v=2) }} as bars
    inner join {{ ref('int_series') }} as series
        on
            series.symbol = bars.symbol
            and series.asset_class = bars.asset_class
            and series.timeframe = bars.timeframe
    {%- if changed_rows == 'nothing' %}
    where false
    {%- endif %}
),
{%- endif %}

counted as (
    select
        series_id,
        session_date,
        cast(count(*) as integer) as bars,
        cast(count(case when is_validated then 1 end) as integer) as validated_bars,
        cast(count(case when gap_detected then 1 end) as integer) as gaps,
        cast(count(case when volume_anomaly then 1 end) as integer) as anomalies,
        cast(sum(quality_score) as numeric(18, 2)) as quality_score_sum,
        cast(sum(data_completeness) as numeric(18, 2)) as completeness_sum,
        min(timestamp) as first_bar_at,
        max(timestamp) as last_bar_at
    from bars
    group by series_id, session_date
),

days as (
    select * from counted
    {% if is_incremental() and changed_rows != 'nothing' -%}
    union all
    select
        existing.series_id, existing.session_date, 0, 0, 0, 0, cast(0 as numeric(18, 2)), cast(0 as numeric(18, 2)), null, null
    from {{ this }} as existing
    left join counted on counted.series_id = existing.series_id and counted.session_date = existing.session_date
    {% if changed_rows == 'ranges' -%}
    left join touched_days
        on touched_days.series_id = existing.series_id and touched_days.bar_date = existing.session_date
    -- A series that left the registry has no days to touch, a day that was closed after all is none.
    left join {{ ref('int_series_fingerprints') }} as rules
        on rules.series_id = existing.series_id and rules.changed_in_batch > {{ watermark('series_quality_by_day') }}
    {%- endif %}
    where
        counted.series_id is null
        and existing.bars > 0
        {% if changed_rows == 'ranges' %}and (touched_days.series_id is not null or rules.series_id is not null){% endif %}
    {%- endif %}
),

final as (
    select
        days.*,
        cast({{ processed_by(['market_data_v2']) }} as integer) as changed_in_batch
    from days
    {% if is_incremental() -%}
    left join {{ this }} as existing on existing.series_id = days.series_id and existing.session_date = days.session_date
    where {{ differs('days', 'existing', 'series_id', values) }}
    {%- endif %}
)

select * from final
