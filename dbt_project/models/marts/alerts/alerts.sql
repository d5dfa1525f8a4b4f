{{ config(materialized='view') }}
-- Every alert that has fired, live: what was found, since when, until when, and when it was sent.
select
    rule,
    severity,
    subject,
    value,
    threshold,
    fired_at,
    resolved_at,
    notified_at,
    alert_id,
    message,
    owner,
    runbook,
    first_seen_at,
    suppressed_until,
    resolution_notified_at
from {{ ref('stg_ops__alerts') }}
where fired_at is not null
