-- One row per cash dividend and answer, per share as traded on its ex-date. A company may pay two on one date (a regular
-- and a special one): they are two rows.
with

answers as (
    select * from {{ source('raw_polygon', 'responses') }}
    where endpoint = 'dividends' and status = 'ok'
),

dividends as (
    select
        'polygon' as source,
        coalesce(answers.provider_symbol, answers.symbol, {{ json_text('rows.item', 'ticker') }}) as ticker,
        cast({{ json_text('rows.item', 'ex_dividend_date') }} as date) as ex_date,
        coalesce({{ json_text('rows.item', 'id') }}, cast(rows.position as text)) as dividend_id,
        {{ json_decimal('rows.item', 'cash_amount') }} as amount,
        {{ json_text('rows.item', 'currency') }} as currency,
        cast(null as text) as timeframe,
        answers.window_start,
        answers.fetched_at,
        answers._dlt_load_id as load_id
    from answers
    cross join lateral {{ json_items(json_member('answers.payload', 'results')) }} as rows (item, position)
)

select * from dividends
