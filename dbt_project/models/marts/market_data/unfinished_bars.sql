{{ config(materialized='view') }}
-- The bars that are still running, as each source last showed them. They are in no window and not in market_data_v2
-- until they are final. Prices are in the source's own basis.
with

bars as (
    select * from {{ ref('int_bars_in_progress') }}
),

series as (
    select * from {{ ref('int_series') }}
),

final as (
    select
        series.symbol,
        series.asset_class,
        series.timeframe,
        bars.opened_at as timestamp,
        bars.source,
        bars.open,
        bars.high,
        bars.low,
        bars.close,
        bars.volume,
        bars.taker_buy_volume,
        bars.fetched_at
    from bars
    inner join series on series.series_id = bars.series_id
)

select * from final
