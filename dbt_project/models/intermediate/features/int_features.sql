{{ config(materialized='view', post_hook='{{ describe_features() }}') }}
-- Every bar of this run with its price features and what only crypto has: NULL for every other class, and wherever the
-- data behind a feature is not there, never a fake 0.
with

bars_to_write as (
    -- The bars before were read for the windows only.
    select * from {{ ref('int_bars_to_compute') }}
    where is_written
),

price_features as (
    select * from {{ ref('int_price_features') }}
),

-- All columns of both, so that a new price feature comes along by itself. Joined on its own: Postgres, which takes joins in
-- an order of its own, otherwise sorted all bars by symbol to find their samples, and once more by series to find their
-- price features (1.4 s of 13 for 320k bars).
priced as (
    select * -- noqa: RF02
    from bars_to_write
    left join price_features using (series_id, range_no, opened_at) -- noqa: ST07
    {{ optimization_fence() }}
),

bars as (
    select
        priced.*,
        as_of.open_interest,
        as_of.is_open_interest_expected,
        as_of.is_long_short_ratio_expected,
        as_of.is_funding_rate_expected,
        as_of.funding_rate,
        as_of.long_short_ratio as long_short_ratio_as_of,
        as_of.funding_rate_percentile as funding_rate_percentile_as_of,
        as_of.exchange_inflow as exchange_inflow_as_of,
        previously.open_interest as previous_open_interest,
        liquidations.liquidations_long,
        liquidations.liquidations_short,
        case when priced.asset_class = 'crypto' then priced.volume - priced.taker_buy_volume end as taker_sell_volume
    from priced
    left join {{ ref('int_futures_as_of') }} as as_of
        on
            as_of.symbol = priced.symbol
            and as_of.asset_class = priced.asset_class
            and as_of.closed_at = priced.closed_at
    left join {{ ref('int_futures_as_of') }} as previously
        on
            previously.symbol = priced.symbol
            and previously.asset_class = priced.asset_class
            and previously.closed_at = priced.previous_closed_at
    left join {{ ref('int_liquidations_by_bar') }} as liquidations
        on
            liquidations.series_id = priced.series_id
            and liquidations.range_no = priced.range_no
            and liquidations.opened_at = priced.opened_at
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
    from bars
    {{ optimization_fence() }}
)

select * from final
