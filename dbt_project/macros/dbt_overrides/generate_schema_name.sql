{#- A model's schema is the one its folder names, the same for everybody: marts.market_data_v2 is that on every machine. -#}
{% macro generate_schema_name(custom_schema_name, node) -%}
    {{ custom_schema_name or target.schema }}
{%- endmacro %}
