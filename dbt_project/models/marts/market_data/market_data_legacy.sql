{{ config(post_hook='{{ write_old_table() }}') }}
-- The daily bars under the names and types of the old market_data table, for readers that have not moved yet.
with

market_data as (
    select * from {{ ref('market_data', v=2) }}
),

final as (
    select
        timestamp as time,
        symbol,
        cast(open as numeric(19, 8)) as open,
        cast(high as numeric(19, 8)) as high,
        cast(low as numeric(19, 8)) as low,
        cast(close as numeric(19, 8)) as close,
        -- More than 64 bits hold is no volume of this table's.
        cast(case when volume < 9e18 then round(volume) end as bigint) as volume,
        source,
        is_validated as validated,
        quality_score,
        validation_notes,
        gap_detected,
        volume_anomaly,
        fetched_at
    from market_data
    where timeframe = '1d'
)

select * from final
