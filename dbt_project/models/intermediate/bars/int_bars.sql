{{ config(materialized='view') }}
-- The bars of every series: a provider's own where it is valid, else the resampled one, else the provider's own flagged.
-- No CTE, and the tables named twice: Postgres plans a view with a CTE on its own, and each run would read all bars to
-- compute a few.
select
    native.series_id,
    native.opened_at,
    native.closed_at,
    native.session_date,
    native.slot_no,
    native.source,
    native.open,
    native.high,
    native.low,
    native.close,
    native.volume,
    native.taker_buy_volume,
    native.split_factor,
    native.is_valid,
    native.failed_checks,
    native.revision,
    native.first_seen_at,
    native.fetched_at,
    cast(null as varchar(10)) as base_timeframe
from {{ ref('int_bars_selected') }} as native
where
    native.is_listed
    and (
        native.is_valid
        or not exists (
            select 1
            from {{ ref('int_bars_resampled') }} as resampled
            where
                resampled.series_id = native.series_id
                and resampled.opened_at = native.opened_at
                and resampled.is_listed
                and resampled.is_valid
        )
    )

union all

select
    resampled.series_id,
    resampled.opened_at,
    resampled.closed_at,
    resampled.session_date,
    resampled.slot_no,
    resampled.source,
    resampled.open,
    resampled.high,
    resampled.low,
    resampled.close,
    resampled.volume,
    resampled.taker_buy_volume,
    resampled.split_factor,
    resampled.is_valid,
    resampled.failed_checks,
    resampled.revision,
    resampled.first_seen_at,
    resampled.fetched_at,
    resampled.base_timeframe
from {{ ref('int_bars_resampled') }} as resampled
left join {{ ref('int_bars_selected') }} as native
    on
        native.series_id = resampled.series_id
        and native.opened_at = resampled.opened_at
        and native.is_listed
where resampled.is_listed and (native.series_id is null or (resampled.is_valid and not native.is_valid))
