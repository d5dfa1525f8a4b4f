-- One row per split event and chart answer.
with

answers as (
    select
        *,
        {{ json_member('payload', 'chart.result.0') }} as chart
    from {{ source('raw_yahoo', 'responses') }}
    where endpoint in ('bars', 'splits') and status = 'ok'
),

splits as (
    select
        'yahoo' as source,
        coalesce(answers.provider_symbol, answers.symbol) as ticker,
        {{ local_date(
            instant_from_epoch(json_integer('events.item', 'date')),
            json_text(json_member('answers.chart', 'meta'), 'exchangeTimezoneName')
        ) }} as ex_date,
        {{ json_decimal('events.item', 'numerator') }} as split_to,
        {{ json_decimal('events.item', 'denominator') }} as split_from,
        answers.timeframe,
        answers.window_start,
        answers.fetched_at,
        answers._dlt_load_id as load_id
    from answers
    cross join lateral {{ json_values("(answers.chart -> 'events' -> 'splits')") }} as events (item)
)

select * from splits
