{#-
  A formula was corrected: `make rebuild SELECT="atr"` (dbt build --vars '{rebuild: atr}') computes every bar again and
  writes the rows that differ, what sources reported meanwhile included; data_corrections shows each changed value of a named
  feature as a bug_fix. Without it an increment would give new bars the new formula and leave the old ones the old one.
-#}

{# The features that this run rebuilds; empty on an ordinary run. #}
{% macro rebuilt_features() -%}
    {%- set rebuilt = var('rebuild').replace(',', ' ').split() -%}
    {%- for feature in rebuilt if execute and feature not in features() -%}
        {{ exceptions.raise_compiler_error("rebuild: " ~ feature ~ " is not a feature; the features are " ~ features() | join(', ')) }}
    {%- endfor -%}
    {{ return(rebuilt) }}
{%- endmacro %}
