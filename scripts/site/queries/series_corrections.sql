-- Per series how many bars were corrected, and its newest corrections as the text of a JSON array.
select
    symbol,
    asset_class,
    timeframe,
    count(distinct id) as corrected_bars,
    cast(json_agg(
        json_build_object(
            'bar', cast(extract(epoch from timestamp) as bigint),
            'field', field_corrected,
            'old', trim_scale(old_value),
            'new', trim_scale(new_value),
            'reason', reason,
            'corrected_by', corrected_by,
            'at', cast(extract(epoch from correction_timestamp) as bigint)
        ) order by timestamp, correction_timestamp, correction_id
    ) filter (where newest_first <= %(limit)s) as text) as events
from (
    select
        bars.symbol,
        bars.asset_class,
        bars.timeframe,
        bars.timestamp,
        bars.id,
        corrections.id as correction_id,
        corrections.field_corrected,
        corrections.old_value,
        corrections.new_value,
        corrections.reason,
        corrections.corrected_by,
        corrections.correction_timestamp,
        row_number() over (
            partition by bars.symbol, bars.asset_class, bars.timeframe
            order by corrections.correction_timestamp desc, corrections.id desc
        ) as newest_first
    from marts.data_corrections as corrections
    inner join marts.market_data_v2 as bars on bars.id = corrections.original_record_id
) as numbered
group by symbol, asset_class, timeframe
