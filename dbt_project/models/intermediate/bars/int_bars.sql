{%- set columns = [
    'series_id', 'opened_at', 'closed_at', 'session_date', 'expected_no', 'source', 'open', 'high', 'low', 'close', 'volume',
    'taker_buy_volume', 'split_factor', 'is_valid', 'failed_checks'
] -%}
{{ config(materialized='view') }}
-- The bars of every series. Of a provider's own bar and one resampled of finer ones a valid one wins, then the one whose
-- source comes first in the order of the asset, then the provider's own.
-- No CTE, and the tables named twice: Postgres plans a view with a CTE on its own, and each run would read all bars to
-- compute a few.
select
    native.{{ columns | join(',\n    native.') }},
    case when resampled.series_id is null then native.revision else {{ revision_of_both('native', 'resampled') }} end as revision,
    native.first_seen_at,
    native.fetched_at,
    cast(null as varchar(10)) as base_timeframe,
    cast(null as integer) as bars_present,
    cast(null as integer) as bars_expected
from {{ ref('int_bars_selected') }} as native
left join {{ ref('int_bars_resampled') }} as resampled
    on
        resampled.series_id = native.series_id
        and resampled.opened_at = native.opened_at
        and resampled.is_active
where native.is_active and (resampled.series_id is null or not {{ resampled_wins() }})

union all

select
    resampled.{{ columns | join(',\n    resampled.') }},
    case
        when native.series_id is not null then {{ revision_of_both('resampled', 'native') }}
        when not resampled.is_replayed then 1
        else (
            select cast(coalesce(max(versions.revision), 1) as integer)
            from {{ ref('int_resampled_versions') }} as versions
            where versions.series_id = resampled.series_id and versions.opened_at = resampled.opened_at
        )
    end as revision,
    resampled.first_seen_at,
    resampled.fetched_at,
    resampled.base_timeframe,
    resampled.bars_present,
    resampled.bars_expected
from {{ ref('int_bars_resampled') }} as resampled
left join {{ ref('int_bars_selected') }} as native
    on
        native.series_id = resampled.series_id
        and native.opened_at = resampled.opened_at
        and native.is_active
where resampled.is_active and (native.series_id is null or {{ resampled_wins() }})
