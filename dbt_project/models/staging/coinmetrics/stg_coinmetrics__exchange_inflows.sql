-- One row per asset and UTC day: native units that flowed to exchanges.
with

answers as (
    select * from {{ source('raw_coinmetrics', 'responses') }}
    where endpoint = 'exchange_inflow' and status = 'ok'
),

inflows as (
    select
        answers.symbol,
        answers.asset_class,
        cast(substr({{ json_text('rows.item', 'time') }}, 1, 10) as date) as day,
        {{ json_decimal('rows.item', 'FlowInExNtv') }} as exchange_inflow,
        answers.fetched_at,
        answers._dlt_load_id as load_id
    from answers
    cross join lateral {{ json_items(json_member('answers.payload', 'data')) }} as rows (item, position)
)

select * from inflows
where exchange_inflow is not null and abs(exchange_inflow) < 1e20
