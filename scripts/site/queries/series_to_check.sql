-- Every series with bars; first one of each asset class and timeframe, then a second of each, and so on.
select symbol, asset_class, timeframe, bars
from marts.enrichment_status
where bars > 0
order by row_number() over (partition by asset_class, timeframe order by symbol), asset_class, timeframe
