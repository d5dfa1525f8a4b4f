{{ config(materialized='view') }}
-- The features that only crypto has, added to the bars of this run; NULL for every other class, and wherever the data
-- behind a feature is not there: never a fake 0.
with

bars as (
    select
        bars.*,
        as_of.open_interest,
        as_of.is_open_interest_expected,
        as_of.is_long_short_ratio_expected,
        as_of.funding_rate,
        as_of.long_short_ratio as long_short_ratio_as_of,
        as_of.funding_rate_percentile as funding_rate_percentile_as_of,
        as_of.exchange_inflow as exchange_inflow_as_of,
        liquidations.liquidations_long,
        liquidations.liquidations_short,
        case when bars.asset_class = 'crypto' then bars.volume - bars.taker_buy_volume end as taker_sell_volume
    from {{ ref('int_price_features') }} as bars
    left join {{ ref('int_futures_as_of') }} as as_of
        on
            as_of.symbol = bars.symbol
            and as_of.asset_class = bars.asset_class
            and as_of.closed_at = bars.closed_at
    left join {{ ref('int_liquidations_by_bar') }} as liquidations
        on
            liquidations.series_id = bars.series_id
            and liquidations.span = bars.span
            and liquidations.opened_at = bars.opened_at
),

neighbours as (
    select
        *,
        lag(open_interest) over (partition by series_id, span, is_valid order by opened_at) as previous_open_interest
    from bars
),

final as (
    select
        *,
        case when is_valid then taker_buy_volume - taker_sell_volume end as delta,
        case
            when is_valid then {{ double('taker_buy_volume') }} / nullif({{ double('taker_buy_volume + taker_sell_volume') }}, 0)
        end as buy_sell_ratio,
        case
            when is_valid then {{ double('liquidations_long + liquidations_short') }} / nullif({{ double('volume') }}, 0)
        end as liquidation_intensity,
        case when is_valid then long_short_ratio_as_of end as long_short_ratio,
        case when is_valid then funding_rate_percentile_as_of end as funding_rate_percentile,
        case when is_valid then exchange_inflow_as_of end as exchange_inflow,
        case
            when is_valid then {{ double('open_interest') }} / {{ double('previous_open_interest') }} - 1
        end as open_interest_change
    from neighbours
)

select * from final
