{{ config(materialized='view') }}
-- The compute log under the plan's name and with the plan's columns.
select
    id,
    symbol,
    asset_class,
    timeframe,
    computation_timestamp,
    features_computed,
    missing_fields,
    computation_time_ms,
    success,
    error_details,
    created_at
from {{ ref('enrichment_compute_log') }}
