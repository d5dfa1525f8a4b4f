-- What is used of each request budget, and until when a source has banned us. The name starts with the source's.
select
    budget,
    used,
    allowed,
    window_started_at,
    blocked_until,
    changed_at
from {{ source('ops', 'source_budget') }}
