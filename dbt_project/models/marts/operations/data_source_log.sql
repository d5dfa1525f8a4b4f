{{ config(materialized='view') }}
-- The fetch log under the plan's name and with the plan's columns.
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
