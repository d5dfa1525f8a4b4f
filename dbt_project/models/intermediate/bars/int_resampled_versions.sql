{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        indexes=[{'columns': ['series_id', 'opened_at', 'revision'], 'unique': true}],
        pre_hook=["{{ require_full_input(ref('int_resampling_ranges')) }}", '{{ delete_resampled_versions() }}'],
        post_hook=["{{ advance_watermark([ref('int_resampling_ranges')]) }}", '{{ analyze() }}']
    )
}}
-- depends_on: {{ ref('int_series_fingerprints') }}
-- The versions that a resampled bar went through, of those whose base bars changed after the bar was over: one came late,
-- was amended or retracted, or an answer showed that what is missing had no trades. Replayed load by load from the
-- versions of the base bars, so that they do not depend on how often this model ran.
with

expected_bars as (
    select
        bars.series_id,
        bars.opened_at,
        bars.closed_at,
        bars.session_date,
        recompute_ranges.step_minutes,
        recompute_ranges.base_series_id,
        recompute_ranges.base_timeframe,
        recompute_ranges.base_step_minutes,
        recompute_ranges.base_first_expected_at,
        recompute_ranges.base_bars_expected
    from {{ ref('int_resampling_ranges') }} as recompute_ranges
    -- Day by day, by index: else each run would read the resampled bars of all time.
    inner join lateral (
        select resampled.series_id, resampled.opened_at, resampled.closed_at, resampled.session_date
        from {{ ref('int_bars_resampled') }} as resampled
        where
            resampled.series_id = recompute_ranges.series_id
            and resampled.opened_at >= recompute_ranges.reads_from
            and resampled.opened_at < recompute_ranges.reads_to
            and resampled.session_date = recompute_ranges.bar_date
            and resampled.is_replayed
            and resampled.is_active
        {{ optimization_fence() }}
    ) as bars on true
),

expected_to_date as (
    select series_id, base_series_id, opened_at, closed_at, session_date, step_minutes
    from expected_bars
),

{{ date_ends_of_targets() }}

base_bars as (
    select
        expected_bars.series_id as target_series_id,
        expected_bars.opened_at as target_opened_at,
        dated.over_in_batch,
        bars.*
    from expected_bars
    -- An outer join and a case, because Postgres expects one row of an inner one: it then compared the as-of times of all bars
    -- with the states of all.
    left join dated
        on
            dated.series_id = expected_bars.series_id
            and dated.base_series_id = expected_bars.base_series_id
            and dated.opened_at = expected_bars.opened_at
    inner join lateral (
        select *
        from {{ ref('int_bars_selected') }} as base
        where
            base.series_id = expected_bars.base_series_id
            and base.opened_at >= expected_bars.opened_at
            and base.opened_at < expected_bars.closed_at
            and base.is_active
        {{ optimization_fence() }}
    ) as bars on true
    where case when dated.over_in_batch is not null then true end
),

-- Each base bar as it was from one load to the next.
versions as (
    select
        target_series_id, target_opened_at, over_in_batch, series_id, opened_at, closed_at, batch, is_valid,
        is_retracted, source, source_rank, open, high, low, close, volume, taker_buy_volume, split_factor, revision,
        first_seen_at, fetched_at
    from base_bars
    where revision = 1

    union all

    select
        base_bars.target_series_id, base_bars.target_opened_at, base_bars.over_in_batch, base_bars.series_id, base_bars.opened_at,
        base_bars.closed_at, versions.batch, versions.failed_checks is null, versions.is_retracted,
        versions.source, versions.source_rank,
        -- As int_bars_selected stores them.
        cast(versions.open as numeric(19, 10)),
        cast(versions.high as numeric(19, 10)),
        cast(versions.low as numeric(19, 10)),
        cast(versions.close as numeric(19, 10)),
        cast(versions.volume as numeric(28, 8)),
        cast(versions.taker_buy_volume as numeric(28, 8)),
        versions.split_factor, versions.revision, versions.first_seen_at, versions.fetched_at
    from base_bars
    inner join {{ ref('int_bar_versions') }} as versions
        on versions.series_id = base_bars.series_id and versions.opened_at = base_bars.opened_at
    where base_bars.revision > 1
),

superseded as (
    select
        *,
        lead(batch) over (
            partition by target_series_id, target_opened_at, series_id, opened_at order by revision
        ) as superseded_in
    from versions
),

-- What happened before the bar was over is no change of it.
states as (
    select
        *,
        greatest(batch, over_in_batch) as from_batch,
        case
            when superseded_in is null then {{ in_force() }}
            else greatest(superseded_in, over_in_batch)
        end as to_batch
    from superseded
),

-- The base bars that had no trades, as it was known from one load to the next.
quiet as (
    select
        expected_bars.series_id as target_series_id,
        expected_bars.opened_at as target_opened_at,
        expected_bars.base_series_id as series_id,
        quiet.opened_at,
        greatest(quiet.from_batch, dated.over_in_batch) as from_batch,
        greatest(quiet.to_batch, dated.over_in_batch) as to_batch
    from expected_bars
    inner join dated
        on
            dated.series_id = expected_bars.series_id
            and dated.base_series_id = expected_bars.base_series_id
            and dated.opened_at = expected_bars.opened_at
            and dated.over_in_batch is not null
    {{ bars_without_trades(
        'expected_bars.base_series_id', 'expected_bars.base_step_minutes', 'expected_bars.session_date',
        'expected_bars.step_minutes'
    ) }}
    where
        quiet.opened_at >= expected_bars.opened_at
        and quiet.opened_at < expected_bars.closed_at
        and quiet.to_batch > dated.over_in_batch
),

as_of_times as (
    select target_series_id, target_opened_at, from_batch as batch
    from states
    union
    select target_series_id, target_opened_at, from_batch
    from quiet
    union
    select target_series_id, target_opened_at, to_batch
    from quiet
    where to_batch < {{ in_force() }}
),

parts as (
    select
        as_of_times.batch as as_of_batch,
        expected_bars.series_id,
        expected_bars.opened_at,
        expected_bars.closed_at,
        expected_bars.session_date,
        expected_bars.step_minutes,
        expected_bars.base_timeframe,
        expected_bars.base_step_minutes,
        expected_bars.base_first_expected_at,
        expected_bars.base_bars_expected,
        states.opened_at as base_opened_at,
        states.closed_at as base_closed_at,
        states.is_valid,
        states.is_retracted,
        false as has_no_trades,
        states.source,
        states.source_rank,
        states.open,
        states.high,
        states.low,
        states.close,
        states.volume,
        states.taker_buy_volume,
        states.split_factor,
        states.revision,
        states.batch as first_batch,
        states.batch,
        states.first_seen_at,
        states.fetched_at
    from as_of_times
    inner join states
        on
            states.target_series_id = as_of_times.target_series_id
            and states.target_opened_at = as_of_times.target_opened_at
            and states.from_batch <= as_of_times.batch
            and states.to_batch > as_of_times.batch
    inner join expected_bars
        on
            expected_bars.series_id = states.target_series_id
            and expected_bars.opened_at = states.target_opened_at
            and expected_bars.base_series_id = states.series_id

    union all

    select
        as_of_times.batch, expected_bars.series_id, expected_bars.opened_at, expected_bars.closed_at,
        expected_bars.session_date, expected_bars.step_minutes, expected_bars.base_timeframe, expected_bars.base_step_minutes,
        expected_bars.base_first_expected_at, expected_bars.base_bars_expected, quiet.opened_at, null,
        false, false, true, null, null, null, null, null, null, null, null, null, null, quiet.from_batch, quiet.from_batch,
        null, null
    from as_of_times
    inner join quiet
        on
            quiet.target_series_id = as_of_times.target_series_id
            and quiet.target_opened_at = as_of_times.target_opened_at
            and quiet.from_batch <= as_of_times.batch
            and quiet.to_batch > as_of_times.batch
    inner join expected_bars
        on
            expected_bars.series_id = quiet.target_series_id
            and expected_bars.opened_at = quiet.target_opened_at
            and expected_bars.base_series_id = quiet.series_id
),

{{ aggregate_parts(
    ['as_of_batch', 'series_id', 'opened_at', 'base_step_minutes'],
    ['closed_at', 'session_date', 'step_minutes', 'base_timeframe', 'base_first_expected_at', 'base_bars_expected'],
) }}

expected as (
    select
        *,
        {{ room_for_base_bars() }} - bars_without_trades as bars_expected
    from aggregated
),

verdicts as (
    select
        *,
        {{ failed_resampling_checks() }} is null as is_valid
    from expected
),

ranked as (
    select
        *,
        row_number() over (
            partition by series_id, opened_at, as_of_batch
            order by case when is_valid then 0 else 1 end, base_step_minutes
        ) as place
    from verdicts
),

typed as (
    select
        as_of_batch,
        series_id,
        opened_at,
        session_date,
        cast(source as varchar(20)) as source,
        cast(source_rank as integer) as source_rank,
        {{ fits('open', 19, 10) }} as open,
        {{ fits('high', 19, 10) }} as high,
        {{ fits('low', 19, 10) }} as low,
        {{ fits('close', 19, 10) }} as close,
        {{ fits('volume', 28, 8) }} as volume,
        {{ fits('taker_buy_volume', 28, 8) }} as taker_buy_volume,
        is_valid,
        parts_amended
    from ranked
    where place = 1
),

compared as (
    select
        *,
        not ( -- noqa: LT01, LT06
            {%- for column in versioned_columns() %}
            {{ 'and ' if not loop.first }}lag({{ column }}) over over_time is not distinct from {{ column }}
            {%- endfor %}
        ) as is_new_version
    from typed
    window over_time as (partition by series_id, opened_at order by as_of_batch)
),

final as (
    select
        series_id,
        opened_at,
        session_date,
        cast(row_number() over over_time as integer) as revision,
        cast(as_of_batch as integer) as batch,
        source,
        source_rank,
        open,
        high,
        low,
        close,
        volume,
        taker_buy_volume,
        is_valid,
        cast(parts_amended as integer) as parts_amended
    from compared
    where is_new_version
    window over_time as (partition by series_id, opened_at order by as_of_batch)
)

select * from final
