-- One row per split and answer: split_to new shares for split_from old ones, from its execution (ex) date on. The ticker
-- is the one that was asked for or, in an answer about the whole market, the row's own.
with

events as (
    {{ split_rows(polygon_split_events()) }}
)

select
    source,
    ticker,
    ex_date,
    split_to,
    split_from,
    timeframe,
    window_start,
    fetched_at,
    load_id
from events
where reject_reason is null
