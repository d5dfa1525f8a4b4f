-- Rows of answers that could not become an inflow of a day, with the reason and the row as it was received
-- (macros/answers/rows_of_answers.sql); marts.rejected_rows is made of them.
select
    'coinmetrics' as source,
    'exchange_inflow' as kind,
    symbol,
    asset_class,
    cast(null as text) as ticker,
    '1d' as timeframe,
    {{ local_instant('day', "'00:00'", "'UTC'") }} as timestamp,
    reject_reason,
    payload_row,
    window_start,
    fetched_at,
    load_id
from ({{ inflow_rows() }}) as inflow_rows
where reject_reason is not null
