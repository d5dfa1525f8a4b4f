-- One row per dividend event and chart answer. Amounts are adjusted, like prices, for every split up to the answer.
with

answers as (
    select
        *,
        {{ json_member('payload', 'chart.result.0') }} as chart
    from {{ source('raw_yahoo', 'responses') }}
    where endpoint in ('bars', 'dividends') and status = 'ok'
),

dividends as (
    select
        'yahoo' as source,
        coalesce(answers.provider_symbol, answers.symbol) as ticker,
        {{ local_date(
            instant_from_epoch(json_integer('events.item', 'date')),
            json_text(json_member('answers.chart', 'meta'), 'exchangeTimezoneName')
        ) }} as ex_date,
        cast(null as text) as dividend_id,
        {{ json_decimal('events.item', 'amount') }} as amount,
        {{ json_text(json_member('answers.chart', 'meta'), 'currency') }} as currency,
        answers.timeframe,
        answers.window_start,
        answers.fetched_at,
        answers._dlt_load_id as load_id
    from answers
    cross join lateral {{ json_values("(answers.chart -> 'events' -> 'dividends')") }} as events (item)
)

select * from dividends
