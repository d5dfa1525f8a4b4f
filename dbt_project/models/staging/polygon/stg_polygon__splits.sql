-- One row per split: split_to new shares for split_from old ones, from its execution (ex) date on.
with

answers as (
    select * from {{ source('raw_polygon', 'responses') }}
    where endpoint = 'splits' and status = 'ok'
),

splits as (
    select
        'polygon' as source,
        answers.symbol,
        answers.asset_class,
        cast({{ json_text('rows.item', 'execution_date') }} as date) as ex_date,
        {{ json_decimal('rows.item', 'split_to') }} as split_to,
        {{ json_decimal('rows.item', 'split_from') }} as split_from,
        answers.fetched_at,
        answers._dlt_load_id as load_id
    from answers
    cross join lateral {{ json_items(json_member('answers.payload', 'results')) }} as rows (item, position)
)

select * from splits
