{% test unique_combination(model, columns) %}
{#- group by takes the order of the columns, so that Postgres can walk an index over them. NULLs count as equal. -#}
select
    {{ columns | join(', ') }},
    count(*) as times
from {{ model }}
group by {{ columns | join(', ') }}
having count(*) > 1
{% endtest %}
