-- Inflows from the last day on that was published before the bars began.
select day, published_at, exchange_inflow as value
from intermediate.int_exchange_inflows
where
    symbol = %(symbol)s
    and asset_class = %(asset_class)s
    and published_at <= %(last)s
    and day >= coalesce(
        (
            select max(known.day)
            from intermediate.int_exchange_inflows as known
            where
                known.symbol = %(symbol)s
                and known.asset_class = %(asset_class)s
                and known.published_at <= %(first)s
        ),
        date '0001-01-01'
    )
order by published_at
