-- Gaps that something can be done about, then the latest others.
select
    symbol,
    asset_class,
    timeframe,
    cast(extract(epoch from gap_from) as bigint) as gap_from,
    cast(extract(epoch from gap_to) as bigint) as gap_to,
    missing_bars,
    verdict,
    evidence,
    place,
    repair_state
from marts.bar_gaps
order by repair_state = 'open' desc, gap_from desc
limit 60
