-- One row per open-interest sample, in base units: the history endpoint, the point endpoint and the archive's metrics.
with

answers as (
    select
        *,
        case when endpoint = 'open_interest_now' then jsonb_build_array(payload) else payload end as samples
    from {{ source('raw_binance', 'responses') }}
    where endpoint in ('open_interest', 'open_interest_now', 'metrics') and status = 'ok'
),

from_rest as (
    select
        answers.symbol,
        answers.asset_class,
        {{ instant_from_epoch(
            "coalesce(" ~ json_integer('rows.item', 'timestamp') ~ ", " ~ json_integer('rows.item', 'time') ~ ")"
        ) }} as sampled_at,
        answers.timeframe as period,
        coalesce(
            {{ json_decimal('rows.item', 'sumOpenInterest') }},
            {{ json_decimal('rows.item', 'openInterest') }}
        ) as open_interest,
        answers.fetched_at,
        answers._dlt_load_id as load_id
    from answers
    cross join lateral {{ json_items('answers.samples') }} as rows (item, position)
    where answers.endpoint <> 'metrics'
),

from_archive as (
    select
        answers.symbol,
        answers.asset_class,
        {{ instant_from_text(json_text('rows.item', 0)) }} as sampled_at,
        '5m' as period,
        {{ json_decimal('rows.item', 2) }} as open_interest,
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
where sampled_at is not null and open_interest is not null and abs(open_interest) < 1e20
