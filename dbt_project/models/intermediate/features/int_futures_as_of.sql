{{
    config(
        indexes=[{'columns': ['symbol', 'asset_class', 'closed_at']}],
        post_hook=['{{ analyze() }}']
    )
}}
-- What was known of an asset's futures at each moment at which one of this run's bars closes: the latest settled
-- funding rate, open-interest sample, long share and published inflow, none from after the close and none too old; open
-- interest in coins of the bars. Moments and samples
-- are put in one timeline and the latest sample's time is carried forward along it: 0.13 s per 100k bars where a range join takes
-- 13 s. One timeline serves all timeframes of an asset.
with

ranges as (
    select
        symbol,
        asset_class,
        min(closed_at) as first_closed_at,
        max(closed_at) as last_closed_at
    from {{ ref('int_bars_to_compute') }}
    where asset_class = 'crypto'
    group by symbol, asset_class
),

samples as (
    select
        ranges.symbol,
        ranges.asset_class,
        samples.sampled_at as happened_at,
        case when samples.measure = 'open_interest' then samples.sampled_at end as open_interest_at,
        case when samples.measure = 'long_short_ratio' then samples.sampled_at end as long_short_ratio_at
    from ranges
    inner join {{ ref('int_futures_samples') }} as samples
        on
            samples.symbol = ranges.symbol
            and samples.asset_class = ranges.asset_class
            and samples.sampled_at >= ranges.first_closed_at - interval '48 hours'
            and samples.sampled_at <= ranges.last_closed_at
),

-- When an asset's samples began.
begun as (
    select
        symbol,
        asset_class,
        (
            select min(first_samples.sampled_at)
            from {{ ref('int_futures_samples') }} as first_samples
            where
                first_samples.symbol = ranges.symbol
                and first_samples.asset_class = ranges.asset_class
                and first_samples.measure = 'open_interest'
        ) as open_interest_from,
        (
            select min(first_samples.sampled_at)
            from {{ ref('int_futures_samples') }} as first_samples
            where
                first_samples.symbol = ranges.symbol
                and first_samples.asset_class = ranges.asset_class
                and first_samples.measure = 'long_short_ratio'
        ) as long_short_ratio_from
    from ranges
),

facts as (
    select
        symbol,
        asset_class,
        happened_at,
        0 as is_moment,
        open_interest_at,
        long_short_ratio_at,
        cast(null as {{ instant_type() }}) as settled_at,
        cast(null as date) as inflow_day
    from samples

    union all

    select
        ranges.symbol,
        ranges.asset_class,
        settlements.settled_at,
        0,
        null,
        null,
        settlements.settled_at,
        null
    from ranges
    inner join {{ ref('int_funding_rates') }} as settlements
        on
            settlements.symbol = ranges.symbol
            and settlements.asset_class = ranges.asset_class
            and settlements.settled_at <= ranges.last_closed_at
            and coalesce(settlements.next_settled_at, ranges.last_closed_at) >= ranges.first_closed_at

    union all

    select
        ranges.symbol,
        ranges.asset_class,
        inflows.published_at,
        0,
        null,
        null,
        null,
        inflows.day
    from ranges
    inner join {{ ref('int_exchange_inflows') }} as inflows
        on
            inflows.symbol = ranges.symbol
            and inflows.asset_class = ranges.asset_class
            and inflows.published_at <= ranges.last_closed_at
),

-- A coin of which nothing is known has no timeline: no row says the same as a row of NULLs.
as_of_times as (
    select distinct
        bars.symbol,
        bars.asset_class,
        bars.closed_at
    from {{ ref('int_bars_to_compute') }} as bars
    inner join (
        select symbol, asset_class
        from facts
        union
        select symbol, asset_class
        from begun
        where coalesce(open_interest_from, long_short_ratio_from) is not null
    ) as known
        on known.symbol = bars.symbol and known.asset_class = bars.asset_class
),

line as (
    select * from facts
    union all
    select
        symbol,
        asset_class,
        closed_at,
        1,
        null,
        null,
        null,
        null
    from as_of_times
),

forward_filled as (
    select
        symbol,
        asset_class,
        happened_at as closed_at,
        is_moment,
        max(open_interest_at) over so_far as open_interest_at,
        max(long_short_ratio_at) over so_far as long_short_ratio_at,
        max(settled_at) over so_far as settled_at,
        max(inflow_day) over so_far as inflow_day
    from line
    window so_far as (
        partition by symbol, asset_class
        order by happened_at, is_moment
        rows between unbounded preceding and current row
    )
),

final as (
    select
        forward_filled.symbol,
        forward_filled.asset_class,
        forward_filled.closed_at,
        nullif(
            {{ fits(
                'case when open_interest.usable_until >= forward_filled.closed_at then open_interest.value end'
                ~ ' * coalesce(contracts.multiplier, 1)', 28, 8
            ) }}, 0
        ) as open_interest,
        cast(
            case when long_short_ratios.usable_until >= forward_filled.closed_at then long_short_ratios.value end
            as numeric(11, 8)
        ) as long_short_ratio,
        -- Once they began, samples are missed for as long as they do not come.
        coalesce(begun.open_interest_from <= forward_filled.closed_at, false) as is_open_interest_expected,
        coalesce(begun.long_short_ratio_from <= forward_filled.closed_at, false) as is_long_short_ratio_expected,
        forward_filled.settled_at is not null as is_funding_rate_expected,
        cast(
            case when {{ is_current_rate('settlements', 'forward_filled.closed_at') }} then settlements.funding_rate end
            as numeric(11, 8)
        ) as funding_rate,
        cast(
            case
                when {{ is_current_rate('settlements', 'forward_filled.closed_at') }} then settlements.funding_rate_percentile
            end
            as numeric(5, 2)
        ) as funding_rate_percentile,
        -- A day that ended more than a week ago changes nothing any more: the source is off, or silent.
        cast(
            case
                when {{ local_instant('inflows.day + 8', "'00:00'", "'UTC'") }} >= forward_filled.closed_at
                    then inflows.exchange_inflow
            end as numeric(28, 8)
        ) as exchange_inflow
    from forward_filled
    left join begun on begun.symbol = forward_filled.symbol and begun.asset_class = forward_filled.asset_class
    left join {{ ref('int_contracts') }} as contracts
        on
            contracts.symbol = forward_filled.symbol
            and contracts.asset_class = forward_filled.asset_class
            and contracts.named_from <= forward_filled.open_interest_at
            and contracts.named_until > forward_filled.open_interest_at
    left join {{ ref('int_futures_samples') }} as open_interest
        on
            open_interest.symbol = forward_filled.symbol
            and open_interest.asset_class = forward_filled.asset_class
            and open_interest.measure = 'open_interest'
            and open_interest.sampled_at = forward_filled.open_interest_at
    left join {{ ref('int_futures_samples') }} as long_short_ratios
        on
            long_short_ratios.symbol = forward_filled.symbol
            and long_short_ratios.asset_class = forward_filled.asset_class
            and long_short_ratios.measure = 'long_short_ratio'
            and long_short_ratios.sampled_at = forward_filled.long_short_ratio_at
    left join {{ ref('int_funding_rates') }} as settlements
        on
            settlements.symbol = forward_filled.symbol
            and settlements.asset_class = forward_filled.asset_class
            and settlements.settled_at = forward_filled.settled_at
    left join {{ ref('int_exchange_inflows') }} as inflows
        on
            inflows.symbol = forward_filled.symbol
            and inflows.asset_class = forward_filled.asset_class
            and inflows.day = forward_filled.inflow_day
            and inflows.published_at <= forward_filled.closed_at
            and inflows.superseded_at > forward_filled.closed_at
    where forward_filled.is_moment = 1
)

select * from final
