-- One row per dividend event and chart answer. Amounts are adjusted, like prices, for every split up to the answer.
with

events as (
    {{ dividend_rows(yahoo_dividend_events()) }}
)

select
    source,
    ticker,
    ex_date,
    dividend_type,
    amount,
    currency,
    timeframe,
    window_start,
    fetched_at,
    load_id
from events
where reject_reason is null
