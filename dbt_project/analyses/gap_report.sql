-- What is missing, summed up by series and verdict: how many bars, since when, and what can still be done about it.
select
    gaps.symbol,
    gaps.asset_class,
    gaps.timeframe,
    gaps.verdict,
    gaps.repair_state,
    count(*) as gaps,
    sum(gaps.missing_bars) as missing_bars,
    round(100.0 * sum(gaps.missing_bars) / nullif(max(status.bars) + sum(gaps.missing_bars), 0), 3) as percent_of_series,
    min(gaps.gap_from) as first_gap_from,
    max(gaps.gap_to) as last_gap_to,
    max(gaps.evidence) as evidence
from {{ ref('bar_gaps') }} as gaps
left join {{ ref('enrichment_status') }} as status
    on
        status.symbol = gaps.symbol
        and status.asset_class = gaps.asset_class
        and status.timeframe = gaps.timeframe
group by gaps.symbol, gaps.asset_class, gaps.timeframe, gaps.verdict, gaps.repair_state
order by
    sum(case when gaps.repair_state = 'open' then gaps.missing_bars else 0 end) desc,
    sum(gaps.missing_bars) desc,
    gaps.symbol asc
