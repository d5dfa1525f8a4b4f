{{ config(materialized='table_in_place', post_hook=['{{ analyze() }}']) }}
-- What each source reports of each cash dividend, per share as traded on its ex-date: a source that adjusts divides its
-- amounts like its prices, by the later splits up to its answer, undone here. One of them is used: what was set by hand, or
-- that of the first source in the asset's order; what another one dates a few days off and reports alike is the same dividend.
-- Of amounts of one source that contradict each other, the one that another source reports is meant, or none. 0 was struck by
-- hand.
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
        max(coalesce(assets.source_priority, '{{ source_priority() | replace(',', ' ') }}')) as sources_in_order
    from {{ ref('assets') }} as assets
    inner join calendars on calendars.calendar = {{ calendar_of('assets') }}
    group by assets.symbol, assets.asset_class
),

reported as (
    select
        reported.symbol,
        reported.asset_class,
        reported.ex_date,
        reported.source,
        reported.currency,
        reported.fetched_at,
        reported.alternatives,
        coalesce(
            case when reported.source = 'manual' then 0 end,
            {{ position_in_list('reported.source', 'assets.sources_in_order') }},
            1000
        ) as source_rank,
        case
            when {{ is_source('reported.source', sources('adjusts_for_splits')) }}
                then round(reported.amount * case
                    -- As the prices of the chart that reported it.
                    when reported.timeframe <> '' then coalesce(bases.adjustment, 1)
                    else coalesce(answered.split_factor, 1) / coalesce(on_ex_date.split_factor, 1)
                end, 6)
            else reported.amount
        end as amount
    from {{ ref('int_actions_reported') }} as reported
    inner join assets on assets.symbol = reported.symbol and assets.asset_class = reported.asset_class
    left join factors as on_ex_date
        on
            on_ex_date.symbol = reported.symbol
            and on_ex_date.asset_class = reported.asset_class
            and on_ex_date.first_session <= reported.ex_date
            and on_ex_date.next_first_session > reported.ex_date
    left join factors as answered
        on
            answered.symbol = reported.symbol
            and answered.asset_class = reported.asset_class
            and answered.first_session <= {{ local_date('reported.fetched_at', 'assets.time_zone') }}
            and answered.next_first_session > {{ local_date('reported.fetched_at', 'assets.time_zone') }}
    left join {{ ref('int_series') }} as series
        on
            series.symbol = reported.symbol
            and series.asset_class = reported.asset_class
            and series.timeframe = reported.timeframe
    left join {{ ref('int_price_bases') }} as bases
        on
            bases.source = reported.source
            and bases.series_id = series.series_id
            and bases.batch = reported.batch
            and bases.fetched_at = reported.fetched_at
            and bases.first_session <= reported.ex_date
            and bases.next_first_session > reported.ex_date
    where reported.kind = 'dividend' and not reported.is_retracted
),

-- What contradicts itself, as far as another source decides it.
settled as (
    select
        reported.symbol,
        reported.asset_class,
        reported.ex_date,
        reported.source,
        reported.currency,
        reported.fetched_at,
        reported.source_rank,
        coalesce(reported.amount, meant.amount) as amount
    from reported
    left join lateral (
        select min(cast(items.item as numeric)) as amount
        from {{ items_of('reported.alternatives') }} as items
        inner join reported as another
            on
                another.symbol = reported.symbol
                and another.asset_class = reported.asset_class
                and another.ex_date = reported.ex_date
                and another.source <> reported.source
                and abs(another.amount - cast(items.item as numeric)) <= greatest(0.001, 0.005 * another.amount)
    ) as meant on reported.alternatives is not null
),

classified as (
    select
        reported.*,
        exists ( -- noqa: LT01, LT06
            select 1
            from settled as better
            where
                better.symbol = reported.symbol
                and better.asset_class = reported.asset_class
                and better.source_rank < reported.source_rank
                and better.ex_date <> reported.ex_date
                and abs(better.ex_date - reported.ex_date) <= {{ var('same_split_days') }}
                and abs(better.amount - reported.amount) <= greatest(0.001, 0.005 * reported.amount)
        ) as is_reported_elsewhere
    from settled as reported
    where reported.amount is not null
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
        is_reported_elsewhere,
        row_number() over (
            partition by symbol, asset_class, ex_date
            order by case when is_reported_elsewhere then 1 else 0 end, source_rank asc, source asc
        ) = 1
        and not is_reported_elsewhere
        and amount > 0
        and coalesce(currency, 'USD') = 'USD' as is_used
    from classified
)

select * from final
