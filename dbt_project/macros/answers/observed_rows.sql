{#- What int_bars_observed asks of a row, each once. Columns are those of its CTE `ended`. -#}

{# Condition: the bar has no moment in common with the window that was asked for, so the answer is none to the question.
   Days count by their date and weeks by their Monday, since Polygon starts a window at the day or week that holds its
   start. The bar that runs while the answer is made may follow the window: it is asked for without being waited for. #}
{% macro is_outside_window() -%}
    case
        when step_minutes < 1440 then opened_at + {{ minutes('step_minutes') }} <= window_start
        when step_minutes < 10080
            then {{ local_date('opened_at', 'time_zone') }} < {{ local_date('window_start', 'time_zone') }}
        else {{ monday(local_date('opened_at', 'time_zone')) }} < {{ monday(local_date('window_start', 'time_zone')) }}
    end
    or (
        opened_at >= window_end
        and (
            opened_at > known_until
            or opened_at + {{ minutes('step_minutes') }} <= known_until
            or coalesce(is_over, false)
        )
    )
{%- endmacro %}

{# The price from which on a row is rejected. Adjusted for many reverse splits, an old price of Yahoo's may be far above
   what was paid (UVXY: 2e9). It is checked as traded (as_traded_price). #}
{% macro highest_price() -%}
    case when {{ is_source('source', sources('adjusts_for_splits')) }} then 1e18 else 1e9 end
{%- endmacro %}

{# Condition: rounding to the 10 decimals that are stored would change a price by more than 1e-6 of itself, which it can
   from 5e-5 down. Yahoo's prices of stocks are adjusted for splits, and rounded when that is undone. #}
{% macro is_price_too_fine() -%}
    least(abs(open), abs(high), abs(low), abs(close)) < 0.00005
    and not ({{ is_adjusted_by_source() }})
    and (
        {%- for price in ['open', 'high', 'low', 'close'] %}
        {{ 'or ' if not loop.first }}abs(round({{ price }}, 10) - {{ price }}) > abs({{ price }}) * 0.000001
        {%- endfor %}
    )
{%- endmacro %}

{# A reported price as it is stored: 10 decimals; a small one that the source has adjusted keeps all its digits. #}
{% macro at_stored_scale(price) -%}
    case
        when abs({{ price }}) < 0.00005 and {{ is_adjusted_by_source() }} then round({{ price }}, 20)
        else round({{ price }}, 10)
    end
{%- endmacro %}

{# Condition: the source's prices are adjusted for splits that came later. #}
{% macro is_adjusted_by_source() -%}
    {{ is_source('source', sources('adjusts_for_splits')) }} and asset_class <> 'crypto'
{%- endmacro %}

{# Post-hook: of two final rows of one answer on one bar the later one counts (Yahoo reports today's day twice, the second
   time with more trades). An earlier one that says something else is rejected. #}
{% macro reject_contradicted_rows() %}
    {%- set key = ['series_id', 'opened_at', 'source', 'batch', 'known_until', 'fetched_at', 'window_start'] -%}
    {%- set values = ['open', 'high', 'low', 'close', 'volume', 'taker_buy_volume'] -%}
    merge into {{ this }} as earlier
    using (
        select
            {%- for column in key + values %}
            rows.{{ column }},
            {%- endfor %}
            rows.payload_position as last_position,
            row_number() over (
                partition by rows.{{ key | join(', rows.') }} order by rows.payload_position desc
            ) as place
        from {{ this }} as rows
        inner join (
            select {{ key | join(', ') }}
            from {{ this }}
            where is_final
            group by {{ key | join(', ') }}
            having count(*) > 1
        ) as twice
            on
                rows.is_final
                {%- for column in key %}
                and rows.{{ column }} = twice.{{ column }}
                {%- endfor %}
    ) as latest
        on
            latest.place = 1
            and earlier.is_final
            and earlier.payload_position < latest.last_position
            {%- for column in key %}
            and earlier.{{ column }} = latest.{{ column }}
            {%- endfor %}
            and (
                {%- for value in values %}
                {{ 'or ' if not loop.first }}earlier.{{ value }} is distinct from latest.{{ value }}
                {%- endfor %}
            )
    when matched then
        update set
            reject_reason = 'contradicted by a later row of its answer',
            is_final = false,
            payload_row = {{ json_object({
                'open': 'earlier.open', 'high': 'earlier.high', 'low': 'earlier.low', 'close': 'earlier.close',
                'volume': 'earlier.volume', 'taker_buy_volume': 'earlier.taker_buy_volume'
            }) }}
            {%- for value in values %},
            {{ value }} = null
            {%- endfor %}
{% endmacro %}
