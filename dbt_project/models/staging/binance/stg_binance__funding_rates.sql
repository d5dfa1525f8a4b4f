-- One row per settlement. fundingTime jitters by up to 47 ms after the settlement: floored to the second before any
-- join. The REST answer does not tell the interval between settlements; the archive's CSV does.
with

answers as (
    select * from {{ source('raw_binance', 'responses') }}
    where endpoint = 'funding' and status = 'ok'
),

from_rest as (
    select
        answers.symbol,
        answers.asset_class,
        {{ json_integer('rows.item', 'fundingTime') }} as settled_ms,
        {{ json_decimal('rows.item', 'fundingRate') }} as funding_rate,
        cast(null as numeric) as interval_hours,
        answers.fetched_at,
        answers._dlt_load_id as load_id
    from answers
    cross join lateral {{ json_items('answers.payload') }} as rows (item, position)
    where answers.origin <> 'archive'
),

from_archive as (
    select
        answers.symbol,
        answers.asset_class,
        {{ json_integer('rows.item', 0) }} as settled_ms,
        {{ json_decimal('rows.item', 2) }} as funding_rate,
        {{ json_decimal('rows.item', 1) }} as interval_hours,
        answers.fetched_at,
        answers._dlt_load_id as load_id
    from answers
    cross join lateral {{ json_items(json_member('answers.payload', 'rows')) }} as rows (item, position)
    where answers.origin = 'archive'
),

settlements as (
    select * from from_rest
    union all
    select * from from_archive
),

final as (
    select
        symbol,
        asset_class,
        {{ instant_from_epoch('settled_ms / 1000') }} as settled_at,
        cast(round(funding_rate, 8) as numeric(11, 8)) as funding_rate,
        cast(interval_hours as integer) as interval_hours,
        fetched_at,
        load_id
    from settlements
    where settled_ms is not null and abs(funding_rate) < 1000
)

select * from final
