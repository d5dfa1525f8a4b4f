-- Per series its newest gaps as the text of a JSON array; '*' is the class of a gap of all symbols of a source.
select
    symbol,
    asset_class,
    timeframe,
    cast(json_agg(
        json_build_object(
            'gap_from', cast(extract(epoch from gap_from) as bigint),
            'gap_to', cast(extract(epoch from gap_to) as bigint),
            'missing', missing_bars,
            'verdict', verdict,
            'evidence', evidence,
            'state', repair_state
        ) order by gap_from
    ) as text) as events
from (
    select
        *,
        row_number() over (partition by symbol, asset_class, timeframe order by gap_from desc) as newest_first
    from marts.bar_gaps
) as numbered
where newest_first <= %(limit)s
group by symbol, asset_class, timeframe
