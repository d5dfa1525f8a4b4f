{#-
  `dbt build --empty` checks a project against a database without reading the data: dbt shows models no row of their
  inputs. On a warehouse in use it must do no more than that. Left to itself dbt would stop at our aliases, replace views by
  such as show nothing, replace tables by empty ones, and run the hooks that note what was read.
-#}

{# dbt's own gives a limited relation an alias, after which no other may follow. The body of a view stays what it is. #}
{% macro ref() %}{{ return(shown_to_an_empty_run(builtins.ref(*varargs, **kwargs))) }}{% endmacro %}

{# As ref(). #}
{% macro source() %}{{ return(shown_to_an_empty_run(builtins.source(*varargs, **kwargs))) }}{% endmacro %}

{# What a model reads of a relation: on an --empty run nothing of it. #}
{% macro shown_to_an_empty_run(relation) -%}
    {%- if relation.limit is none -%}{{ return(relation) }}{%- endif -%}
    {%- if config.get('materialized') == 'view' -%}{{ return(relation.render()) }}{%- endif -%}
    {{ return(without_rows(relation)) }}
{%- endmacro %}

{# Post-hooks act on what a model has read, or note that it has: an --empty run read nothing. #}
{% macro run_hooks(hooks, inside_transaction=true) -%}
    {%- if not (flags.EMPTY and hooks == post_hooks) -%}
    {{ dbt.run_hooks(hooks, inside_transaction) }}
    {%- endif -%}
{%- endmacro %}

{# An --empty run builds a table with no rows, which shows that it can be built, and gives it those it had. What it would
   merge into an incremental model or a snapshot is dropped: int_splits takes a split that nobody tells any more for
   withdrawn, and would withdraw them all. #}
{% macro postgres__create_table_as(temporary, relation, sql) -%}
    {%- if flags.EMPTY and temporary and config.get('materialized') in ['incremental', 'snapshot'] -%}
        {%- set sql = 'select * from (' ~ sql ~ '\n) as of_nothing where false' -%}
    {%- endif -%}
    {{ dbt.postgres__create_table_as(temporary, relation, sql) }}
    {%- if flags.EMPTY and (not temporary or config.get('materialized') == 'table_in_place') %}
    {%- set kept = load_cached_relation(this) %}
    {%- if kept is not none and kept.is_table %}
    {%- set names = get_columns_in_query(sql) %}
    {%- if names == adapter.get_columns_in_relation(kept) | map(attribute='name') | list %}
    insert into {{ relation }} ({{ names | join(', ') }})
    select {{ names | join(', ') }}
    from {{ kept }};
    analyze {{ relation }};
    {%- elif config.get('materialized') in ['incremental', 'snapshot'] %}
    {{ exceptions.raise_compiler_error('--empty --full-refresh would lose the rows of ' ~ kept ~ ': its columns have changed. Leave out one of the two.') }}
    {%- endif %}
    {%- endif %}
    {%- endif %}
{%- endmacro %}
