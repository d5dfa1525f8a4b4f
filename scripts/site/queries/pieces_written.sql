-- The pieces that hold a bar written since an instant: a bar belongs to the unit of time (a week, a year ...) in which it
-- opened. is_again: those written at that very instant, too.
select
    bars.symbol,
    bars.asset_class,
    bars.timeframe,
    date_trunc(units.unit, bars.timestamp) as starts_at
from marts.market_data_v2 as bars
inner join unnest(
    cast(%(timeframes)s as text []), cast(%(units)s as text [])
) as units (timeframe, unit) on units.timeframe = bars.timeframe
where bars.updated_at > %(since)s or (%(is_again)s and bars.updated_at = %(since)s)
group by bars.symbol, bars.asset_class, bars.timeframe, starts_at
