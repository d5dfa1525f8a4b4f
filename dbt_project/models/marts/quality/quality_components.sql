{{ config(materialized='view') }}
-- The four parts of each bar's quality_score, and what they are counted from. Nothing here is stored twice: the parts
-- follow from the bar's own row, from when it was first seen, and from the bars that it was resampled of.
with

bars as (
    select
        market_data.*,
        series.series_id,
        series.first_fetched_at
    from {{ ref('market_data', v=2) }} as market_data
    inner join {{ ref('int_series') }} as series
        on
            series.symbol = market_data.symbol
            and series.asset_class = market_data.asset_class
            and series.timeframe = market_data.timeframe
),

counted as (
    select
        bars.id,
        bars.symbol,
        bars.asset_class,
        bars.timeframe,
        bars.timestamp,
        bars.session_date,
        bars.quality_score,
        bars.is_validated,
        bars.hlc3 is not null as is_in_windows,
        {{ bar_checks() | length + row_checks() | length }} as checks_made,
        case when observations.failed_checks is null then 0 else {{ bar_checks() | length }} end as bar_checks_failed,
        {{ row_checks_failed() }} as row_checks_failed,
        cast(
            greatest(
                0, {{ epoch_seconds('observations.first_seen_at') }} - {{ epoch_seconds('observations.closed_at') }}
            ) as bigint
        ) as seconds_to_first_sight,
        observations.closed_at <= bars.first_fetched_at as is_backfilled,
        {{ score_terms('observations') }}
    from bars
    inner join {{ ref('int_bars') }} as observations
        on observations.series_id = bars.series_id and observations.opened_at = bars.timestamp
    inner join {{ ref('freshness_sla') }} as sla on sla.asset_class = bars.asset_class
),

final as (
    select
        id,
        symbol,
        asset_class,
        timeframe,
        timestamp,
        session_date,
        quality_score,
        is_validated,
        parts_share * fields_present / fields_expected as fields_share,
        {{ double('checks_made - bar_checks_failed - row_checks_failed') }} / checks_made as checks_share,
        -- A feature that fails its check counts as missing; a bar outside the windows has none.
        {{ double('case when is_in_windows then greatest(features_present - row_checks_failed, 0) else 0 end') }}
        / greatest(features_present, 1) as features_share,
        {{ double('freshness') }} as freshness_share,
        cast(fields_expected as integer) as fields_expected,
        cast(fields_present as integer) as fields_present,
        cast(features_present as integer) as features_present,
        parts_share,
        seconds_to_first_sight,
        is_backfilled
    from counted
)

select * from final
