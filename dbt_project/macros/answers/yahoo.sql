{#- The rows of Yahoo's answers that are no bars; see rows_of_answers.sql. -#}

{# Events are reported in charts, next to the bars or (endpoint `events`) asked for alone; `kind` is the chart's name for them,
   `numbers` are the columns to read, with the members that hold them. What is paid on one date is one sum, so it has no type. #}
{% macro yahoo_events(kind, numbers) -%}
    select
        'yahoo' as source,
        answers.symbol,
        answers.asset_class,
        coalesce(answers.provider_symbol, answers.symbol) as ticker,
        charts.time_zone,
        {{ date_of_yahoo(instant_from_epoch('events.stamp'), 'charts.time_zone') }} as ex_date,
        '' as dividend_type,
        charts.currency,
        {%- for number in numbers %}
        events.{{ number }},
        {%- endfor %}
        answers.timeframe,
        answers.window_start,
        answers.fetched_at,
        answers._dlt_load_id as load_id,
        rows.item as payload_row
    from {{ source('raw_yahoo', 'responses') }} as answers
    cross join lateral (
        select
            {{ known_time_zone(json_text(json_member('answers.payload', 'chart.result.0.meta'), 'exchangeTimezoneName')) }}
                as time_zone,
            {{ json_text(json_member('answers.payload', 'chart.result.0.meta'), 'currency') }} as currency,
            {{ json_member('answers.payload', 'chart.result.0.events.' ~ kind) }} as events
        {{ optimization_fence() }}
    ) as charts
    cross join lateral {{ json_values('charts.events') }} as rows (item)
    cross join lateral (
        select
            {%- for number, member in numbers.items() %}
            {{ json_decimal('rows.item', member) }} as {{ number }},
            {%- endfor %}
            {{ json_integer('rows.item', 'date') }} as stamp
        {{ optimization_fence('answers.payload_sha') }}
    ) as events
    where answers.endpoint in ('bars', 'events') and answers.status = 'ok'
{%- endmacro %}

{# SQL query: Yahoo's splits, and its dividends, one row per event and answer. #}
{% macro yahoo_split_events() -%}
    {{ yahoo_events('splits', {'split_to': 'numerator', 'split_from': 'denominator'}) }}
{%- endmacro %}
{% macro yahoo_dividend_events() -%}
    {{ yahoo_events('dividends', {'amount': 'amount'}) }}
{%- endmacro %}

{# The date that an instant of Yahoo's stands for in the exchange's zone. 00:00 UTC is a date by itself, whatever the zone:
   no exchange is open then whose clock shows another one, and in New York it would be the day before. #}
{% macro date_of_yahoo(instant, time_zone) -%}
    case
        when mod({{ epoch_seconds(instant) }}, 86400) = 0 then {{ local_date(instant, "'UTC'") }}
        else {{ local_date(instant, time_zone) }}
    end
{%- endmacro %}
