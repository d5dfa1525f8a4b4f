-- The last 48 hours of use of each source.
select
    source,
    cast(extract(epoch from hour_starts_at) as bigint) as hour,
    requests,
    failed_requests,
    p50_response_ms,
    worst_breaker_state
from marts.source_health_by_hour
order by source, hour_starts_at
