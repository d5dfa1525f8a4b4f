-- One row per stock of the registry in a whole-market day. Polygon stamps these at the session's END, so the bar's start is the
-- day that was asked for, never the row's own stamp.
with

answers as (
    select
        responses.*,
        -- A delayed plan answers 15 minutes late and says so: asked at 16:05, the close is not in it.
        responses.requested_at
        - case when answer.status = 'DELAYED' then interval '15 minutes' else interval '0 minutes' end as known_until
    from {{ source('raw_polygon', 'responses') }} as responses
    cross join lateral (select {{ json_text('responses.payload', 'status') }} as status {{ optimization_fence() }}) as answer
    where responses.endpoint = 'grouped_daily' and responses.status = 'ok'
),

listings as (
    select * from {{ ref('assets') }}
    -- A stock of which only weeks are wanted needs no days.
    where polygon is not null and timeframes <> '1w'
),

bars as (
    select
        ---------- keys
        'polygon' as source,
        cast(listings.symbol as {{ text_type() }}) as symbol,
        cast(listings.asset_class as {{ text_type() }}) as asset_class,
        '1d' as timeframe,
        answers.window_start as opened_at,

        ---------- prices and volumes, as traded (adjusted=false)
        numbers.open,
        numbers.high,
        numbers.low,
        numbers.close,
        numbers.volume,
        cast(null as {{ number_type() }}) as taker_buy_volume,

        ---------- where and when
        rows.item as payload_row,
        answers.window_start,
        answers.window_end,
        answers.known_until,
        false as is_in_progress,
        answers.fetched_at,
        answers._dlt_load_id as load_id,
        rows.position as payload_position
    from answers
    cross join lateral {{ json_items(json_member('answers.payload', 'results')) }} as rows (item, position)
    inner join lateral (
        select
            {{ json_decimal('rows.item', 'o') }} as open,
            {{ json_decimal('rows.item', 'h') }} as high,
            {{ json_decimal('rows.item', 'l') }} as low,
            {{ json_decimal('rows.item', 'c') }} as close,
            {{ json_decimal('rows.item', 'v') }} as volume
        {{ optimization_fence('answers.payload_sha') }}
    ) as numbers on true
    inner join listings
        on
            listings.polygon = {{ json_text('rows.item', 'T') }}
            and {{ local_date('answers.window_start', "'America/New_York'") }}
            between coalesce(listings.active_from, date '1900-01-01') and coalesce(listings.active_to, date '2999-01-01')
)

select * from bars
