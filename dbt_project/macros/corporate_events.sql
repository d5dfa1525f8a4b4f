{#- Splits and dividends as the providers tell them: one row per event and answer, the event itself as column `item`. -#}

{# Events are told in charts, beside the bars; `kind` is the chart's word for them. #}
{% macro yahoo_events(kind) -%}
    select
        'yahoo' as source,
        coalesce(answers.provider_symbol, answers.symbol) as ticker,
        {{ local_date(
            instant_from_epoch(json_integer('events.item', 'date')),
            json_text(json_member('answers.chart', 'meta'), 'exchangeTimezoneName')
        ) }} as ex_date,
        {{ json_text(json_member('answers.chart', 'meta'), 'currency') }} as currency,
        answers.timeframe,
        answers.window_start,
        answers.fetched_at,
        answers._dlt_load_id as load_id,
        events.item
    from (
        select
            *,
            {{ json_member('payload', 'chart.result.0') }} as chart
        from {{ source('raw_yahoo', 'responses') }}
        where endpoint in ('bars', '{{ kind }}') and status = 'ok'
    ) as answers
    cross join lateral {{ json_values("(answers.chart -> 'events' -> '" ~ kind ~ "')") }} as events (item)
{%- endmacro %}

{# Events have an endpoint of their own; the ticker is the one that was asked for or, in an answer about the whole market,
   the row's own. #}
{% macro polygon_events(endpoint, ex_date) -%}
    select
        'polygon' as source,
        coalesce(answers.provider_symbol, answers.symbol, {{ json_text('rows.item', 'ticker') }}) as ticker,
        cast({{ json_text('rows.item', ex_date) }} as date) as ex_date,
        cast(null as text) as timeframe,
        answers.window_start,
        answers.fetched_at,
        answers._dlt_load_id as load_id,
        rows.item,
        rows.position
    from {{ source('raw_polygon', 'responses') }} as answers
    cross join lateral {{ json_items(json_member('answers.payload', 'results')) }} as rows (item, position)
    where answers.endpoint = '{{ endpoint }}' and answers.status = 'ok'
{%- endmacro %}
