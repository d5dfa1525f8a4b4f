{{ config(group='pipeline') }}
-- Columns of the staging views of a source that are not what the models that join them expect, or that are missing.
{% for name, kind in staging_views().items() -%}
{% set there = {} -%}
{% for column in adapter.get_columns_in_relation(ref(name)) if execute -%}
{% do there.update({column.name: column.dtype}) -%}
{% endfor -%}
{% set expected = staging_columns(kind) if execute else {} -%}
{% for column in (expected.keys() | list + there.keys() | list) | unique if expected.get(column) != there.get(column) -%}
select
    '{{ name }}' as view_name,
    '{{ column }}' as column_name,
    '{{ expected.get(column, 'none') }}' as expected,
    '{{ there.get(column, 'none') }}' as is_there
union all
{% endfor -%}
{% endfor -%}
select
    'none' as view_name,
    'none' as column_name,
    'none' as expected,
    'none' as is_there
where 1 = 0
