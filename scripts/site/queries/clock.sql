-- The time that the marts go by: a WAREHOUSE_NOW given to dbt is frozen in their views, else it is now.
select
    cast(extract(epoch from max(newest_bar_closed_at + data_age_seconds * interval '1 second')) as bigint) as marts_now,
    cast(extract(epoch from current_timestamp) as bigint) as server_now
from marts.enrichment_status
