-- One row per split event and chart answer.
with

events as (
    {{ split_rows(yahoo_split_events()) }}
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
