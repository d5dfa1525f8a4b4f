{{ config(materialized='view') }}
-- How old the newest bar of each run was when readers of the mart had it, against what was promised.
with

latencies as (
    select
        latencies.*,
        {{ epoch_seconds('latencies.in_mart_at') }} - {{ epoch_seconds('latencies.newest_bar_closed_at') }} as latency,
        coalesce(delays.delay_seconds, 0) as delay
    from {{ ref('stg_ops__run_latencies') }} as latencies
    left join {{ ref('source_delays') }} as delays
        on delays.source = latencies.source and delays.asset_class = latencies.asset_class
)

select
    latencies.run_id,
    latencies.asset_class,
    latencies.source,
    latencies.newest_bar_closed_at,
    latencies.in_mart_at,
    latencies.is_turn,
    {{ double('latencies.latency') }} as latency_seconds,
    cast(latencies.delay as integer) as delay_seconds,
    sla.target_seconds,
    sla.critical_seconds,
    latencies.latency - latencies.delay <= sla.target_seconds as is_on_time
from latencies
inner join {{ ref('freshness_sla') }} as sla on sla.asset_class = latencies.asset_class
