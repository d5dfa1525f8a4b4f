-- One row per split: split_to new shares for split_from old ones, from its execution (ex) date on. An answer is of one
-- asset or, when several are due, of the whole market: then the row's ticker tells whose it is.
with

answers as (
    select * from {{ source('raw_polygon', 'responses') }}
    where endpoint = 'splits' and status = 'ok'
),

listings as (
    select * from {{ ref('assets') }}
    where polygon is not null
),

events as (
    select
        answers.symbol,
        answers.asset_class,
        {{ json_text('rows.item', 'ticker') }} as ticker,
        cast({{ json_text('rows.item', 'execution_date') }} as date) as ex_date,
        {{ json_decimal('rows.item', 'split_to') }} as split_to,
        {{ json_decimal('rows.item', 'split_from') }} as split_from,
        answers.fetched_at,
        answers._dlt_load_id as load_id
    from answers
    cross join lateral {{ json_items(json_member('answers.payload', 'results')) }} as rows (item, position)
),

splits as (
    select
        'polygon' as source,
        coalesce(events.symbol, listings.symbol) as symbol,
        coalesce(events.asset_class, listings.asset_class) as asset_class,
        events.ex_date,
        events.split_to,
        events.split_from,
        events.fetched_at,
        events.load_id
    from events
    left join listings
        on
            events.symbol is null
            and listings.polygon = events.ticker
            and events.ex_date >= coalesce(listings.active_from, date '1900-01-01')
            and events.ex_date <= coalesce(listings.active_to, date '2999-12-31')
    where events.symbol is not null or listings.symbol is not null
)

select * from splits
