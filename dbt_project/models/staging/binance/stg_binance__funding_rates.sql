-- One row per settlement. fundingTime jitters by up to 47 ms after the settlement: floored to the second before any
-- join. The REST answer does not report the interval between settlements; the archive's CSV does.
with

settlements as (
    {{ funding_rows() }}
)

select
    symbol,
    asset_class,
    settled_at,
    funding_rate,
    interval_hours,
    fetched_at,
    load_id
from settlements
where reject_reason is null
