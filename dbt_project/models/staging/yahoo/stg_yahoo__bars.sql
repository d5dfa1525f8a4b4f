-- One row per bar of a chart answer: a `timestamp` array beside one array per field. Yahoo stamps a stock's day at the
-- open and today's last bar at the time of its last trade; a day or week belongs to its local date. Prices are ALWAYS
-- adjusted for every split up to the moment of the answer: int_bars_selected brings them back to as-traded.
with

answers as (
    select
        responses.*,
        charts.time_zone,
        charts.stamps,
        charts.opens,
        charts.highs,
        charts.lows,
        charts.closes,
        charts.volumes
    from {{ source('raw_yahoo', 'responses') }} as responses
    inner join lateral (
        select
            {{ json_member('responses.payload', 'chart.result.0.meta') }} ->> 'exchangeTimezoneName' as time_zone,
            {{ json_member('responses.payload', 'chart.result.0.timestamp') }} as stamps,
            {{ json_member('responses.payload', 'chart.result.0.indicators.quote.0.open') }} as opens,
            {{ json_member('responses.payload', 'chart.result.0.indicators.quote.0.high') }} as highs,
            {{ json_member('responses.payload', 'chart.result.0.indicators.quote.0.low') }} as lows,
            {{ json_member('responses.payload', 'chart.result.0.indicators.quote.0.close') }} as closes,
            {{ json_member('responses.payload', 'chart.result.0.indicators.quote.0.volume') }} as volumes
        {{ compute_once() }}
    ) as charts on true
    where responses.endpoint = 'bars' and responses.status = 'ok'
),

bars as (
    select
        ---------- keys
        'yahoo' as source,
        answers.symbol,
        answers.asset_class,
        answers.timeframe,
        case
            when answers.timeframe in ('1d', '1w')
                then {{ local_instant(local_date('numbers.stamped_at', 'answers.time_zone'), "'00:00'", 'answers.time_zone') }}
            else numbers.stamped_at
        end as opened_at,

        ---------- prices (adjusted for splits) and volumes
        numbers.open,
        numbers.high,
        numbers.low,
        numbers.close,
        numbers.volume,
        cast(null as numeric) as taker_buy_volume,

        ---------- where and when
        cast(null as jsonb) as payload_row,
        answers.window_start,
        answers.requested_at as known_until,
        answers.fetched_at,
        answers._dlt_load_id as load_id,
        rows.position as payload_position
    from answers
    cross join lateral {{ json_items('answers.stamps') }} as rows (item, position)
    cross join lateral (
        select
            {{ instant_from_epoch('cast(rows.item as bigint)') }} as stamped_at,
            {{ json_decimal('answers.opens', 'cast(rows.position - 1 as integer)') }} as open,
            {{ json_decimal('answers.highs', 'cast(rows.position - 1 as integer)') }} as high,
            {{ json_decimal('answers.lows', 'cast(rows.position - 1 as integer)') }} as low,
            {{ json_decimal('answers.closes', 'cast(rows.position - 1 as integer)') }} as close,
            {{ json_decimal('answers.volumes', 'cast(rows.position - 1 as integer)') }} as volume
        {{ compute_once() }}
    ) as numbers
)

-- Yahoo fills a moment without data with nulls: no bar, not a bad one.
select * from bars
where open is not null or high is not null or low is not null or close is not null
