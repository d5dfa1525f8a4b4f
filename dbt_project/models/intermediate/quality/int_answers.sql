{%- set since = watermark_before_moved_loads('int_answers') -%}
{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        on_schema_change='fail',
        indexes=[
            {'columns': ['is_long', 'symbol', 'asset_class', 'timeframe', 'asked_from']},
            {'columns': ['batch'], 'type': 'brin'},
        ],
        pre_hook=['{{ delete_since_moved_loads() }}', "{{ delete_replaced_series(by='name') }}"],
        post_hook=["{{ advance_watermark([ref('int_loads')]) }}", '{{ analyze_new_table() }}']
    )
}}
-- depends_on: {{ ref('int_series_fingerprints') }}
-- What was asked about bars and what came: the evidence of every verdict on missing bars. One row per answer, failed ones
-- included, appended load by load; those of a series whose calendar changed are read again. A day of the whole market
-- counts for each stock it has, under each of their names.
with

loads as (
    select batch, provider, load_id
    from {{ ref('int_loads') }}
),

-- A registry may have several rows of a symbol, of one calendar.
zones as (
    select
        assets.symbol,
        assets.asset_class,
        max(calendars.time_zone) as time_zone
    from {{ ref('assets') }} as assets
    inner join {{ ref('calendars') }} as calendars on calendars.calendar = {{ calendar_of('assets') }}
    group by assets.symbol, assets.asset_class
),

classes as (
    select
        classes.asset_class,
        calendars.time_zone
    from {{ ref('freshness_sla') }} as classes
    inner join {{ ref('calendars') }} as calendars on calendars.calendar = {{ usual_calendar('classes.asset_class') }}
),

answers as (
    select
        answers.*,
        loads.batch,
        timeframes.step_minutes,
        coalesce(zones.time_zone, classes.time_zone) as time_zone
    from {{ ref('stg_ops__answers') }} as answers
    inner join loads on loads.provider = answers.source and loads.load_id = answers.load_id
    left join {{ ref('timeframes') }} as timeframes on timeframes.timeframe = answers.timeframe
    left join zones on zones.symbol = answers.symbol and zones.asset_class = answers.asset_class
    -- An answer of the whole market is of stocks.
    left join classes on classes.asset_class = coalesce(answers.asset_class, 'stock')
    where
        answers.endpoint in ('bars', 'grouped_daily')
        and (
            {{ is_new_load('int_answers', 'answers.load_id', since) }}
            or {{ is_of_replaced_series('int_answers', 'answers') }}
        )
        and (loads.batch > {{ since }} or {{ is_of_replaced_series('int_answers', 'answers') }})
),

final as (
    select
        cast(source as text) as source,
        origin = 'archive' as is_file,
        cast(coalesce(symbol, '*') as text) as symbol,
        cast(coalesce(asset_class, '*') as text) as asset_class,
        cast(timeframe as text) as timeframe,
        status in ('ok', 'unchanged') as is_answer,
        window_start as asked_from,
        -- A value may still have moved after the instant it was asked for.
        case when status in ('ok', 'unchanged') then least(window_end, requested_at) else window_end end as asked_to,
        case when status in ('ok', 'unchanged') then {{ covered_to('answers', 'step_minutes', 'time_zone') }} end as covered_to,
        -- Of answers that came before the times of rows were noted the window counts.
        case
            when status in ('ok', 'unchanged') and row_count > 0
                then coalesce(first_row_at, window_start)
        end as first_row_at,
        case
            when status in ('ok', 'unchanged') and row_count > 0
                then coalesce(last_row_at, least(window_end, requested_at))
        end as last_row_at,
        window_end - window_start > interval '8 days' as is_long,
        requested_at,
        cast(run_id as text) as run_id,
        cast(http_status as integer) as http_status,
        cast(error as text) as error,
        cast(batch as integer) as batch
    from answers
)

select * from final
