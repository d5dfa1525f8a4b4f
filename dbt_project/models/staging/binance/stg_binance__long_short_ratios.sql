-- One row per sample of the share of all accounts that are long. The archive's metrics give the ratio long / short
-- only: r / (1 + r) is the same share.
with

answers as (
    select * from {{ source('raw_binance', 'responses') }}
    where endpoint in ('long_short_ratio', 'metrics') and status = 'ok'
),

from_rest as (
    select
        answers.symbol,
        answers.asset_class,
        {{ instant_from_epoch(json_integer('rows.item', 'timestamp')) }} as sampled_at,
        answers.timeframe as period,
        {{ json_decimal('rows.item', 'longAccount') }} as long_account,
        {{ json_decimal('rows.item', 'shortAccount') }} as short_account,
        answers.fetched_at,
        answers._dlt_load_id as load_id
    from answers
    cross join lateral {{ json_items('answers.payload') }} as rows (item, position)
    where answers.endpoint = 'long_short_ratio'
),

from_archive as (
    select
        answers.symbol,
        answers.asset_class,
        {{ instant_from_text(json_text('rows.item', 0)) }} as sampled_at,
        '5m' as period,
        {{ json_decimal('rows.item', 6) }} as long_account,
        cast(1 as numeric) as short_account,
        answers.fetched_at,
        answers._dlt_load_id as load_id
    from answers
    cross join lateral {{ json_items(json_member('answers.payload', 'rows')) }} as rows (item, position)
    where answers.endpoint = 'metrics'
),

samples as (
    select * from from_rest
    union all
    select * from from_archive
)

select * from samples
where sampled_at is not null and long_account >= 0 and short_account >= 0 and long_account + short_account > 0
