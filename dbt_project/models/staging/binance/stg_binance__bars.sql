-- One row per kline: 12 fields by position, the same from the REST hosts and from the archive's CSV. The archive's
-- times are microseconds for spot from 2025-01-01, milliseconds otherwise.
with

answers as (
    select
        responses.*,
        answer.klines
    from {{ source('raw_binance', 'responses') }} as responses
    inner join lateral (
        select
            case
                when responses.origin = 'archive' then {{ json_member('responses.payload', 'rows') }}
                else responses.payload
            end as klines
        {{ optimization_fence() }}
    ) as answer on true
    where responses.endpoint = 'bars' and responses.status = 'ok'
),

bars as (
    select
        ---------- keys
        'binance' as source,
        answers.symbol,
        answers.asset_class,
        answers.timeframe,
        {{ instant_from_epoch('numbers.stamp') }} as opened_at,

        ---------- prices (quote currency) and volumes (base currency)
        numbers.open,
        numbers.high,
        numbers.low,
        numbers.close,
        numbers.volume,
        numbers.taker_buy_volume,

        ---------- where and when
        rows.item as payload_row,
        answers.window_start,
        answers.window_end,
        answers.requested_at as known_until,
        false as is_in_progress,
        answers.fetched_at,
        answers._dlt_load_id as load_id,
        rows.position as payload_position
    from answers
    cross join lateral {{ json_items('answers.klines') }} as rows (item, position)
    cross join lateral (
        select
            {{ json_integer('rows.item', 0) }} as stamp,
            {{ json_decimal('rows.item', 1) }} as open,
            {{ json_decimal('rows.item', 2) }} as high,
            {{ json_decimal('rows.item', 3) }} as low,
            {{ json_decimal('rows.item', 4) }} as close,
            {{ json_decimal('rows.item', 5) }} as volume,
            {{ json_decimal('rows.item', 9) }} as taker_buy_volume
        {{ optimization_fence('answers.payload_sha') }}
    ) as numbers
)

select * from bars
