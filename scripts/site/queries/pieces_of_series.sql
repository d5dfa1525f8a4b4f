-- All pieces of one series with the number of their bars.
select
    date_trunc(%(unit)s, timestamp) as starts_at,
    count(*) as bars
from marts.market_data_v2
where symbol = %(symbol)s and asset_class = %(asset_class)s and timeframe = %(timeframe)s
group by starts_at
