{% test no_rows_where(model, expression) %}
select *
from {{ model }}
where {{ expression }}
{% endtest %}
