-- Rows that could not become a bar, by reason.
select
    source,
    reason,
    count(*) as rejected_rows,
    cast(extract(epoch from max(fetched_at)) as bigint) as last_at
from marts.rejected_bars
group by source, reason
order by rejected_rows desc
limit 20
