-- One row per split event and chart answer.
with

events as (
    {{ yahoo_events('splits') }}
)

select
    source,
    ticker,
    ex_date,
    {{ json_decimal('item', 'numerator') }} as split_to,
    {{ json_decimal('item', 'denominator') }} as split_from,
    timeframe,
    window_start,
    fetched_at,
    load_id
from events
