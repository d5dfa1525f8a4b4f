-- One row per cash dividend and answer, per share as traded on its ex-date. A company may pay two on one date (a regular
-- and a special one): they are two rows.
with

events as (
    {{ polygon_events('dividends', 'ex_dividend_date') }}
)

select
    source,
    ticker,
    ex_date,
    coalesce({{ json_text('item', 'id') }}, cast(position as text)) as dividend_id,
    {{ json_decimal('item', 'cash_amount') }} as amount,
    {{ json_text('item', 'currency') }} as currency,
    timeframe,
    window_start,
    fetched_at,
    load_id
from events
