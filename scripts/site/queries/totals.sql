-- The figures on top, over all series.
select
    count(*) as series,
    count(distinct (symbol, asset_class)) as symbols,
    sum(bars) as bars,
    sum(validated_bars) as validated_bars,
    sum(avg_quality_score * bars) / nullif(sum(bars), 0) as avg_quality_score,
    sum(data_completeness * bars) / nullif(sum(bars), 0) as data_completeness,
    sum(open_gaps) as open_gaps,
    (select count(*) from marts.data_corrections) as corrections,
    (select count(*) from marts.rejected_bars) as rejected_rows
from marts.enrichment_status
