-- What is wrong now, then what was.
select
    rule,
    severity,
    subject,
    value,
    threshold,
    message,
    runbook,
    cast(extract(epoch from fired_at) as bigint) as fired_at,
    cast(extract(epoch from resolved_at) as bigint) as resolved_at,
    cast(extract(epoch from notified_at) as bigint) as notified_at
from marts.alerts
order by resolved_at is not null, severity <> 'critical', fired_at desc
limit 60
