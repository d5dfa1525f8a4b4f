{%- set zone = "case when answers.asset_class = 'crypto' then 'UTC' else 'America/New_York' end" -%}
-- One row per bar of a range answer, stamped at the bar's start as Polygon does. Weeks start on Sunday there; ours on
-- Monday.
with

answers as (
    select
        responses.*,
        -- A delayed plan answers 15 minutes late and says so.
        responses.requested_at
        - case when answer.status = 'DELAYED' then interval '15 minutes' else interval '0 minutes' end as known_until
    from {{ source('raw_polygon', 'responses') }} as responses
    cross join lateral (select {{ json_text('responses.payload', 'status') }} as status {{ optimization_fence() }}) as answer
    where responses.endpoint = 'bars' and responses.status = 'ok'
),

bars as (
    select
        ---------- keys
        'polygon' as source,
        answers.symbol,
        answers.asset_class,
        answers.timeframe,
        case
            -- 36 hours on is Monday noon, also in the two weeks a year in which clocks change on the Sunday between.
            when answers.timeframe = '1w'
                then
                    {{ local_instant(
                        local_date("numbers.opened_at + interval '36 hours'", zone),
                        "'00:00'",
                        zone
                    ) }}
            else numbers.opened_at
        end as opened_at,

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
    cross join lateral (
        select
            {{ instant_from_epoch(json_integer('rows.item', 't')) }} as opened_at,
            {{ json_decimal('rows.item', 'o') }} as open,
            {{ json_decimal('rows.item', 'h') }} as high,
            {{ json_decimal('rows.item', 'l') }} as low,
            {{ json_decimal('rows.item', 'c') }} as close,
            {{ json_decimal('rows.item', 'v') }} as volume
        {{ optimization_fence('answers.payload_sha') }}
    ) as numbers
)

select * from bars
