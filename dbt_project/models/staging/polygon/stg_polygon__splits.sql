-- One row per split and answer: split_to new shares for split_from old ones, from its execution (ex) date on. The ticker
-- is the one that was asked for or, in an answer about the whole market, the row's own.
with

answers as (
    select * from {{ source('raw_polygon', 'responses') }}
    where endpoint = 'splits' and status = 'ok'
),

splits as (
    select
        'polygon' as source,
        coalesce(answers.provider_symbol, answers.symbol, {{ json_text('rows.item', 'ticker') }}) as ticker,
        cast({{ json_text('rows.item', 'execution_date') }} as date) as ex_date,
        {{ json_decimal('rows.item', 'split_to') }} as split_to,
        {{ json_decimal('rows.item', 'split_from') }} as split_from,
        cast(null as text) as timeframe,
        answers.window_start,
        answers.fetched_at,
        answers._dlt_load_id as load_id
    from answers
    cross join lateral {{ json_items(json_member('answers.payload', 'results')) }} as rows (item, position)
)

select * from splits
