{%- set place = 'cast(rows.position - 1 as integer)' -%}
-- One row per bar of a chart answer: a `timestamp` array next to one array per field. Yahoo stamps a stock's day at the
-- open and today's last bar at the time of its last trade; a day or week belongs to its local date. The running week may
-- come in two rows, one up to yesterday and one of today: neither is the week. Prices are ALWAYS adjusted for every split
-- up to the moment of the answer: int_bars_selected brings them back to as-traded.
with

answers as (
    select
        responses.*,
        charts.time_zone,
        charts.stamps,
        charts.last_stamp,
        charts.opens,
        charts.highs,
        charts.lows,
        charts.closes,
        charts.volumes
    from {{ source('raw_yahoo', 'responses') }} as responses
    inner join lateral (
        select
            {{ known_time_zone(json_text(json_member('responses.payload', 'chart.result.0.meta'), 'exchangeTimezoneName')) }}
                as time_zone,
            {{ json_member('responses.payload', 'chart.result.0.timestamp') }} as stamps,
            {{ json_integer(json_member('responses.payload', 'chart.result.0.timestamp'), -1) }} as last_stamp,
            {{ json_member('responses.payload', 'chart.result.0.indicators.quote.0.open') }} as opens,
            {{ json_member('responses.payload', 'chart.result.0.indicators.quote.0.high') }} as highs,
            {{ json_member('responses.payload', 'chart.result.0.indicators.quote.0.low') }} as lows,
            {{ json_member('responses.payload', 'chart.result.0.indicators.quote.0.close') }} as closes,
            {{ json_member('responses.payload', 'chart.result.0.indicators.quote.0.volume') }} as volumes
        {{ optimization_fence() }}
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
            when answers.timeframe not in ('1d', '1w') then {{ instant_from_epoch('numbers.stamp') }}
            when places.is_of_running_week then {{ local_instant(monday('places.stamped_on'), "'00:00'", 'answers.time_zone') }}
            else {{ local_instant('places.stamped_on', "'00:00'", 'answers.time_zone') }}
        end as opened_at,

        ---------- prices (adjusted for splits) and volumes
        numbers.open,
        numbers.high,
        numbers.low,
        numbers.close,
        -- Yahoo reports a coin's volume in dollars: there is none in coins. An index's is that of its shares.
        case when answers.asset_class in ('crypto', 'index') then null else numbers.volume end as volume,
        cast(null as {{ number_type() }}) as taker_buy_volume,

        ---------- where and when
        {{ json_object({
            'timestamp': 'rows.item',
            'open': json_text('answers.opens', place),
            'high': json_text('answers.highs', place),
            'low': json_text('answers.lows', place),
            'close': json_text('answers.closes', place),
            'volume': json_text('answers.volumes', place),
        }) }} as payload_row,
        answers.window_start,
        answers.window_end,
        answers.requested_at as known_until,
        places.is_of_running_week and places.last_stamped_on <> {{ monday('places.last_stamped_on') }} as is_in_progress,
        answers.fetched_at,
        answers._dlt_load_id as load_id,
        rows.position as payload_position
    from answers
    cross join lateral {{ json_items('answers.stamps') }} as rows (item, position)
    inner join lateral (
        select
            {{ integer_from_text(json_own_text('rows.item')) }} as stamp,
            {{ json_decimal('answers.opens', place) }} as open,
            {{ json_decimal('answers.highs', place) }} as high,
            {{ json_decimal('answers.lows', place) }} as low,
            {{ json_decimal('answers.closes', place) }} as close,
            {{ json_decimal('answers.volumes', place) }} as volume
        {{ optimization_fence('answers.payload_sha') }}
    ) as numbers on true
    inner join lateral (
        select
            dates.stamped_on,
            dates.last_stamped_on,
            coalesce(
                answers.timeframe = '1w'
                and {{ monday('dates.stamped_on') }} = {{ monday(local_date('answers.requested_at', 'answers.time_zone')) }},
                false
            ) as is_of_running_week
        from (
            select
                {{ date_of_yahoo(instant_from_epoch('numbers.stamp'), 'answers.time_zone') }} as stamped_on,
                case
                    when answers.timeframe = '1w'
                        then {{ date_of_yahoo(instant_from_epoch('answers.last_stamp'), 'answers.time_zone') }}
                end as last_stamped_on
        ) as dates
        {{ optimization_fence('answers.payload_sha') }}
    ) as places on true
    -- Yahoo fills a moment without data with nulls: no bar, not a bad one.
    where
        coalesce(numbers.open, numbers.high, numbers.low, numbers.close) is not null
        or coalesce(
            {{ json_text('answers.opens', place) }},
            {{ json_text('answers.highs', place) }},
            {{ json_text('answers.lows', place) }},
            {{ json_text('answers.closes', place) }}
        ) is not null
)

select * from bars
