-- What the alert rules have found so far, with what nobody is alerted of yet because it has not lasted long enough.
select
    alert_id,
    rule,
    severity,
    subject,
    value,
    threshold,
    message,
    owner,
    runbook,
    first_seen_at,
    fired_at,
    resolved_at,
    suppressed_until,
    notified_at,
    resolution_notified_at
from {{ source('ops', 'alerts') }}
