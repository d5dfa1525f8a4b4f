{{
    config(
        materialized='incremental',
        unique_key=['symbol', 'asset_class', 'ex_date'],
        incremental_strategy='merge',
        post_hook=['{{ analyze() }}']
    )
}}
-- One row per split: the ratio set by hand, or that of the first source, in the asset's order, that reports it. A source may
-- date a split some days off: what lies within {{ var('same_split_days') }} days of a split that a better source reports is
-- that same split, and does not count twice; nor does one that a source itself reports for two dates. A split that no source
-- reports any more stays as 1:1, so that readers of changes see it go.
with

assets as (
    select
        symbol,
        asset_class,
        max(coalesce(source_priority, '{{ source_priority() | replace(',', ' ') }}')) as sources_in_order
    from {{ ref('assets') }}
    group by symbol, asset_class
),

reported as (
    select
        reported.symbol,
        reported.asset_class,
        reported.ex_date,
        reported.source,
        reported.split_to,
        reported.split_from,
        reported.is_reported_twice,
        coalesce(reported.jump_distance, 1e9) as jump_distance,
        -- What is set by hand comes before every source.
        coalesce(
            case when reported.source = 'manual' then 0 end,
            {{ position_in_list('reported.source', 'assets.sources_in_order') }},
            1000
        ) as source_rank
    from {{ ref('int_actions_reported') }} as reported
    inner join assets on assets.symbol = reported.symbol and assets.asset_class = reported.asset_class
    where reported.kind = 'split' and not reported.is_retracted and reported.split_to is not null
),

ranked as (
    select
        reported.*,
        row_number() over (
            partition by reported.symbol, reported.asset_class, reported.ex_date
            order by reported.source_rank asc, reported.source asc
        ) as place
    from reported
    where not exists (
        select 1
        from reported as better
        where
            better.symbol = reported.symbol
            and better.asset_class = reported.asset_class
            and better.source_rank < reported.source_rank
            and better.ex_date <> reported.ex_date
            -- Struck: says nothing of other days.
            and better.split_to <> better.split_from
            and abs({{ days_between('better.ex_date', 'reported.ex_date') }}) <= {{ var('same_split_days') }}
    )
    -- Of one split that a source reports for two dates, the one over which prices jump; without prices, the first. Two that
    -- both show in the prices are two.
    and not exists (
        select 1
        from reported as twin
        where
            reported.is_reported_twice
            and reported.jump_distance > 0.5 * abs(ln(reported.split_to / reported.split_from))
            and twin.symbol = reported.symbol
            and twin.asset_class = reported.asset_class
            and twin.source = reported.source
            and twin.is_reported_twice
            and abs({{ days_between('twin.ex_date', 'reported.ex_date') }}) <= {{ var('same_split_days') }}
            and round(twin.split_to / twin.split_from, 12) = round(reported.split_to / reported.split_from, 12)
            and (
                twin.jump_distance < reported.jump_distance
                or (twin.jump_distance = reported.jump_distance and twin.ex_date < reported.ex_date)
            )
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
        existing.symbol,
        existing.asset_class,
        existing.ex_date,
        existing.source,
        cast(1 as {{ number_type() }}),
        cast(1 as {{ number_type() }})
    from {{ this }} as existing
    left join ranked
        on
            ranked.symbol = existing.symbol
            and ranked.asset_class = existing.asset_class
            and ranked.ex_date = existing.ex_date
            and ranked.place = 1
    where ranked.symbol is null and existing.split_to <> existing.split_from
    {%- endif %}
),

final as (
    select
        current_splits.*,
        (select max(loads.batch) from {{ ref('int_loads') }} as loads) as changed_in_batch
    from current_splits
    {% if is_incremental() -%}
    left join {{ this }} as existing
        on
            existing.symbol = current_splits.symbol
            and existing.asset_class = current_splits.asset_class
            and existing.ex_date = current_splits.ex_date
    where {{ differs('current_splits', 'existing', 'symbol', ['source', 'split_to', 'split_from']) }}
    {%- endif %}
)

select * from final
