-- What was corrected of the bars of a symbol.
select
    bars.symbol,
    bars.asset_class,
    bars.timeframe,
    cast(extract(epoch from bars.timestamp) as bigint) as bar,
    corrections.field_corrected as field,
    cast(corrections.old_value as double precision) as old,
    cast(corrections.new_value as double precision) as new,
    corrections.reason,
    corrections.corrected_by,
    cast(extract(epoch from corrections.correction_timestamp) as bigint) as at
from marts.data_corrections as corrections
inner join marts.market_data_v2 as bars on bars.id = corrections.original_record_id
where bars.symbol = %(symbol)s and bars.asset_class = %(asset_class)s
order by bars.timeframe, bars.timestamp, corrections.correction_timestamp, corrections.id
