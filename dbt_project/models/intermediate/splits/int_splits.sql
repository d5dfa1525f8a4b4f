{{
    config(
        materialized='incremental',
        unique_key=['symbol', 'asset_class', 'ex_date'],
        incremental_strategy='merge',
        post_hook=['{{ analyze() }}']
    )
}}
-- One row per split: the ratio of the first source, in the asset's order, that reports it.
with

assets as (
    select
        symbol,
        asset_class,
        max(coalesce(source_priority, '{{ var('source_priority') | replace(',', ' ') }}')) as sources_in_order
    from {{ ref('assets') }}
    group by symbol, asset_class
),

reported as (
    select * from {{ ref('stg_polygon__splits') }}
    union all
    select * from {{ ref('stg_yahoo__splits') }}
),

ranked as (
    select
        reported.symbol,
        reported.asset_class,
        reported.ex_date,
        reported.source,
        reported.split_to,
        reported.split_from,
        row_number() over (
            partition by reported.symbol, reported.asset_class, reported.ex_date
            order by
                {{ place_in_list('reported.source', 'assets.sources_in_order') }} asc nulls last,
                loads.load_no desc,
                reported.split_to desc
        ) as place
    from reported
    inner join {{ ref('int_loads') }} as loads
        on loads.provider = reported.source and loads.load_id = reported.load_id
    inner join assets on assets.symbol = reported.symbol and assets.asset_class = reported.asset_class
    where reported.split_to > 0 and reported.split_from > 0
),

final as (
    select
        ranked.symbol,
        ranked.asset_class,
        ranked.ex_date,
        ranked.source,
        ranked.split_to,
        ranked.split_from,
        (select max(loads.load_no) from {{ ref('int_loads') }} as loads) as changed_in_load
    from ranked
    {% if is_incremental() -%}
    left join {{ this }} as kept
        on
            kept.symbol = ranked.symbol
            and kept.asset_class = ranked.asset_class
            and kept.ex_date = ranked.ex_date
    {%- endif %}
    where
        ranked.place = 1
        {% if is_incremental() -%}
        and {{ differs('ranked', 'kept', 'symbol', ['source', 'split_to', 'split_from']) }}
        {%- endif %}
)

select * from final
