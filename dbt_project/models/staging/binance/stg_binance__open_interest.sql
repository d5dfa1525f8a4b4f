-- One row per open-interest sample, in base units: the history endpoint, the point endpoint and the archive's metrics.
with

samples as (
    {{ open_interest_rows() }}
)

select
    symbol,
    asset_class,
    sampled_at,
    period,
    open_interest,
    origin,
    window_start,
    fetched_at,
    load_id
from samples
where reject_reason is null
