{%- set values = [
    'bars', 'validated_bars', 'gaps', 'anomalies', 'quality_score_sum', 'completeness_sum', 'first_bar_at', 'last_bar_at'
] -%}
{%- set news = news_of_the_mart('series_quality_by_day') -%}
{{
    config(
        materialized='incremental',
        unique_key=['series_id', 'session_date'],
        incremental_strategy='merge',
        on_schema_change='fail',
        indexes=[
            {'columns': ['session_date']},
            {'columns': ['changed_in_load'], 'type': 'brin'},
        ],
        pre_hook=['{{ delete_rows_of_former_version() }}'],
        post_hook=["{{ advance_watermark(['market_data_v2'], stamp=last_written_at()) }}", '{{ analyze() }}']
    )
}}
-- depends_on: {{ ref('int_frontier') }}
-- depends_on: {{ ref('int_slots') }}
-- depends_on: {{ ref('int_series_rules') }}
-- One row per series and session with bars: how many, how good. What is told of days, symbols and series is summed up
-- from here, so that nobody else counts the bars. A day that lost all its bars stays, with none.
with

{% if news == 'spans' -%}
touched_days as (
    select distinct
        series.series_id,
        series.symbol,
        series.asset_class,
        series.timeframe,
        slots.slot_date,
        slots.first_slot_at,
        slots.closes_at
    from {{ ref('int_frontier') }} as frontier
    inner join {{ ref('int_series') }} as series on series.series_id = frontier.series_id
    -- By the index, span by span, here and below: as plain joins each span was held against every day of its calendar, and on
    -- stock Postgres 15 each day against all bars of its series. A week is filed under its Monday.
    inner join lateral (
        select held.slot_date, held.first_slot_at, held.closes_at
        from {{ ref('int_slots') }} as held
        where
            held.calendar = series.calendar
            and held.timeframe = series.timeframe
            and held.grid = series.grid
            and held.slot_date >= {{ local_date('frontier.write_from', "'UTC'") }} - 8
            and held.slot_date <= {{ local_date('frontier.write_to', "'UTC'") }} + 1
            and held.first_slot_at <= frontier.write_to
            and held.closes_at > frontier.write_from
        {{ compute_once() }}
    ) as slots on true
),

bars as (
    select
        touched_days.series_id,
        bars.*
    from touched_days
    inner join lateral (
        select
            held.session_date, held.is_validated, held.gap_detected, held.volume_anomaly, held.quality_score,
            held.data_completeness, held.timestamp
        from {{ ref('market_data', v=2) }} as held
        where
            held.symbol = touched_days.symbol
            and held.asset_class = touched_days.asset_class
            and held.timeframe = touched_days.timeframe
            and held.timestamp >= touched_days.first_slot_at
            and held.timestamp < touched_days.closes_at
        {{ compute_once() }}
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
    {%- if news == 'nothing' %}
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
    {% if is_incremental() and news != 'nothing' -%}
    union all
    select
        kept.series_id, kept.session_date, 0, 0, 0, 0, cast(0 as numeric(18, 2)), cast(0 as numeric(18, 2)), null, null
    from {{ this }} as kept
    left join counted on counted.series_id = kept.series_id and counted.session_date = kept.session_date
    {% if news == 'spans' -%}
    left join touched_days
        on touched_days.series_id = kept.series_id and touched_days.slot_date = kept.session_date
    -- A series that left the registry has no days to touch, a day that was closed after all is none.
    left join {{ ref('int_series_rules') }} as rules
        on rules.series_id = kept.series_id and rules.changed_in_load > {{ watermark('series_quality_by_day') }}
    {%- endif %}
    where
        counted.series_id is null
        and kept.bars > 0
        {% if news == 'spans' %}and (touched_days.series_id is not null or rules.series_id is not null){% endif %}
    {%- endif %}
),

final as (
    select
        days.*,
        cast({{ worked_in_by(['market_data_v2']) }} as integer) as changed_in_load
    from days
    {% if is_incremental() -%}
    left join {{ this }} as kept on kept.series_id = days.series_id and kept.session_date = days.session_date
    where {{ differs('days', 'kept', 'series_id', values) }}
    {%- endif %}
)

select * from final
