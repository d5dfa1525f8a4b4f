{#- How dbt makes relations on Spark: Iceberg tables in a catalog that knows views. -#}

{# A view; a table where its SQL names a window: the catalog of Iceberg takes such a view, and then nobody can read it. #}
{% materialization view, adapter='spark' %}
    {%- if modules.re.search('(?i)\\bwindow\\s+\\w+\\s+as\\s*\\(', sql) -%}
        {{ return(materialization_table_spark()) }}
    {%- endif -%}
    {{ return(create_or_replace_view()) }}
{% endmaterialization %}

{# Nobody reads what a build replaces there: a commit replaces a whole table. #}
{% materialization table_in_place, adapter='spark' %}
    {{ return(materialization_table_spark()) }}
{% endmaterialization %}

{# The contract's types are Postgres'; the models cast to them, or to what stands for them. #}
{% macro spark__get_assert_columns_equivalent(sql) -%}{%- endmacro %}

{# Descriptions are in the project, and in Postgres, where analysts read. #}
{% macro spark__persist_docs(relation, model, for_relation=true, for_columns=true) -%}{%- endmacro %}
