-- Rows of answers that could not become a settlement, a sample or a forced order, with the reason and the row as it was received
-- (macros/answers/rows_of_answers.sql); marts.rejected_rows is made of them.
{%- set kinds = {
    'funding': (funding_rows(), 'settled_at', 'null'),
    'open_interest': (open_interest_rows(), 'sampled_at', 'period'),
    'long_short_ratio': (long_short_rows(), 'sampled_at', 'period'),
    'liquidation': (liquidation_rows(), 'traded_at', 'null'),
} %}
{% for kind, (rows, at, period) in kinds.items() -%}
select
    'binance' as source,
    '{{ kind }}' as kind,
    symbol,
    asset_class,
    cast(null as text) as ticker,
    cast({{ period }} as text) as timeframe,
    {{ at }} as timestamp,
    reject_reason,
    payload_row,
    window_start,
    fetched_at,
    load_id
from ({{ rows }}) as {{ kind }}_rows
where reject_reason is not null
{% if not loop.last %}union all{% endif %}
{% endfor %}
