-- Rows of answers that could not become a split or a dividend, with the reason and the row as it was received
-- (macros/rows_of_answers.sql); marts.rejected_rows is made of them.
{% for kind, rows in {'split': split_rows('polygon'), 'dividend': dividend_rows('polygon')}.items() -%}
select
    source,
    '{{ kind }}' as kind,
    symbol,
    asset_class,
    ticker,
    timeframe,
    {{ local_instant('ex_date', "'00:00'", "'UTC'") }} as timestamp,
    reject_reason,
    payload_row,
    window_start,
    fetched_at,
    load_id
from ({{ rows }}) as {{ kind }}_rows
where reject_reason is not null
{% if not loop.last %}union all{% endif %}
{% endfor %}
