{{ config(group='pipeline') }}
-- Columns of the staging views of a source that are not what the models that join them expect, or that are missing.
{%- set found = [] %}
{%- for view, kind in staging_views().items() %}
    {%- set relation = ref(view) %}
    {%- if execute %}
        {%- set expected = staging_columns(kind) %}
        {%- set there = {} %}
        {%- for column in adapter.get_columns_in_relation(relation) %}
            {%- do there.update({column.name: column.dtype}) %}
        {%- endfor %}
        {%- for column in expected if there.get(column) != expected[column] %}
            {%- do found.append((view, column, expected[column], there.get(column, 'none'))) %}
        {%- endfor %}
        {%- for column in there if column not in expected %}
            {%- do found.append((view, column, 'none', there[column])) %}
        {%- endfor %}
    {%- endif %}
{%- endfor %}
{% for view, column, expected, is_there in found -%}
select '{{ view }}' as view, '{{ column }}' as column_name, '{{ expected }}' as expected, '{{ is_there }}' as is_there
union all
{% endfor -%}
select 'none' as view, 'none' as column_name, 'none' as expected, 'none' as is_there
where 1 = 0
