{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        indexes=[{'columns': ['series_id', 'opened_at', 'revision'], 'unique': true}],
        pre_hook=["{{ require_whole('int_resampling_frontier') }}", '{{ delete_resampled_versions() }}'],
        post_hook=["{{ advance_watermark(['int_resampling_frontier']) }}", '{{ analyze() }}']
    )
}}
-- depends_on: {{ ref('int_series_rules') }}
-- The versions that a resampled bar went through, of those whose base bars changed after the bar was over: one came late,
-- was amended or retracted, or an answer showed that what is missing had no trades. Replayed load by load from the
-- versions of the base bars, so that they do not depend on how often this model ran.
with

slots as (
    select
        bars.series_id,
        bars.opened_at,
        bars.closed_at,
        bars.session_date,
        frontier.step_minutes,
        frontier.base_series_id,
        frontier.base_timeframe,
        frontier.base_step_minutes,
        frontier.base_first_slot_at,
        frontier.base_slots
    from {{ ref('int_resampling_frontier') }} as frontier
    -- Day by day, by index: else each run would read the resampled bars of all time.
    inner join lateral (
        select resampled.series_id, resampled.opened_at, resampled.closed_at, resampled.session_date
        from {{ ref('int_bars_resampled') }} as resampled
        where
            resampled.series_id = frontier.series_id
            and resampled.opened_at >= frontier.reads_from
            and resampled.opened_at < frontier.reads_to
            and resampled.session_date = frontier.slot_date
            and resampled.is_replayed
            and resampled.is_listed
        {{ compute_once() }}
    ) as bars on true
),

slots_to_date as (
    select series_id, base_series_id, opened_at, closed_at, session_date, step_minutes
    from slots
),

{{ date_ends_of_slots() }}

base_bars as (
    select
        slots.series_id as slot_series_id,
        slots.opened_at as slot_opened_at,
        dated.over_in_load,
        bars.*
    from slots
    -- An outer join and a case, because Postgres expects one row of an inner one: it then held the moments of all bars
    -- against the states of all.
    left join dated
        on
            dated.series_id = slots.series_id
            and dated.base_series_id = slots.base_series_id
            and dated.opened_at = slots.opened_at
    inner join lateral (
        select *
        from {{ ref('int_bars_selected') }} as base
        where
            base.series_id = slots.base_series_id
            and base.opened_at >= slots.opened_at
            and base.opened_at < slots.closed_at
            and base.is_listed
        {{ compute_once() }}
    ) as bars on true
    where case when dated.over_in_load is not null then true end
),

-- Each base bar as it was from one load to the next.
versions as (
    select
        slot_series_id, slot_opened_at, over_in_load, series_id, opened_at, closed_at, load_no, is_valid,
        is_withdrawn, source, source_place, open, high, low, close, volume, taker_buy_volume, split_factor, revision,
        first_seen_at, fetched_at
    from base_bars
    where revision = 1

    union all

    select
        base_bars.slot_series_id, base_bars.slot_opened_at, base_bars.over_in_load, base_bars.series_id, base_bars.opened_at,
        base_bars.closed_at, versions.load_no, versions.failed_checks is null, versions.is_withdrawn,
        versions.source, versions.source_place,
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
        lead(load_no) over (
            partition by slot_series_id, slot_opened_at, series_id, opened_at order by revision
        ) as superseded_in
    from versions
),

-- What happened before the bar was over is no change of it.
states as (
    select
        *,
        greatest(load_no, over_in_load) as from_load,
        case
            when superseded_in is null then {{ in_force() }}
            else greatest(superseded_in, over_in_load)
        end as to_load
    from superseded
),

-- The base bars that had no trades, as it was known from one load to the next.
quiet as (
    select
        slots.series_id as slot_series_id,
        slots.opened_at as slot_opened_at,
        slots.base_series_id as series_id,
        quiet.opened_at,
        greatest(quiet.from_load, dated.over_in_load) as from_load,
        greatest(quiet.to_load, dated.over_in_load) as to_load
    from slots
    inner join dated
        on
            dated.series_id = slots.series_id
            and dated.base_series_id = slots.base_series_id
            and dated.opened_at = slots.opened_at
            and dated.over_in_load is not null
    {{ bars_without_trades('slots.base_series_id', 'slots.base_step_minutes', 'slots.session_date', 'slots.step_minutes') }}
    where
        quiet.opened_at >= slots.opened_at
        and quiet.opened_at < slots.closed_at
        and quiet.to_load > dated.over_in_load
),

moments as (
    select slot_series_id, slot_opened_at, from_load as load_no
    from states
    union
    select slot_series_id, slot_opened_at, from_load
    from quiet
    union
    select slot_series_id, slot_opened_at, to_load
    from quiet
    where to_load < {{ in_force() }}
),

parts as (
    select
        moments.load_no as as_of_load,
        slots.series_id,
        slots.opened_at,
        slots.closed_at,
        slots.session_date,
        slots.step_minutes,
        slots.base_timeframe,
        slots.base_step_minutes,
        slots.base_first_slot_at,
        slots.base_slots,
        states.opened_at as base_opened_at,
        states.closed_at as base_closed_at,
        states.is_valid,
        states.is_withdrawn,
        false as has_no_trades,
        states.source,
        states.source_place,
        states.open,
        states.high,
        states.low,
        states.close,
        states.volume,
        states.taker_buy_volume,
        states.split_factor,
        states.revision,
        states.load_no as first_load_no,
        states.load_no,
        states.first_seen_at,
        states.fetched_at
    from moments
    inner join states
        on
            states.slot_series_id = moments.slot_series_id
            and states.slot_opened_at = moments.slot_opened_at
            and states.from_load <= moments.load_no
            and states.to_load > moments.load_no
    inner join slots
        on
            slots.series_id = states.slot_series_id
            and slots.opened_at = states.slot_opened_at
            and slots.base_series_id = states.series_id

    union all

    select
        moments.load_no, slots.series_id, slots.opened_at, slots.closed_at, slots.session_date, slots.step_minutes,
        slots.base_timeframe, slots.base_step_minutes, slots.base_first_slot_at, slots.base_slots, quiet.opened_at, null,
        false, false, true, null, null, null, null, null, null, null, null, null, null, quiet.from_load, quiet.from_load,
        null, null
    from moments
    inner join quiet
        on
            quiet.slot_series_id = moments.slot_series_id
            and quiet.slot_opened_at = moments.slot_opened_at
            and quiet.from_load <= moments.load_no
            and quiet.to_load > moments.load_no
    inner join slots
        on
            slots.series_id = quiet.slot_series_id
            and slots.opened_at = quiet.slot_opened_at
            and slots.base_series_id = quiet.series_id
),

{{ aggregate_parts(
    ['as_of_load', 'series_id', 'opened_at', 'base_step_minutes'],
    ['closed_at', 'session_date', 'step_minutes', 'base_timeframe', 'base_first_slot_at', 'base_slots'],
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
            partition by series_id, opened_at, as_of_load
            order by case when is_valid then 0 else 1 end, base_step_minutes
        ) as place
    from verdicts
),

typed as (
    select
        as_of_load,
        series_id,
        opened_at,
        session_date,
        cast(source as varchar(20)) as source,
        cast(source_place as integer) as source_place,
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
    window over_time as (partition by series_id, opened_at order by as_of_load)
),

final as (
    select
        series_id,
        opened_at,
        session_date,
        cast(row_number() over over_time as integer) as revision,
        cast(as_of_load as integer) as load_no,
        source,
        source_place,
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
    window over_time as (partition by series_id, opened_at order by as_of_load)
)

select * from final
