{{ config(materialized='view') }}
-- How many coins of its bars one futures contract of an asset is on, for the time in which the registry names it so.
with

assets as (
    select * from {{ ref('assets') }}
    where asset_class = 'crypto' and binance_futures is not null
),

final as (
    select
        symbol,
        asset_class,
        -- Not the year 1: west of UTC its first moment is read as the year before, which Python does not have.
        {{ local_instant("coalesce(active_from, date '0002-01-01')", "'00:00'", "'UTC'") }} as named_from,
        {{ local_instant("coalesce(active_to, date '9998-12-31') + 1", "'00:00'", "'UTC'") }} as named_until,
        {{ contract_multiplier('binance', 'binance_futures') }} as multiplier
    from assets
)

select * from final
