-- One row per cash dividend and answer, per share as traded on its ex-date. A company may pay two on one date (a regular
-- and a special one): they are two rows, of two types.
with

events as (
    {{ dividend_rows(polygon_dividend_events()) }}
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
