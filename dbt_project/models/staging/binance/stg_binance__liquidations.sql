-- One row per forced order seen on the stream. SELL closes a long. The stream may repeat an event.
with

answers as (
    select * from {{ source('raw_binance', 'responses') }}
    where endpoint = 'liquidations' and status = 'ok'
),

events as (
    select distinct
        answers.symbol,
        answers.asset_class,
        {{ instant_from_epoch(json_integer("(events.item -> 'o')", 'T')) }} as traded_at,
        {{ json_text("(events.item -> 'o')", 'S') }} as side,
        {{ json_decimal("(events.item -> 'o')", 'z') }} as quantity,
        {{ json_decimal("(events.item -> 'o')", 'ap') }} as average_price,
        answers._dlt_load_id as load_id
    from answers
    cross join lateral {{ json_items(json_member('answers.payload', 'events')) }} as events (item, position)
)

select * from events
where traded_at is not null and quantity is not null and side in ('BUY', 'SELL')
