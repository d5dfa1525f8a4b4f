{#-
  Relations that readers hold on to stay, and are not recreated: Postgres drops a view with the relation that it reads, and
  dbt recreates views and tables in each build. enrichment_status was missing for two thirds of a build.
-#}

{# A view: left alone when its definition is unchanged, replaced in place when its columns are. One with other columns
   (an upgrade) is set aside: its readers read it until the same build replaces them. #}
{% materialization view, adapter='postgres' %}
    {%- set existing = load_cached_relation(this) -%}
    {%- if existing is none or not existing.is_view -%}
        {{ return(materialization_view_default()) }}
    {%- endif -%}
    {%- set target = this.incorporate(type='view') -%}
    {%- set fresh = make_intermediate_relation(target) -%}

    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}

    {% call statement('main') -%}
        {{ get_create_view_as_sql(fresh, sql) }}
    {%- endcall %}
    {%- if not has_same_columns(fresh, target) %}
        {% do set_aside(existing) %}
        {% do adapter.rename_relation(fresh, target) %}
    {%- else %}
        {%- if not has_same_definition(fresh, target) %}
            {% call statement('replace') -%}
                create or replace view {{ target }} as ({{ sql }})
            {%- endcall %}
        {%- endif %}
        {% call statement('tidy') -%}
            drop view {{ fresh }}
        {%- endcall %}
    {%- endif %}

    {% do apply_grants(target, config.get('grants'), should_revoke=should_revoke(existing, full_refresh_mode=True)) %}
    {% do persist_docs(target, model) %}
    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {{ adapter.commit() }}
    {{ run_hooks(post_hooks, inside_transaction=False) }}

    {{ return({'relations': [target]}) }}
{% endmaterialization %}

{# A table of few rows that views of marts read: rows that differ are written in one transaction, so that readers see the
   old ones until the new ones are there, and nobody waits. #}
{% materialization table_in_place, adapter='postgres' %}
    {%- set existing = load_cached_relation(this) -%}
    {%- if existing is none or not existing.is_table -%}
        {{ return(materialization_table_default()) }}
    {%- endif -%}
    {%- set target = this.incorporate(type='table') -%}
    {%- set fresh = make_temp_relation(target) -%}

    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}

    {% call statement('main') -%}
        {{ get_create_table_as_sql(True, fresh, sql) }}
    {%- endcall %}
    {%- if not has_same_columns(fresh, target) %}
        {% do set_aside(existing) %}
        {% call statement('make') -%}
            create table {{ target }} (like {{ fresh }})
        {%- endcall %}
        {% do create_indexes(target) %}
    {%- endif %}
    {%- if not has_same_rows(fresh, target) %}
        {% call statement('write') -%}
            delete from {{ target }};
            insert into {{ target }} select * from {{ fresh }}
        {%- endcall %}
    {%- endif %}
    {% call statement('tidy') -%}
        drop table {{ fresh }}
    {%- endcall %}

    {% do apply_grants(target, config.get('grants'), should_revoke=should_revoke(existing, full_refresh_mode=True)) %}
    {% do persist_docs(target, model) %}
    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {{ adapter.commit() }}
    {{ run_hooks(post_hooks, inside_transaction=False) }}

    {{ return({'relations': [target]}) }}
{% endmaterialization %}

{# Seeds get their rows again in every build. dbt would empty the table first, which waits for every reader that has an open
   transaction, and lets none in meanwhile; rows that are deleted are there for them until the new ones are. #}
{% macro postgres__truncate_relation(relation) -%}
    {% call statement('truncate_relation') -%}
        delete from {{ relation }}
    {%- endcall %}
{%- endmacro %}

{# dbt names the table of a seed with its database in a statement that has placeholders, so a % in that name would be one. #}
{% macro postgres__load_csv_rows(model, agate_table) -%}
    {%- set existing = adapter.get_columns_in_relation(this) | map(attribute='name') | list -%}
    {#- A seed that has got a column: dbt fills the table that a former version made. -#}
    {%- for name in agate_table.column_names if name not in existing -%}
        {%- do adapter.add_query(
            'alter table ' ~ this.include(database=false) ~ ' add column ' ~ adapter.quote(name) ~ ' ' ~ model['config']['column_types'][name]
        ) -%}
    {%- endfor -%}
    {%- set columns = get_seed_column_quoted_csv(model, agate_table.column_names) -%}
    {%- set statements = [] -%}
    {%- set row = '(' ~ (['%s'] * (agate_table.column_names | length)) | join(', ') ~ ')' -%}
    {%- for chunk in agate_table.rows | batch(get_batch_size()) -%}
        {%- set bindings = [] -%}
        {%- for values in chunk %}{% do bindings.extend(values) %}{% endfor -%}
        {%- set rows = ([row] * (chunk | length)) | join(', ') -%}
        {%- set sql = 'insert into ' ~ this.include(database=false) ~ ' (' ~ columns ~ ') values ' ~ rows -%}
        {%- do adapter.add_query(sql, bindings=bindings, abridge_sql_log=True) -%}
        {%- do statements.append(sql) -%}
    {%- endfor -%}
    {{ return(statements[0]) }}
{%- endmacro %}

{# Other engines: a table. #}
{% materialization table_in_place, default %}
    {{ return(materialization_table_default()) }}
{% endmaterialization %}

{# Whether two tables of the same columns hold the same rows, each as often. #}
{% macro has_same_rows(one, other) %}
    {%- set found = run_query(
        'select (select count(*) from ' ~ one ~ ') = (select count(*) from ' ~ other ~ ')'
        ~ ' and not exists (select * from ' ~ one ~ ' except all select * from ' ~ other ~ ')'
    ) -%}
    {{ return(found.rows[0][0]) }}
{% endmacro %}

{# Whether two relations have the same columns: names, types and order. #}
{% macro has_same_columns(one, other) %}
    {%- set found = run_query(
        'select ' ~ columns_in_catalog(one) ~ ' is not distinct from ' ~ columns_in_catalog(other)
    ) -%}
    {{ return(found.rows[0][0]) }}
{% endmacro %}

{# SQL: the columns of a relation, in order, with their types. #}
{% macro columns_in_catalog(relation) -%}
    (
        select array_agg(attname || ' ' || format_type(atttypid, atttypmod) || ' ' || attcollation order by attnum)
        from pg_attribute
        where attrelid = {{ in_catalog(relation) }} and attnum > 0 and not attisdropped
    )
{%- endmacro %}

{# Whether two views are defined alike, as Postgres understood them. #}
{% macro has_same_definition(one, other) %}
    {%- set found = run_query(
        'select pg_get_viewdef(' ~ in_catalog(one) ~ ') = pg_get_viewdef(' ~ in_catalog(other) ~ ')'
    ) -%}
    {{ return(found.rows[0][0]) }}
{% endmacro %}

{# SQL: the number of a relation in Postgres's catalogs. #}
{% macro in_catalog(relation) -%}
    cast('{{ relation.include(database=false) }}' as regclass)
{%- endmacro %}
