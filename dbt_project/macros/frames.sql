{# Window frames by name, so that no literal offset is ever repeated. `n` bars, the current one included. #}
{% macro last_bars(n) -%}
    rows between {{ n - 1 }} preceding and current row
{%- endmacro %}

{# The n bars before the current one. #}
{% macro previous_bars(n) -%}
    rows between {{ n }} preceding and 1 preceding
{%- endmacro %}
