{#-
  What a build does after a migration that has what is derived made again (extract/migrations: *_intermediate_rebuilt):
  the tables of schema intermediate are not there, the marks of their readers are 0, and the marts that readers look at
  keep their rows until the new ones are written in the same transaction.
-#}

{# Whether an incremental model that has rows has to process everything again: an upgrade asks for it, or its contract has a
   column that its table lacks. #}
{% macro is_rebuilt_in_place(model) -%}
    {%- if not execute or is_full_build(model) -%}{{ return(false) }}{%- endif -%}
    {%- if new_columns(model) -%}{{ return(true) }}{%- endif -%}
    {%- if watermark(model) != 0 -%}{{ return(false) }}{%- endif -%}
    {{ return(run_query('select 1 from ' ~ relation_of(model) ~ ' limit 1').rows | length > 0) }}
{%- endmacro %}

{# The columns of a model's contract that its table lacks: name -> type. #}
{% macro new_columns(model) -%}
    {%- set existing = adapter.get_columns_in_relation(relation_of(model)) | map(attribute='name') | list -%}
    {%- set missing = {} -%}
    {#- By its id, a version's being name.v2: dbt makes a dictionary of each node that is looked at, and all of them, for ten
       models in a build, took 6 % of its CPU. -#}
    {%- set ids = 'model.' ~ project_name ~ '.' -%}
    {%- set node = graph.nodes.get(ids ~ model) or graph.nodes.get(ids ~ model.rsplit('_v', 1) | join('.v')) -%}
    {%- if node and node.contract.enforced -%}
        {%- for column in node.columns.values() if column.name not in existing -%}
            {%- do missing.update({column.name: column.data_type}) -%}
        {%- endfor -%}
    {%- endif -%}
    {{ return(missing) }}
{%- endmacro %}

{# Pre-hook, in the model's own transaction, of a model that compares its rows with those it holds: a column that its
   contract has got is added, empty, before they are compared by it. #}
{% macro add_new_columns() %}
    {%- if is_incremental() %}
    {%- for name, data_type in new_columns(this.identifier).items() %}
    alter table {{ this }} add column {{ adapter.quote(name) }} {{ data_type }};
    {%- endfor %}
    {%- endif %}
{% endmacro %}

{# The table of a model of schema intermediate or marts; None where it is not there. #}
{% macro relation_of(model) -%}
    {%- set schema = 'intermediate' if model.startswith('int_') else 'marts' -%}
    {{ return(adapter.get_relation(database=target.database, schema=schema, identifier=model)) }}
{%- endmacro %}

{# Pre-hook, in the model's own transaction: rows that a former version derived are deleted before all are written again. #}
{% macro delete_rows_of_former_version() %}
    {%- if is_rebuilt_in_place(this.identifier) %}
    delete from {{ this }}
    {%- endif %}
{% endmacro %}

{# A view whose columns change, or a table that stays in place, gives way to a new one under its name: it is moved with
   its readers still reading it. Dropping it would drop them, and a build that breaks off after that left six marts away. #}
{% macro set_aside(relation) %}
    {%- set aside = api.Relation.create(
        database=relation.database,
        schema='former_version',
        identifier=relation.identifier[:40] ~ '_' ~ local_md5(relation.schema ~ invocation_id)[:8],
        type=relation.type,
    ) %}
    {% call statement('set_aside') -%}
        do $$
        begin
            create schema if not exists former_version;
        -- Another thread of the build made it meanwhile, which "if not exists" does not see: one of two models that gave way
        -- at once failed.
        exception when unique_violation then
            null;
        end $$;
        alter {{ relation.type }} {{ relation }} rename to {{ aside.identifier }};
        alter {{ relation.type }} {{ relation.incorporate(path={'identifier': aside.identifier}) }} set schema former_version
    {%- endcall %}
    {% do adapter.cache_renamed(relation, aside) %}
{% endmacro %}

{# On-run-end: what a former version left is dropped: an index that nothing needs any more, and schemas former_version... once no
   view reads them. What is still read, or locked by a reader, stays until a later build. #}
{% macro drop_what_a_former_version_left() %}{{ return(adapter.dispatch('drop_what_a_former_version_left', 'market_warehouse')()) }}{% endmacro %}
{% macro default__drop_what_a_former_version_left() %}{% endmacro %}
{% macro postgres__drop_what_a_former_version_left() %}
    {%- if execute and flags.WHICH in ['build', 'run'] %}
    do $$
    declare
        former text;
    begin
        set local lock_timeout = '2s';
        drop index if exists snapshots.market_data_history_dbt_scd_id;
        for former in
            select schemas.nspname
            from pg_namespace as schemas
            where
                schemas.nspname like 'former\_version%'
                and not exists (
                    select 1
                    from pg_depend as dependencies
                    inner join pg_rewrite as rules on rules.oid = dependencies.objid
                    inner join pg_class as readers on readers.oid = rules.ev_class
                    inner join pg_namespace as reading on reading.oid = readers.relnamespace
                    inner join pg_class as sources on sources.oid = dependencies.refobjid
                    where sources.relnamespace = schemas.oid and reading.nspname not like 'former\_version%'
                )
            order by schemas.nspname
        loop
            execute format('drop schema %I cascade', former);
        end loop;
    -- Another user's, where an administrator migrated: no reason for every build to end in an error.
    exception when lock_not_available or insufficient_privilege then
        raise notice 'what the former version left is still being read, or another user''s: a later build drops it';
    end $$
    {%- endif %}
{% endmacro %}
