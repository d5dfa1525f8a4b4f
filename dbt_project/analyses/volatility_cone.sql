-- Where today's volatility lies among all that each daily series has seen, for windows of 20 and 50 days, annualised.
-- A year has 252 sessions of an exchange and 365 days of crypto.
with

volatilities as (
    select
        symbol,
        asset_class,
        timestamp,
        20 as window_days,
        volatility_20 as volatility
    from {{ ref('market_data', v=2) }}
    where timeframe = '1d' and volatility_20 is not null

    union all

    select
        symbol,
        asset_class,
        timestamp,
        50 as window_days,
        volatility_50
    from {{ ref('market_data', v=2) }}
    where timeframe = '1d' and volatility_50 is not null
),

annualised as (
    select
        symbol,
        asset_class,
        window_days,
        volatility * sqrt(case when asset_class = 'crypto' then 365 else 252 end) as volatility,
        row_number() over (partition by symbol, asset_class, window_days order by timestamp desc) as days_ago
    from volatilities
)

select
    symbol,
    asset_class,
    window_days,
    count(*) as days,
    round(100 * cast(min(volatility) as numeric), 1) as lowest,
    round(100 * cast(percentile_cont(0.25) within group (order by volatility) as numeric), 1) as lower_quarter,
    round(100 * cast(percentile_cont(0.5) within group (order by volatility) as numeric), 1) as middle,
    round(100 * cast(percentile_cont(0.75) within group (order by volatility) as numeric), 1) as upper_quarter,
    round(100 * cast(max(volatility) as numeric), 1) as highest,
    round(100 * cast(max(case when days_ago = 1 then volatility end) as numeric), 1) as latest
from annualised
group by symbol, asset_class, window_days
order by symbol, asset_class, window_days
