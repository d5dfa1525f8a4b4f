{{ config(materialized='view') }}
-- Every bar row that any source ever sent, finished or not, in one shape; corrections by hand are a source too.
{%- set models = var('sources').values() | map(attribute='bars', default=[]) | sum(start=[]) + ['stg_ops__manual_corrections'] %}
{% for model in models %}
select
    source,
    symbol,
    asset_class,
    timeframe,
    opened_at,
    open,
    high,
    low,
    close,
    volume,
    taker_buy_volume,
    payload_row,
    window_start,
    window_end,
    known_until,
    is_in_progress,
    fetched_at,
    load_id,
    payload_position,
    {{ 'is_withdrawal' if model == 'stg_ops__manual_corrections' else 'false as is_withdrawal' }}
from {{ ref(model) }}
{% if not loop.last %}union all{% endif %}
{% endfor %}
