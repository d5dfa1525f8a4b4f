{{
    config(
        materialized='incremental',
        unique_key='series_id',
        incremental_strategy='merge',
        post_hook=['{{ analyze() }}']
    )
}}
-- The rules that each series was last made by, and the loads at which they last changed. A series that left the registry
-- keeps its row: what it had is looked at again, and found inactive.
with

series as (
    select
        series_id,
        symbol,
        asset_class,
        timeframe,
        calendar_fingerprint,
        rules
    from {{ ref('int_series') }}
),

differing as (
    select
        series.*,
        {% if is_incremental() -%}
        coalesce(existing.calendar_fingerprint <> series.calendar_fingerprint, true) as is_placed_anew,
        existing.aligned_in_batch
        {%- else -%}
        true as is_placed_anew,
        cast(null as bigint) as aligned_in_batch
        {%- endif %}
    from series
    {% if is_incremental() -%}
    left join {{ this }} as existing on existing.series_id = series.series_id
    where existing.rules is distinct from series.rules

    union all

    select
        existing.series_id,
        existing.symbol,
        existing.asset_class,
        existing.timeframe,
        'not in the registry' as calendar_fingerprint,
        'not in the registry' as rules,
        true as is_placed_anew,
        existing.aligned_in_batch
    from {{ this }} as existing
    left join series on series.series_id = existing.series_id
    where series.series_id is null and existing.rules <> 'not in the registry'
    {%- endif %}
),

final as (
    select
        series_id,
        symbol,
        asset_class,
        timeframe,
        calendar_fingerprint,
        rules,
        (select max(loads.batch) from {{ ref('int_loads') }} as loads) as changed_in_batch,
        case
            when is_placed_anew then (select max(loads.batch) from {{ ref('int_loads') }} as loads)
            else aligned_in_batch
        end as aligned_in_batch
    from differing
)

select * from final
