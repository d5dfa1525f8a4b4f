{#- Windows of n bars by name, so that no offset is ever repeated. -#}

{# Sum over the n latest bars, the current one included, out of a running sum over all: exact where the running sum is,
   which decimals and integers are. #}
{% macro sum_of_last(n, running_sum, window) -%}
    {{ running_sum }} - lag({{ running_sum }}, {{ n }}, 0) over {{ window }}
{%- endmacro %}

{# The same over the n bars before the current one. #}
{% macro sum_of_previous(n, running_sum, window) -%}
    lag({{ running_sum }}, 1, 0) over {{ window }} - lag({{ running_sum }}, {{ n + 1 }}, 0) over {{ window }}
{%- endmacro %}

{# The greatest or least of the 5 latest bars. Larger windows are put together from these: a moving max() looks at its
   whole frame again for every row, which took a fifth of the time of all price features. #}
{% macro extreme_of_5(function, value, window) -%}
    {{ function }}(
        {{ value }}
        {%- for bars in range(1, 5) %},
        lag({{ value }}, {{ bars }}) over {{ window }}
        {%- endfor %}
    )
{%- endmacro %}
