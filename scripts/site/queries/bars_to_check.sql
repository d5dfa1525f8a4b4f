-- The newest bars of a series in time order, with what the reference needs to know of them.
select *
from (
    select
        mart.*,
        bars.closed_at as close_time,
        bars.is_valid
    from marts.market_data_v2 as mart
    inner join intermediate.int_series as series using (symbol, asset_class, timeframe)
    inner join intermediate.int_bars as bars on bars.series_id = series.series_id and bars.opened_at = mart.timestamp
    where mart.symbol = %(symbol)s and mart.asset_class = %(asset_class)s and mart.timeframe = %(timeframe)s
    order by mart.timestamp desc
    limit %(count)s
) as newest
order by timestamp
