-- One row per forced order seen on the stream. SELL closes a long. The stream may repeat an event.
with

orders as (
    {{ liquidation_rows() }}
)

select distinct
    symbol,
    asset_class,
    traded_at,
    side,
    quantity,
    average_price,
    load_id
from orders
where reject_reason is null
