-- The circuit breaker of each source, as the last run of extract left it.
select
    source,
    upper(replace(state, '-', '_')) as breaker_state,
    failures as failures_in_a_row,
    opened_at,
    changed_at
from {{ source('ops', 'circuit_breaker') }}
