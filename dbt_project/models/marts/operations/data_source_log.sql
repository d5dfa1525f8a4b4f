{{ config(materialized='view') }}
-- The fetch log under its other public name, with the columns that older readers know.
select
    id,
    symbol,
    asset_class,
    source,
    timeframe,
    records_fetched,
    records_inserted,
    records_updated,
    fetch_timestamp,
    source_response_time_ms,
    success,
    error_details,
    api_quota_remaining,
    created_at
from {{ ref('enrichment_fetch_log') }}
