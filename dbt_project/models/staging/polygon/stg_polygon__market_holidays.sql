-- One row per answer, coming holiday or half day, and exchange; an answer without any has one row, of no day: that it lists
-- a day no longer is an observation, too. Hours as Polygon gives them, UTC.
with

answers as (
    select *
    from {{ source('raw_polygon', 'responses') }}
    where endpoint = 'market_holidays' and status = 'ok'
),

days as (
    select
        -- All exchanges that it lists are in New York.
        'XNYS' as calendar,
        {{ json_text('rows.item', 'exchange') }} as exchange,
        {{ date_from_text(json_text('rows.item', 'date')) }} as session_date,
        {{ json_text('rows.item', 'status') }} as status,
        {{ instant_from_text("replace(substr(" ~ json_text('rows.item', 'open') ~ ", 1, 19), 'T', ' ')") }} as opens_at,
        {{ instant_from_text("replace(substr(" ~ json_text('rows.item', 'close') ~ ", 1, 19), 'T', ' ')") }} as closes_at,
        answers.fetched_at,
        answers._dlt_load_id as load_id
    from answers
    left join lateral {{ json_items('answers.payload') }} as rows (item, position) on true
)

select * from days
