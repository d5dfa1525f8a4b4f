{# On-run-start: schemas ops and raw_* are as this version of the project needs them. They are written down in
   extract/migrations and applied by `market`: dbt only checks, so that no table has two definitions. A newer database is
   refused too: an older project would write into tables it does not know. #}
{% macro check_schema_version() %}
    {%- if execute and flags.WHICH in ['build', 'run', 'seed', 'snapshot', 'test'] -%}
        {%- set expected = var('schema_version') -%}
        {%- set found = none -%}
        {%- if not is_missing('ops', 'schema_migrations') -%}
            {%- set found = run_query('select max(version) from ops.schema_migrations').columns[0].values()[0] -%}
        {%- endif -%}
        {%- if found is none or found < expected -%}
            {{ exceptions.raise_compiler_error(
                'the tables of schemas ops and raw_* are ' ~ ('missing' if found is none else 'of version ' ~ found)
                ~ ', this project needs version ' ~ expected ~ ': run `market migrate` (`market extract` does it too)'
            ) }}
        {%- elif found > expected -%}
            {{ exceptions.raise_compiler_error(
                'the tables of schemas ops and raw_* are of version ' ~ found ~ ', newer than this project (' ~ expected
                ~ '): install the version of the product that migrated them'
            ) }}
        {%- endif -%}
    {%- endif -%}
{% endmacro %}
