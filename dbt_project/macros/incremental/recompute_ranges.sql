{#- No window looks further than this many bars back, and none of a bar's values is seen further than that ahead. -#}
{% macro longest_window() %}{{ return(450) }}{% endmacro %}

{# The bar that many valid bars before (descending) or after (ascending) a moment of a series; NULL if there are fewer.
   Bars live in two tables, and either alone reaches at least as far as both together, so each is asked. #}
{% macro bars_away(table, series_id, comparison, moment, direction) -%}
    (
        select case when count(*) = {{ longest_window() }} then {{ 'min' if direction == 'desc' else 'max' }}(reached.opened_at) end
        from (
            select bars.opened_at
            from {{ table }} as bars
            where bars.series_id = {{ series_id }} and bars.opened_at {{ comparison }} {{ moment }} and bars.is_valid
            order by bars.opened_at {{ direction }}
            limit {{ longest_window() }}
        ) as reached
    )
{%- endmacro %}
