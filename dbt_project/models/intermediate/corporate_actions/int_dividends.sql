{{ config(materialized='table_in_place', post_hook=['{{ analyze() }}']) }}
-- What each source tells of each cash dividend, per share as traded on its ex-date: Yahoo divides its amounts like its
-- prices, by the later splits up to its answer, undone here. One of them is used: what was set by hand, or that of the
-- first source in the asset's order; what another one dates a few days off and tells alike is the same dividend. Of amounts
-- of one source that contradict each other, the one that another source tells is meant, or none. 0 was struck by hand.
with

factors as (
    select * from {{ ref('int_split_factors') }}
),

calendars as (
    select * from {{ ref('calendars') }}
),

assets as (
    select
        assets.symbol,
        assets.asset_class,
        max(calendars.time_zone) as time_zone,
        max(coalesce(assets.source_priority, '{{ var('source_priority') | replace(',', ' ') }}')) as sources_in_order
    from {{ ref('assets') }} as assets
    inner join calendars on calendars.calendar = assets.calendar
    group by assets.symbol, assets.asset_class
),

told as (
    select
        told.symbol,
        told.asset_class,
        told.ex_date,
        told.source,
        told.currency,
        told.fetched_at,
        told.alternatives,
        coalesce(
            case when told.source = 'manual' then 0 end,
            {{ place_in_list('told.source', 'assets.sources_in_order') }},
            1000
        ) as source_place,
        case
            when told.source = 'yahoo'
                then round(told.amount * case
                    -- As the prices of the chart that told it.
                    when told.timeframe <> '' then coalesce(bases.adjustment, 1)
                    else coalesce(answered.split_factor, 1) / coalesce(on_ex_date.split_factor, 1)
                end, 6)
            else told.amount
        end as amount
    from {{ ref('int_actions_told') }} as told
    inner join assets on assets.symbol = told.symbol and assets.asset_class = told.asset_class
    left join factors as on_ex_date
        on
            on_ex_date.symbol = told.symbol
            and on_ex_date.asset_class = told.asset_class
            and on_ex_date.first_session <= told.ex_date
            and on_ex_date.next_first_session > told.ex_date
    left join factors as answered
        on
            answered.symbol = told.symbol
            and answered.asset_class = told.asset_class
            and answered.first_session <= {{ local_date('told.fetched_at', 'assets.time_zone') }}
            and answered.next_first_session > {{ local_date('told.fetched_at', 'assets.time_zone') }}
    left join {{ ref('int_series') }} as series
        on
            series.symbol = told.symbol
            and series.asset_class = told.asset_class
            and series.timeframe = told.timeframe
    left join {{ ref('int_yahoo_bases') }} as bases
        on
            bases.series_id = series.series_id
            and bases.load_no = told.load_no
            and bases.fetched_at = told.fetched_at
            and bases.first_session <= told.ex_date
            and bases.next_first_session > told.ex_date
    where told.kind = 'dividend' and not told.is_withdrawn
),

-- What contradicts itself, as far as another source decides it.
settled as (
    select
        told.symbol,
        told.asset_class,
        told.ex_date,
        told.source,
        told.currency,
        told.fetched_at,
        told.source_place,
        coalesce(told.amount, meant.amount) as amount
    from told
    left join lateral (
        select min(cast(items.item as numeric)) as amount
        from {{ words_of('told.alternatives') }} as items
        inner join told as another
            on
                another.symbol = told.symbol
                and another.asset_class = told.asset_class
                and another.ex_date = told.ex_date
                and another.source <> told.source
                and abs(another.amount - cast(items.item as numeric)) <= greatest(0.001, 0.005 * another.amount)
    ) as meant on told.alternatives is not null
),

judged as (
    select
        told.*,
        exists ( -- noqa: LT01, LT06
            select 1
            from settled as better
            where
                better.symbol = told.symbol
                and better.asset_class = told.asset_class
                and better.source_place < told.source_place
                and better.ex_date <> told.ex_date
                and abs(better.ex_date - told.ex_date) <= {{ var('same_split_days') }}
                and abs(better.amount - told.amount) <= greatest(0.001, 0.005 * told.amount)
        ) as is_told_elsewhere
    from settled as told
    where told.amount is not null
),

final as (
    select
        symbol,
        asset_class,
        ex_date,
        source,
        amount,
        currency,
        fetched_at,
        is_told_elsewhere,
        row_number() over (
            partition by symbol, asset_class, ex_date
            order by case when is_told_elsewhere then 1 else 0 end, source_place asc, source asc
        ) = 1
        and not is_told_elsewhere
        and amount > 0
        and coalesce(currency, 'USD') = 'USD' as is_used
    from judged
)

select * from final
