{#- The rows of Coin Metrics' answers that are no bars; see rows_of_answers.sql. -#}

{# Native units that flowed to exchanges, by UTC day. A day whose flow is not there yet has no such member, or null: it is
   no row to reject. #}
{% macro inflow_rows() -%}
    select
        answers.symbol,
        answers.asset_class,
        numbers.day,
        numbers.exchange_inflow,
        answers.window_start,
        answers.fetched_at,
        answers._dlt_load_id as load_id,
        rows.item as payload_row,
        {{ first_reason({
            'about another symbol': names_another('answers.provider_symbol', json_text('rows.item', 'asset')),
            'no readable date': 'numbers.day is null',
            'outside the window that was asked for':
                'numbers.day < ' ~ local_date('answers.window_start', "'UTC'")
                ~ ' or numbers.day > ' ~ local_date('answers.window_end', "'UTC'"),
            'no readable inflow': 'numbers.exchange_inflow is null',
            'a negative inflow': 'numbers.exchange_inflow < 0',
            'an inflow above 1e18': 'numbers.exchange_inflow > 1e18',
        }) }} as reject_reason
    from {{ source('raw_coinmetrics', 'responses') }} as answers
    cross join lateral {{ json_items(json_member('answers.payload', 'data')) }} as rows (item, position)
    cross join lateral (
        select
            {{ date_from_text('substr(' ~ json_text('rows.item', 'time') ~ ', 1, 10)') }} as day,
            {{ json_decimal('rows.item', 'FlowInExNtv') }} as exchange_inflow
        {{ optimization_fence('answers.payload_sha') }}
    ) as numbers
    where
        answers.endpoint = 'exchange_inflow'
        and answers.status = 'ok'
        and ({{ json_text('rows.item', 'time') }} is null or {{ json_text('rows.item', 'FlowInExNtv') }} is not null)
{%- endmacro %}
