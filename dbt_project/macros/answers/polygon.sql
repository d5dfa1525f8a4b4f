{#- The rows of Polygon's answers that are no bars; see rows_of_answers.sql. -#}

{# Events have an endpoint of their own; the ticker is the one that was asked for or, in an answer about the whole market,
   the row's own. `numbers` are the members to read. #}
{% macro polygon_events(endpoint, ex_date, numbers) -%}
    select
        'polygon' as source,
        answers.symbol,
        answers.asset_class,
        coalesce(answers.provider_symbol, answers.symbol, events.named) as ticker,
        answers.provider_symbol as asked,
        events.named,
        'UTC' as time_zone,
        events.ex_date,
        {%- if endpoint == 'dividends' %}
        concat_ws(' ', {{ json_text('rows.item', 'dividend_type') }}, {{ json_text('rows.item', 'frequency') }})
            as dividend_type,
        {{ json_text('rows.item', 'currency') }} as currency,
        {%- endif %}
        {%- for number in numbers %}
        events.{{ number }},
        {%- endfor %}
        cast(null as {{ text_type() }}) as timeframe,
        answers.window_start,
        answers.fetched_at,
        answers._dlt_load_id as load_id,
        rows.item as payload_row,
        rows.position
    from {{ source('raw_polygon', 'responses') }} as answers
    cross join lateral {{ json_items(json_member('answers.payload', 'results')) }} as rows (item, position)
    cross join lateral (
        select
            {%- for number, member in numbers.items() %}
            {{ json_decimal('rows.item', member) }} as {{ number }},
            {%- endfor %}
            {{ json_text('rows.item', 'ticker') }} as named,
            {{ date_from_text(json_text('rows.item', ex_date)) }} as ex_date
        {{ optimization_fence('answers.payload_sha') }}
    ) as events
    where answers.endpoint = '{{ endpoint }}' and answers.status = 'ok'
{%- endmacro %}

{# SQL query: Polygon's splits, and its dividends, one row per event and answer. #}
{% macro polygon_split_events() -%}
    {{ polygon_events('splits', 'execution_date', {'split_to': 'split_to', 'split_from': 'split_from'}) }}
{%- endmacro %}
{% macro polygon_dividend_events() -%}
    {{ polygon_events('dividends', 'ex_dividend_date', {'amount': 'cash_amount'}) }}
{%- endmacro %}
