-- How much the daily returns of each two symbols move together, over the last 250 sessions that both have.
-- Crypto days end at 00:00 UTC and stock days at the close in New York, so a pair of both is shifted by hours.
with

returns as (
    select
        symbol,
        session_date,
        return_1d,
        row_number() over (partition by symbol, asset_class order by session_date desc) as sessions_ago
    from {{ ref('market_data', v=2) }}
    where timeframe = '1d' and is_validated and return_1d is not null
),

recent as (
    select * from returns
    where sessions_ago <= 400
),

pairs as (
    select
        one.symbol,
        another.symbol as other_symbol,
        one.return_1d,
        another.return_1d as other_return_1d,
        row_number() over (partition by one.symbol, another.symbol order by one.session_date desc) as sessions_ago
    from recent as one
    inner join recent as another on another.session_date = one.session_date and another.symbol > one.symbol
)

select
    symbol,
    other_symbol,
    count(*) as sessions,
    round(cast(corr(return_1d, other_return_1d) as numeric), 3) as correlated,
    -- What the other one gained, on average, per 1 % of this one.
    round(cast(regr_slope(other_return_1d, return_1d) as numeric), 3) as beta
from pairs
where sessions_ago <= 250
group by symbol, other_symbol
having count(*) >= 20
order by abs(corr(return_1d, other_return_1d)) desc, symbol asc, other_symbol asc
