{{ config(materialized='view') }}
-- The compute log under its other public name, with the columns that older readers know.
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
