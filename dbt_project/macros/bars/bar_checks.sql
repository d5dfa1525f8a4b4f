{#- The hard checks of a bar (what the data of real markets must keep): the names of those it fails, '; ' between
    them, NULL when it passes all. Each is stated once, here. -#}

{# Condition: the source of a bar reports no volume in the unit of its column (Yahoo reports a coin's in dollars). A bar that
   was made of such bars has none either, nor one that was corrected by hand. An index is traded nowhere: it has none at all. #}
{% macro has_no_volume(row='') -%}
    (
        {{ row }}asset_class = 'index'
        or {{ row }}asset_class = 'crypto'
        and {{ holds_source(row ~ 'source', sources('reports_no_coin_volume') + ['manual']) }}
    )
{%- endmacro %}

{% macro bar_checks() -%}
    {{ return({
        'price missing': 'open is null or high is null or low is null or close is null',
        'volume missing': 'volume is null and not ' ~ has_no_volume(),
        'high below low': 'high < low',
        'high below open or close': 'high < open or high < close',
        'low above open or close': 'low > open or low > close',
        'price not positive': 'open <= 0 or high <= 0 or low <= 0 or close <= 0',
        'volume negative': 'volume < 0',
        'taker volume outside volume': 'taker_buy_volume < 0 or taker_buy_volume > volume',
    }) }}
{%- endmacro %}

{% macro failed_bar_checks() -%}
    nullif(concat_ws(
        '; '
        {%- for name, condition in bar_checks().items() %},
        case when {{ condition }} then '{{ name }}' end
        {%- endfor %}
    ), '')
{%- endmacro %}

{# Condition: the bar is none whatever else is known of it: a price is missing, or its numbers contradict each other. A volume
   alone may be what its source never has. #}
{% macro is_no_bar() -%}
    {%- for name, condition in bar_checks().items() if name != 'volume missing' %}
    {{ 'or ' if not loop.first }}{{ condition }}
    {%- endfor %}
{%- endmacro %}
