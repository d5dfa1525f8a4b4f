-- How far each incremental model has worked, as its last build left it.
select
    model,
    batch,
    advanced_at
from {{ source('ops', 'watermarks') }}
