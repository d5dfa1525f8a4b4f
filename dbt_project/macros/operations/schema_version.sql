{# On-run-start: schemas ops and raw_* are as this version of the project needs them. They are written down in
   extract/migrations and applied by `market`: dbt only checks, so that no table has two definitions. A newer database is
   refused too: an older project would write into tables it does not know. #}
{% macro check_schema_version() %}{{ return(adapter.dispatch('check_schema_version', 'market_warehouse')()) }}{% endmacro %}
{% macro default__check_schema_version() %}{% endmacro %}
{% macro postgres__check_schema_version() %}
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
        {%- do refuse_marks_of_unknown_models() -%}
    {%- endif -%}
{% endmacro %}

{# On-run-start: what views and seeds were last built from is not known any more once a build makes one of them; the run
   that built all of a project writes it down again (scripts/pipeline/build.py). #}
{% macro forget_project_state() %}{{ return(adapter.dispatch('forget_project_state', 'market_warehouse')()) }}{% endmacro %}
{% macro default__forget_project_state() %}{% endmacro %}
{% macro postgres__forget_project_state() %}
    {%- if execute and flags.WHICH in ['build', 'run', 'seed', 'retry'] -%}
        {%- set made = [] -%}
        {#- Up to the first one: dbt makes a dictionary of each node that is looked at. -#}
        {%- for id in selected_resources if not made and id.split('.')[0] in ['model', 'seed'] -%}
            {%- if graph.nodes[id].config.materialized in ['view', 'seed'] -%}{%- do made.append(id) -%}{%- endif -%}
        {%- endfor -%}
        {%- if made %}
    delete from ops.project_state
        {%- endif -%}
    {%- endif -%}
{% endmacro %}

{# A watermark that no model owns: its model was renamed, and would read everything again, or be taken for one that has read
   nothing; corrections were lost that way. #}
{% macro refuse_marks_of_unknown_models() %}
    {%- set known = [] -%}
    {%- for id in graph.nodes if id.split('.')[0] in ['model', 'snapshot'] -%}
        {#- A version's id ends in name.v2, its table in name_v2. -#}
        {%- do known.append(id.split('.')[2:] | join('_')) -%}
    {%- endfor -%}
    {%- set unknown = [] -%}
    {%- for mark in run_query('select model from ops.watermarks order by model').columns[0].values() if mark not in known -%}
        {%- do unknown.append(mark) -%}
    {%- endfor -%}
    {%- if unknown -%}
        {{ exceptions.raise_compiler_error(
            'ops.watermarks says how far ' ~ unknown | join(', ') ~ ' has worked, and no model has that name. After a rename: '
            ~ "update ops.watermarks set model = 'new name' where model = 'old name' (a migration does it for others);"
            ~ " of a model that was removed: delete from ops.watermarks where model = '...'"
        ) }}
    {%- endif -%}
{% endmacro %}
