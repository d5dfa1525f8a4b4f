{{ config(materialized='view') }}
-- How each source answered, hour by hour, in its last 48 hours of use: what the dashboard draws next to source_health.
with

answers as (
    select
        source,
        {{ epoch_seconds('fetch_timestamp') }} / 3600 * 3600 as hour_began,
        success,
        source_response_time_ms,
        breaker_state,
        max(fetch_timestamp) over (partition by source) as last_request_at
    from {{ ref('enrichment_fetch_log') }}
),

final as (
    select
        source,
        {{ instant_from_epoch('hour_began') }} as hour_starts_at,
        cast(count(*) as integer) as requests,
        cast(count(case when not success then 1 end) as integer) as failed_requests,
        cast(round(percentile_cont(0.5) within group (order by source_response_time_ms)) as integer) as p50_response_ms,
        cast(round(percentile_cont(0.95) within group (order by source_response_time_ms)) as integer) as p95_response_ms,
        case
            when count(case when breaker_state = 'OPEN' then 1 end) > 0 then 'OPEN'
            when count(case when breaker_state = 'HALF_OPEN' then 1 end) > 0 then 'HALF_OPEN'
            else 'CLOSED'
        end as worst_breaker_state
    from answers
    where hour_began > {{ epoch_seconds('last_request_at') }} - 48 * 3600
    group by source, hour_began
)

select * from final
