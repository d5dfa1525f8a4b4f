{{ config(materialized='view') }}
-- market_data_v2 in the shares of today, and as total return: computed when it is read, so a new split or dividend never
-- rewrites a stored bar. Convention as CRSP's and Yahoo's: the newest price stays as it is, earlier ones are lowered.
with

bars as (
    select * from {{ ref('market_data', v=2) }}
),

adjusted as (
    select
        bars.id,
        bars.symbol,
        bars.asset_class,
        bars.timeframe,
        bars.timestamp,
        bars.session_date,
        bars.open,
        bars.high,
        bars.low,
        bars.close,
        bars.volume,
        bars.split_factor / adjustments.split_factor_today as split_adjustment,
        case
            when bars.session_date >= adjustments.dividends_known_from then adjustments.dividend_factor
        end as dividend_adjustment,
        bars.source,
        bars.is_validated,
        bars.revision,
        bars.fetched_at
    from bars
    -- One of an asset's few ranges, looked up by its index: as a join on ranges every bar would be compared with every range.
    cross join lateral (
        select ranges.dividend_factor, ranges.split_factor_today, ranges.dividends_known_from
        from {{ ref('int_price_adjustments') }} as ranges
        where
            ranges.symbol = bars.symbol
            and ranges.asset_class = bars.asset_class
            -- A week ends six days after its Monday: its close knows the dividends of its days.
            and ranges.first_session <= bars.session_date + case when bars.timeframe = {{ week_timeframe() }} then 6 else 0 end
        order by ranges.first_session desc
        limit 1
    ) as adjustments
),

final as (
    select
        id,
        symbol,
        asset_class,
        timeframe,
        timestamp,
        session_date,
        {{ fits('open * split_adjustment', 19, 10) }} as open,
        {{ fits('high * split_adjustment', 19, 10) }} as high,
        {{ fits('low * split_adjustment', 19, 10) }} as low,
        {{ fits('close * split_adjustment', 19, 10) }} as close,
        {{ fits('volume / split_adjustment', 28, 8) }} as volume,
        {{ fits('open * split_adjustment * dividend_adjustment', 19, 10) }} as total_return_open,
        {{ fits('high * split_adjustment * dividend_adjustment', 19, 10) }} as total_return_high,
        {{ fits('low * split_adjustment * dividend_adjustment', 19, 10) }} as total_return_low,
        {{ fits('close * split_adjustment * dividend_adjustment', 19, 10) }} as total_return_close,
        {{ fits('split_adjustment', 24, 12) }} as split_adjustment,
        cast(dividend_adjustment as numeric(20, 12)) as dividend_adjustment,
        source,
        is_validated,
        revision,
        fetched_at
    from adjusted
)

select * from final
