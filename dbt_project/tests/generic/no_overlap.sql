{% test no_overlap(model, key, starts, ends, includes_end=false) %}
with

ordered as (
    select
        *,
        max({{ ends }}) over (
            partition by {{ key | join(', ') }}
            order by {{ starts }}, {{ ends }}
            rows between unbounded preceding and 1 preceding
        ) as ended_before
    from {{ model }}
)

select *
from ordered
where {{ starts }} <{{ '=' if includes_end }} ended_before or {{ ends }} <{{ '' if includes_end else '=' }} {{ starts }}
{% endtest %}
