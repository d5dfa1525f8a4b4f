-- One row per split and answer: split_to new shares for split_from old ones, from its execution (ex) date on. The ticker
-- is the one that was asked for or, in an answer about the whole market, the row's own.
with

events as (
    {{ polygon_events('splits', 'execution_date') }}
)

select
    source,
    ticker,
    ex_date,
    {{ json_decimal('item', 'split_to') }} as split_to,
    {{ json_decimal('item', 'split_from') }} as split_from,
    timeframe,
    window_start,
    fetched_at,
    load_id
from events
