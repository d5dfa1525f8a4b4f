-- Each source that was ever asked or is not closed, and how it has answered lately.
select
    source,
    breaker_state,
    cast(extract(epoch from breaker_state_since) as bigint) as breaker_state_since,
    cast(extract(epoch from blocked_until) as bigint) as blocked_until,
    cast(extract(epoch from last_request_at) as bigint) as last_request_at,
    cast(extract(epoch from last_success_at) as bigint) as last_success_at,
    cast(extract(epoch from last_error_at) as bigint) as last_error_at,
    last_error,
    requests,
    failed_requests,
    error_rate,
    p50_response_ms,
    p95_response_ms,
    quota_remaining
from marts.source_health
order by last_request_at is null, source
