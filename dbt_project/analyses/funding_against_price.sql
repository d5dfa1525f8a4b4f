-- What the price did in the 24 hours after funding was high or low: hourly crypto bars by quintile of
-- funding_rate_percentile. The percentile is known at the bar's close, so nothing here looks ahead but the return itself.
with

hours as (
    select
        symbol,
        asset_class,
        funding_rate,
        funding_rate_percentile,
        close * split_factor as price,
        timestamp,
        lead(close * split_factor, 24) over series as price_a_day_later,
        lead(timestamp, 24) over series as a_day_later
    from {{ ref('market_data', v=2) }}
    where timeframe = '1h' and asset_class = 'crypto' and is_validated
    window series as (partition by symbol, asset_class order by timestamp)
),

followed as (
    select
        symbol,
        least(5, 1 + cast(floor(funding_rate_percentile / 20) as integer)) as funding_quintile,
        funding_rate,
        price_a_day_later / price - 1 as return_next_day
    from hours
    -- Over a gap the 24th bar lies further away.
    where funding_rate_percentile is not null and a_day_later = timestamp + interval '24 hours'
)

select
    symbol,
    funding_quintile,
    count(*) as hours,
    round(10000 * avg(funding_rate), 2) as mean_funding_bp,
    round(100 * avg(return_next_day), 3) as mean_return_next_day_percent,
    round(100 * cast(stddev_samp(return_next_day) as numeric), 3) as standard_deviation_percent,
    round(avg(case when return_next_day > 0 then 1.0 else 0.0 end), 3) as share_of_gains
from followed
group by symbol, funding_quintile
order by symbol, funding_quintile
