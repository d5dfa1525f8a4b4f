{#- Writing only what differs: a run without news writes no row and touches no timestamp. -#}

{# Condition: the row is new, or one of its columns differs from the row that is kept under the same key. #}
{% macro differs(row, kept, key, columns) -%}
    (
        {{ kept }}.{{ key }} is null
        {%- for column in columns %}
        or {{ row }}.{{ column }} is distinct from {{ kept }}.{{ column }}
        {%- endfor %}
    )
{%- endmacro %}
