-- The loads that `market quarantine` took out of force, and those that were put back.
select
    source,
    load_id,
    symbols,
    is_lifted,
    reason,
    changed_by,
    changed_at,
    committed_at,
    batch,
    registered_at,
    changed_in_batch
from {{ source('ops', 'quarantined_loads') }}
