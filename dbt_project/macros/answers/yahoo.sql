{#- The rows of Yahoo's answers that are no bars; see rows_of_answers.sql. -#}

{# Events are reported in charts, next to the bars or (endpoint `events`) asked for alone; `kind` is the chart's name for them,
   `numbers` are the columns to read, with the members that hold them; `beside` is another kind, whose amount at the same time is
   `amount_beside`. What is paid on one date is one sum, so it has no type. #}
{% macro yahoo_events(kind, numbers, beside=none) -%}
    select
        'yahoo' as source,
        answers.symbol,
        answers.asset_class,
        coalesce(answers.provider_symbol, answers.symbol) as ticker,
        -- A chart is about one symbol, and says so in one place.
        cast(null as {{ text_type() }}) as asked,
        cast(null as {{ text_type() }}) as named,
        charts.time_zone,
        {{ date_of_yahoo(instant_from_epoch('events.stamp'), 'charts.time_zone') }} as ex_date,
        charts.currency,
        {%- for number in numbers %}
        events.{{ number }},
        {%- endfor %}
        {%- if beside %}
        (
            select max({{ json_decimal('others.item', 'amount') }})
            from {{ json_values('charts.beside') }} as others (item)
            where {{ json_integer('others.item', 'date') }} = events.stamp
        ) as amount_beside,
        {%- endif %}
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
            {%- if beside %},
            {{ json_member('answers.payload', 'chart.result.0.events.' ~ beside) }} as beside
            {%- endif %}
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

{# SQL query: Yahoo's splits, and what it reports as paid out, one row per event and answer: dividends, and those capital gains
   of funds that they do not hold. What it calls dividend is the sum of a date, since 2025 gains included (VWILX of 2025-12-17:
   7.857, of which 6.42 gains, paid were 1.437 and 6.42): gains count beside a dividend that is too small to hold them. #}
{% macro yahoo_split_events() -%}
    {{ yahoo_events('splits', {'split_to': 'numerator', 'split_from': 'denominator'}) }}
{%- endmacro %}
{% macro yahoo_dividend_events() -%}
    {%- set columns = (
        'source, symbol, asset_class, ticker, asked, named, time_zone, ex_date, currency, amount, timeframe, window_start,'
        ~ ' fetched_at, load_id, payload_row'
    ) -%}
    select {{ columns }}, '' as dividend_type
    from ({{ yahoo_events('dividends', {'amount': 'amount'}) }}) as events
    union all
    select {{ columns }}, 'capital gains' as dividend_type
    from ({{ yahoo_events('capitalGains', {'amount': 'amount'}, beside='dividends') }}) as events
    where events.amount is null or events.amount_beside is null or events.amount_beside < events.amount
{%- endmacro %}

{# The date that an instant of Yahoo's stands for in the exchange's zone. 00:00 UTC is a date by itself, whatever the zone:
   no exchange is open then whose clock shows another one, and in New York it would be the day before. #}
{% macro date_of_yahoo(instant, time_zone) -%}
    case
        when mod({{ epoch_seconds(instant) }}, 86400) = 0 then {{ local_date(instant, "'UTC'") }}
        else {{ local_date(instant, time_zone) }}
    end
{%- endmacro %}
