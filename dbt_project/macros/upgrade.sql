{#-
  What a build does after a migration that has what is derived made again (extract/migrations: *_intermediate_rebuilt):
  the tables of schema intermediate are not there, the marks of their readers are 0, and the marts that readers look at
  keep their rows until the new ones are written in the same transaction.
-#}

{# Whether an incremental model that has rows has to work in everything again. #}
{% macro is_rebuilt_in_place(model) -%}
    {%- if not execute or starts_anew(model) or watermark(model) != 0 -%}{{ return(false) }}{%- endif -%}
    {%- set schema = 'intermediate' if model.startswith('int_') else 'marts' -%}
    {{ return(run_query('select 1 from ' ~ adapter.get_relation(database=target.database, schema=schema, identifier=model) ~ ' limit 1').rows | length > 0) }}
{%- endmacro %}

{# Pre-hook, in the model's own transaction: rows that a former version derived are deleted before all are written again. #}
{% macro delete_rows_of_former_version() %}
    {%- if is_rebuilt_in_place(this.identifier) %}
    delete from {{ this }}
    {%- endif %}
{% endmacro %}

{# On-run-end: what a former version derived is dropped once no view reads it. One that is still read, or that a reader
   holds, stays until a later build. #}
{% macro drop_what_a_former_version_derived() %}{{ return(adapter.dispatch('drop_what_a_former_version_derived', 'market_warehouse')()) }}{% endmacro %}
{% macro postgres__drop_what_a_former_version_derived() %}
    {%- if execute and flags.WHICH in ['build', 'run'] %}
    do $$
    begin
        if
            to_regnamespace('intermediate_previous') is not null
            and not exists (
                select 1
                from pg_depend as dependencies
                inner join pg_rewrite as rules on rules.oid = dependencies.objid
                inner join pg_class as readers on readers.oid = rules.ev_class
                inner join pg_class as sources on sources.oid = dependencies.refobjid
                where
                    sources.relnamespace = to_regnamespace('intermediate_previous')
                    and readers.relnamespace <> to_regnamespace('intermediate_previous')
            )
        then
            set local lock_timeout = '2s';
            drop schema intermediate_previous cascade;
        end if;
    exception when lock_not_available then
        raise notice 'schema intermediate_previous is still being read; the next build drops it';
    end $$
    {%- endif %}
{% endmacro %}
