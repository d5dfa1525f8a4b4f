-- One row per series.
with

sessions as (
    select
        symbol,
        asset_class,
        timeframe,
        sum(anomalies) as anomalies,
        string_agg(
            case state
                when 'complete' then 'c' when 'running' then 'c' when 'flawed' then 'f' when 'poor' then 'p'
                when 'missing' then 'm' else 'a'
            end,
            '' order by session_date
        ) as strip
    from marts.series_recent_sessions
    group by symbol, asset_class, timeframe
)

select
    status.symbol,
    status.asset_class,
    status.timeframe,
    status.is_enabled,
    status.is_fetched,
    status.bars,
    status.validated_bars,
    status.avg_quality_score,
    status.data_completeness,
    status.open_gaps,
    status.source_in_use,
    status.last_error,
    cast(extract(epoch from status.first_bar) as bigint) as first_bar,
    cast(extract(epoch from status.newest_bar) as bigint) as newest_bar,
    cast(extract(epoch from status.newest_bar_closed_at) as bigint) as closed_at,
    cast(extract(epoch from status.late_from) as bigint) as late_from,
    cast(extract(epoch from status.critical_from) as bigint) as critical_from,
    cast(extract(epoch from status.stale_from) as bigint) as stale_from,
    cast(extract(epoch from status.last_error_at) as bigint) as last_error_at,
    cast(extract(epoch from status.last_success_at) as bigint) as last_success_at,
    coalesce(sessions.anomalies, 0) as anomalies,
    coalesce(sessions.strip, '') as strip
from marts.enrichment_status as status
left join sessions using (symbol, asset_class, timeframe)
order by status.symbol, status.asset_class, status.timeframe
