{{ config(materialized='incremental', unique_key='series_id', incremental_strategy='merge') }}
-- The rules that each series was last selected by, and the load at which they last changed.
with

series as (
    select * from {{ ref('int_series') }}
),

final as (
    select
        series.series_id,
        series.rules,
        (select max(loads.load_no) from {{ ref('int_loads') }} as loads) as changed_in_load
    from series
    {% if is_incremental() -%}
    left join {{ this }} as kept on kept.series_id = series.series_id
    where kept.rules is distinct from series.rules

    union all

    -- A series that left the registry: its bars are looked at again, and found unlisted.
    select
        kept.series_id,
        'not in the registry' as rules,
        (select max(loads.load_no) from {{ ref('int_loads') }} as loads) as changed_in_load
    from {{ this }} as kept
    left join series on series.series_id = kept.series_id
    where series.series_id is null and kept.rules <> 'not in the registry'
    {%- endif %}
)

select * from final
