{{
    config(
        materialized='incremental',
        unique_key='series_id',
        incremental_strategy='merge',
        post_hook=['{{ analyze() }}']
    )
}}
-- The rules that each series was last made by, and the loads at which they last changed. A series that left the registry
-- keeps its row: what it had is looked at again, and found unlisted.
with

series as (
    select
        series_id,
        symbol,
        asset_class,
        timeframe,
        placed_by,
        rules
    from {{ ref('int_series') }}
),

differing as (
    select
        series.*,
        {% if is_incremental() -%}
        coalesce(kept.placed_by <> series.placed_by, true) as is_placed_anew,
        kept.placed_in_load
        {%- else -%}
        true as is_placed_anew,
        cast(null as bigint) as placed_in_load
        {%- endif %}
    from series
    {% if is_incremental() -%}
    left join {{ this }} as kept on kept.series_id = series.series_id
    where kept.rules is distinct from series.rules

    union all

    select
        kept.series_id,
        kept.symbol,
        kept.asset_class,
        kept.timeframe,
        'not in the registry' as placed_by,
        'not in the registry' as rules,
        true as is_placed_anew,
        kept.placed_in_load
    from {{ this }} as kept
    left join series on series.series_id = kept.series_id
    where series.series_id is null and kept.rules <> 'not in the registry'
    {%- endif %}
),

final as (
    select
        series_id,
        symbol,
        asset_class,
        timeframe,
        placed_by,
        rules,
        (select max(loads.load_no) from {{ ref('int_loads') }} as loads) as changed_in_load,
        case
            when is_placed_anew then (select max(loads.load_no) from {{ ref('int_loads') }} as loads)
            else placed_in_load
        end as placed_in_load
    from differing
)

select * from final
