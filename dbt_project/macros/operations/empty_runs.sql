{# on-run-start: stops `dbt build --empty` before it touches anything. dbt would replace tables by such without rows and run
   the hooks that note what was read; on a warehouse in use that loses data. On an empty database a plain build does what
   --empty is for. #}
{% macro refuse_empty_runs() %}
    {%- if execute and flags.EMPTY -%}
        {{ exceptions.raise_compiler_error("--empty would replace tables by such without rows, so it is refused; nothing was changed. To try every model without data, build an empty database (PGDATABASE=scratch: market migrate, dbt build)") }}
    {%- endif -%}
{% endmacro %}
