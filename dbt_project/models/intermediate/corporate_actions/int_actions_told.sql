{{ config(materialized='table_in_place', post_hook=['{{ analyze() }}']) }}
-- What each source says now on the splits and dividends of our assets: its latest word on each event. A ticker is an
-- asset's while the registry says so, so an event of the company that had it before is not ours.
with

words as (
    select
        *,
        row_number() over (partition by source, kind, ticker, ex_date order by word_no desc) as age
    from {{ ref('int_action_words') }}
),

listings as (
    {% for source in ['polygon', 'yahoo'] -%}
    select
        '{{ source }}' as source,
        {{ source }} as ticker,
        symbol,
        asset_class,
        coalesce(active_from, date '0001-01-01') as active_from,
        coalesce(active_to, date '9999-12-31') as active_to
    from {{ ref('assets') }}
    where {{ source }} is not null
    {% if not loop.last %}union all{% endif %}
    {% endfor %}
),

final as (
    select
        listings.symbol,
        listings.asset_class,
        words.kind,
        words.ex_date,
        words.source,
        words.is_withdrawn,
        words.split_to,
        words.split_from,
        words.amount,
        words.currency,
        words.fetched_at,
        words.load_no
    from words
    inner join listings
        on
            listings.source = words.source
            and listings.ticker = words.ticker
            and words.ex_date >= listings.active_from
            and words.ex_date <= listings.active_to
    where words.age = 1
)

select * from final
