-- One row per asset and UTC day: native units that flowed to exchanges.
with

inflows as (
    {{ inflow_rows() }}
)

select
    symbol,
    asset_class,
    day,
    exchange_inflow,
    fetched_at,
    load_id
from inflows
where reject_reason is null
