-- In which run of market_data_v2, by its stamp, each quarantine of a load, or its lift, showed.
select
    written_at,
    source,
    load_id,
    symbols,
    is_lifted,
    changed_by
from {{ source('ops', 'processed_quarantines') }}
