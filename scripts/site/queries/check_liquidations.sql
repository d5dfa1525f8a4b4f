-- Forced orders while the bars ran.
select traded_at, side, quantity
from intermediate.int_liquidations
where
    symbol = %(symbol)s
    and asset_class = %(asset_class)s
    and traded_at >= %(first)s
    and traded_at < %(last)s
order by traded_at
