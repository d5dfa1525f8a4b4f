{{ config(materialized='view') }}
-- How often two sources agree, over the compared values of the last 90 days that each pair has in common.
with

compared as (
    select
        source,
        other_source,
        resampled_from,
        asset_class,
        timestamp,
        verdict,
        is_against_consensus,
        basis,
        abs(difference_bp) as difference_bp
    from {{ ref('source_reconciliation') }}
),

newest as (
    select
        source,
        other_source,
        asset_class,
        max(timestamp) as newest_bar
    from compared
    group by source, other_source, asset_class
),

final as (
    select
        compared.source,
        compared.other_source,
        cast(coalesce(compared.resampled_from, '') as varchar(10)) as resampled_from,
        compared.asset_class,
        count(*) as compared_values,
        count(case when compared.verdict = 'differs' then 1 end) as differing_values,
        count(case when compared.is_against_consensus then 1 end) as values_against_consensus,
        cast(
            round(cast(percentile_cont(0.5) within group (order by compared.difference_bp) as numeric), 4)
            as numeric(18, 4)
        ) as median_difference_bp,
        cast(max(compared.difference_bp) as numeric(18, 4)) as max_difference_bp,
        max(compared.basis) as basis,
        max(compared.timestamp) as newest_bar
    from compared
    inner join newest
        on
            newest.source = compared.source
            and newest.other_source = compared.other_source
            and newest.asset_class = compared.asset_class
            and compared.timestamp > newest.newest_bar - interval '2160 hours'
    group by compared.source, compared.other_source, compared.resampled_from, compared.asset_class
)

select * from final
