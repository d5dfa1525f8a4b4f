-- One row per dividend event and chart answer. Amounts are adjusted, like prices, for every split up to the answer.
with

events as (
    {{ yahoo_events('dividends') }}
)

select
    source,
    ticker,
    ex_date,
    cast(null as text) as dividend_id,
    {{ json_decimal('item', 'amount') }} as amount,
    currency,
    timeframe,
    window_start,
    fetched_at,
    load_id
from events
