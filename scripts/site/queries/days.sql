-- The last 30 days with bars, over all symbols.
select *
from (
    select
        metric_date,
        sum(total_records) as bars,
        sum(validated_records) as validated_bars,
        sum(avg_quality_score * total_records) / nullif(sum(total_records), 0) as avg_quality_score,
        sum(data_completeness * total_records) / nullif(sum(total_records), 0) as data_completeness
    from marts.data_quality_metrics
    group by metric_date
    order by metric_date desc
    limit 30
) as newest
order by metric_date
