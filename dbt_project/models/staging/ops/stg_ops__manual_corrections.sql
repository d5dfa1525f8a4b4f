-- Every correction of a bar by hand, and every withdrawal of one. A correction is a whole bar, as traded: it counts as the
-- observation of a source that comes before all others.
select
    correction_id,
    'manual' as source,
    symbol,
    asset_class,
    timeframe,
    opened_at,
    open,
    high,
    low,
    close,
    volume,
    taker_buy_volume,
    cast(null as {{ json_type() }}) as payload_row,
    opened_at as window_start,
    cast(null as {{ instant_type() }}) as window_end,
    corrected_at as known_until,
    false as is_in_progress,
    corrected_at as fetched_at,
    cast(correction_id as {{ text_type() }}) as load_id,
    cast(1 as bigint) as payload_position,
    is_withdrawal,
    fields_corrected,
    reason,
    corrected_by,
    corrected_at
from {{ source('ops', 'manual_corrections') }}
