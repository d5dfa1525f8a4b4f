-- The latest corrections, each with its bar.
select
    bars.symbol,
    bars.asset_class,
    bars.timeframe,
    cast(extract(epoch from bars.timestamp) as bigint) as bar,
    corrections.field_corrected,
    corrections.old_value,
    corrections.new_value,
    100 * (corrections.new_value / nullif(corrections.old_value, 0) - 1) as change_percent,
    corrections.reason,
    corrections.corrected_by,
    cast(extract(epoch from corrections.correction_timestamp) as bigint) as corrected_at
from marts.data_corrections as corrections
inner join marts.market_data_v2 as bars on bars.id = corrections.original_record_id
order by corrections.correction_timestamp desc, corrections.id
limit 40
