-- One row per bar of a chart answer: a `timestamp` array beside one array per field. Yahoo stamps a stock's day at the
-- open and today's last bar at the time of its last trade; a day or week belongs to its local date. Prices are ALWAYS
-- adjusted for every split up to the moment of the answer: int_bars_selected brings them back to as-traded.
with

answers as (
    select
        *,
        {{ json_member('payload', 'chart.result.0') }} as chart
    from {{ source('raw_yahoo', 'responses') }}
    where endpoint = 'bars' and status = 'ok'
),

columns as (
    select
        answers.*,
        {{ json_text(json_member('chart', 'meta'), 'exchangeTimezoneName') }} as time_zone,
        {{ json_member('chart', 'indicators.quote.0') }} as quote
    from answers
),

bars as (
    select
        ---------- keys
        'yahoo' as source,
        columns.symbol,
        columns.asset_class,
        columns.timeframe,
        case
            when columns.timeframe in ('1d', '1w')
                then {{ local_instant(local_date(instant_from_epoch('cast(stamps.item as bigint)'), 'columns.time_zone'), "'00:00'", 'columns.time_zone') }}
            else {{ instant_from_epoch('cast(stamps.item as bigint)') }}
        end as opened_at,

        ---------- prices (adjusted for splits) and volumes
        {{ json_decimal("(columns.quote -> 'open')", 'cast(stamps.position - 1 as integer)') }} as open,
        {{ json_decimal("(columns.quote -> 'high')", 'cast(stamps.position - 1 as integer)') }} as high,
        {{ json_decimal("(columns.quote -> 'low')", 'cast(stamps.position - 1 as integer)') }} as low,
        {{ json_decimal("(columns.quote -> 'close')", 'cast(stamps.position - 1 as integer)') }} as close,
        {{ json_decimal("(columns.quote -> 'volume')", 'cast(stamps.position - 1 as integer)') }} as volume,
        cast(null as numeric) as taker_buy_volume,

        ---------- where and when
        cast(null as jsonb) as payload_row,
        columns.window_start,
        columns.requested_at as known_until,
        columns.fetched_at,
        columns._dlt_load_id as load_id,
        stamps.position as payload_position
    from columns
    cross join lateral {{ json_items(json_member('columns.chart', 'timestamp')) }} as stamps (item, position)
)

-- Yahoo fills a moment without data with nulls: no bar, not a bad one.
select * from bars
where open is not null or high is not null or low is not null or close is not null
