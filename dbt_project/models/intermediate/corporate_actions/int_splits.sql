{{
    config(
        materialized='incremental',
        unique_key=['symbol', 'asset_class', 'ex_date'],
        incremental_strategy='merge',
        post_hook=['{{ analyze() }}']
    )
}}
-- One row per split: the ratio set by hand, or that of the first source, in the asset's order, that tells it. A source may
-- date a split some days off: what lies within {{ var('same_split_days') }} days of a split that a better source tells is
-- that same split, and does not count twice. A split that no source tells any more stays as 1:1, so that readers of changes
-- see it go.
with

assets as (
    select
        symbol,
        asset_class,
        max(coalesce(source_priority, '{{ var('source_priority') | replace(',', ' ') }}')) as sources_in_order
    from {{ ref('assets') }}
    group by symbol, asset_class
),

told as (
    select
        told.symbol,
        told.asset_class,
        told.ex_date,
        told.source,
        told.split_to,
        told.split_from,
        -- What is set by hand comes before every source.
        coalesce(
            case when told.source = 'manual' then 0 end,
            {{ place_in_list('told.source', 'assets.sources_in_order') }},
            1000
        ) as source_place
    from {{ ref('int_actions_told') }} as told
    inner join assets on assets.symbol = told.symbol and assets.asset_class = told.asset_class
    where told.kind = 'split' and not told.is_withdrawn and told.split_to is not null
),

ranked as (
    select
        told.*,
        row_number() over (
            partition by told.symbol, told.asset_class, told.ex_date
            order by told.source_place asc, told.source asc
        ) as place
    from told
    where not exists (
        select 1
        from told as better
        where
            better.symbol = told.symbol
            and better.asset_class = told.asset_class
            and better.source_place < told.source_place
            and better.ex_date <> told.ex_date
            -- Struck: says nothing of other days.
            and better.split_to <> better.split_from
            and abs(better.ex_date - told.ex_date) <= {{ var('same_split_days') }}
    )
),

current_splits as (
    select
        symbol,
        asset_class,
        ex_date,
        source,
        split_to,
        split_from
    from ranked
    where place = 1

    {% if is_incremental() -%}
    union all

    select
        kept.symbol,
        kept.asset_class,
        kept.ex_date,
        kept.source,
        cast(1 as numeric),
        cast(1 as numeric)
    from {{ this }} as kept
    left join ranked
        on
            ranked.symbol = kept.symbol
            and ranked.asset_class = kept.asset_class
            and ranked.ex_date = kept.ex_date
            and ranked.place = 1
    where ranked.symbol is null and kept.split_to <> kept.split_from
    {%- endif %}
),

final as (
    select
        current_splits.*,
        (select max(loads.load_no) from {{ ref('int_loads') }} as loads) as changed_in_load
    from current_splits
    {% if is_incremental() -%}
    left join {{ this }} as kept
        on
            kept.symbol = current_splits.symbol
            and kept.asset_class = current_splits.asset_class
            and kept.ex_date = current_splits.ex_date
    where {{ differs('current_splits', 'kept', 'symbol', ['source', 'split_to', 'split_from']) }}
    {%- endif %}
)

select * from final
