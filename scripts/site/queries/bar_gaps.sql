-- The gaps of a symbol.
select
    timeframe,
    cast(extract(epoch from gap_from) as bigint) as gap_from,
    cast(extract(epoch from gap_to) as bigint) as gap_to,
    missing_bars as missing,
    verdict,
    evidence,
    repair_state as state
from marts.bar_gaps
where symbol = %(symbol)s and asset_class = %(asset_class)s
order by timeframe, gap_from
