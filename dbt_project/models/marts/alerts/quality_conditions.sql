{{ config(materialized='view') }}
-- Which symbols are below the quality that is wanted, over the days of each rule's window; and whose prices and splits
-- contradict each other.
with

rules as (
    select
        alert_rules.*,
        coalesce(
            threshold,
            case rule
                when 'quality_score_low' then cast({{ var('min_quality_score') }} as numeric(20, 4))
                when 'completeness_low' then cast({{ var('min_data_completeness') }} as numeric(20, 4))
            end
        ) as wanted,
        {{ local_date(warehouse_now() ~ ' - ' ~ minutes('60 * window_hours'), "'UTC'") }} as since
    from {{ ref('alert_rules') }} as alert_rules
),

days as (
    select
        rules.rule,
        rules.wanted,
        metrics.symbol,
        metrics.asset_class,
        rules.since,
        sum(metrics.total_records) as bars,
        case rules.rule
            when 'validation_rate_low' then 100.0 * sum(metrics.validated_records)
            when 'quality_score_low' then sum(metrics.avg_quality_score * metrics.total_records)
            when 'completeness_low' then sum(metrics.data_completeness * metrics.total_records)
        end as total
    from {{ ref('data_quality_metrics') }} as metrics
    inner join rules
        on
            rules.rule in ('validation_rate_low', 'quality_score_low', 'completeness_low')
            and metrics.metric_date > rules.since
    group by rules.rule, rules.wanted, rules.since, metrics.symbol, metrics.asset_class
),

scored as (
    select
        *,
        round(total / bars, 4) as value
    from days
),

final as (
    select
        scored.rule,
        scored.asset_class || ' ' || scored.symbol as subject,
        cast(scored.value as numeric(20, 4)) as value,
        cast(scored.wanted as numeric(20, 4)) as threshold,
        replace(substr(scored.rule, 1, length(scored.rule) - 4), '_', ' ') || ' of ' || cast(scored.bars as text)
        || ' bars is ' || cast(round(scored.value, 2) as text) || ', wanted are ' || cast(scored.wanted as text)
        || {{ load_to_blame('invalid.load_id') }} as message
    from scored
    -- Only of the few that are alerted: the load that brought all bars which fail their checks.
    left join lateral (
        select {{ only_value('loads.load_id') }} as load_id
        from {{ ref('market_data', v=2) }} as bars
        inner join {{ ref('int_series') }} as series
            on
                series.symbol = bars.symbol
                and series.asset_class = bars.asset_class
                and series.timeframe = bars.timeframe
        inner join {{ ref('int_bar_revisions') }} as revisions
            on
                revisions.series_id = series.series_id
                and revisions.opened_at = bars.timestamp
                and revisions.source = bars.source
        inner join {{ ref('int_loads') }} as loads on loads.batch = revisions.batch
        where
            bars.symbol = scored.symbol
            and bars.asset_class = scored.asset_class
            and bars.session_date > scored.since
            and not bars.is_validated
            and revisions.source <> 'manual'
            and not exists (
                select 1
                from {{ ref('int_bar_revisions') }} as later
                where
                    later.series_id = revisions.series_id
                    and later.opened_at = revisions.opened_at
                    and later.source = revisions.source
                    and later.revision = revisions.revision + 1
            )
    ) as invalid on scored.rule = 'validation_rate_low' and scored.value < scored.wanted
    where scored.value < scored.wanted

    union all

    select
        rules.rule,
        suspicions.asset_class || ' ' || suspicions.symbol,
        cast(count(*) as numeric(20, 4)),
        cast(rules.threshold as numeric(20, 4)),
        'prices and splits contradict each other: ' || max(suspicions.suspicion) || ' on '
        || cast(max(suspicions.session_date) as text)
        || {{ load_to_blame(only_value('reported.load_id')) }}
    from {{ ref('split_suspicions') }} as suspicions
    -- The load that brought the day's bar as it is.
    left join lateral (
        select loads.load_id
        from {{ ref('market_data', v=2) }} as bars
        inner join {{ ref('int_series') }} as series
            on
                series.symbol = bars.symbol
                and series.asset_class = bars.asset_class
                and series.timeframe = bars.timeframe
        inner join {{ ref('int_bar_revisions') }} as revisions
            on
                revisions.series_id = series.series_id
                and revisions.opened_at = bars.timestamp
                and revisions.source = bars.source
        inner join {{ ref('int_loads') }} as loads on loads.batch = revisions.batch
        where
            bars.symbol = suspicions.symbol
            and bars.asset_class = suspicions.asset_class
            and bars.timeframe = {{ day_timeframe() }}
            and bars.session_date = suspicions.session_date
            and revisions.source <> 'manual'
        order by revisions.revision desc
        limit 1
    ) as reported on true
    inner join rules
        on
            rules.rule = 'split_suspicion'
            and suspicions.session_date > rules.since
    group by rules.rule, rules.threshold, suspicions.asset_class, suspicions.symbol
    having count(*) > rules.threshold
)

select * from final
