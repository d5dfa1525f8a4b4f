-- One row per sample of the share of all accounts that are long. The archive's metrics give the ratio long / short
-- only: r / (1 + r) is the same share.
with

samples as (
    {{ long_short_rows() }}
)

select
    symbol,
    asset_class,
    sampled_at,
    period,
    long_account,
    short_account,
    origin,
    window_start,
    fetched_at,
    load_id
from samples
where reject_reason is null
