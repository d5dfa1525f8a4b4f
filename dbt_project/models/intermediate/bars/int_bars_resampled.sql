{%- set values = [
    'closed_at', 'session_date', 'slot_no', 'source', 'open', 'high', 'low', 'close', 'volume', 'taker_buy_volume',
    'split_factor', 'is_valid', 'failed_checks', 'revision', 'first_seen_at', 'fetched_at', 'is_listed',
    'base_timeframe', 'bars_present', 'bars_expected'
] -%}
{{
    config(
        materialized='incremental',
        unique_key=['series_id', 'opened_at'],
        incremental_strategy='merge',
        indexes=[
            {'columns': ['series_id', 'opened_at'], 'unique': true},
            {'columns': ['changed_in_load'], 'type': 'brin'},
        ],
        post_hook=["{{ advance_watermark(['int_bars_selected']) }}", '{{ analyze() }}']
    )
}}
-- Bars made of finer ones: aligned to sessions (stocks from the open, crypto to UTC, weeks to Monday), from final valid
-- bars only, once a bar at or after the slot's end shows that it is over. The finest fetched timeframe is the base; a
-- coarser one stands in where that does not reach. A slot with too few of its expected bars is kept and flagged.
with

series as (
    select * from {{ ref('int_series') }}
),

bases as (
    select
        targets.series_id,
        targets.timeframe,
        targets.step_minutes,
        targets.grid,
        targets.calendar,
        bases.series_id as base_series_id,
        bases.timeframe as base_timeframe,
        bases.step_minutes as base_step_minutes,
        bases.grid as base_grid
    from series as targets
    inner join series as bases
        on
            bases.symbol = targets.symbol
            and bases.asset_class = targets.asset_class
            and bases.is_fetched
            and bases.step_minutes < targets.step_minutes
            and mod(targets.step_minutes, bases.step_minutes) = 0
    -- Hours on the clock do not add up to slots counted from the open.
    where targets.step_minutes >= 1440 or bases.step_minutes < 60 or bases.grid = targets.grid
),

series_ends as (
    select
        bases.base_series_id,
        (
            select max(bars.opened_at)
            from {{ ref('int_bars_selected') }} as bars
            where bars.series_id = bases.base_series_id
        ) as last_opened_at
    from (select distinct base_series_id from bases) as bases
),

base_ends as (
    select
        series_ends.base_series_id,
        bars.closed_at as known_until
    from series_ends
    inner join {{ ref('int_bars_selected') }} as bars
        on bars.series_id = series_ends.base_series_id and bars.opened_at = series_ends.last_opened_at
),

{% if is_incremental() -%}
changed_bars as (
    select series_id, opened_at
    from {{ ref('int_bars_selected') }}
    where changed_in_load > {{ watermark('int_bars_resampled') }}
),

-- A new bar also ends the slot of the bar before it.
touched_bars as (
    select series_id, opened_at from changed_bars
    union
    select
        changed_bars.series_id,
        (
            select max(bars.opened_at)
            from {{ ref('int_bars_selected') }} as bars
            where bars.series_id = changed_bars.series_id and bars.opened_at < changed_bars.opened_at
        ) as opened_at
    from changed_bars
),

touched_slots as (
    select distinct
        bases.series_id,
        slots.slot_date,
        bases.base_series_id,
        case
            when bases.step_minutes >= 1440 then slots.first_slot_at
            else slots.first_slot_at + {{ minutes("bases.step_minutes * floor((" ~ epoch_seconds('bars.opened_at') ~ " - " ~ epoch_seconds('slots.first_slot_at') ~ ") / (60.0 * bases.step_minutes))") }}
        end as opened_at
    from touched_bars
    inner join bases on bases.base_series_id = touched_bars.series_id
    inner join {{ ref('int_bars_selected') }} as bars
        on bars.series_id = touched_bars.series_id and bars.opened_at = touched_bars.opened_at
    inner join {{ ref('int_slots') }} as slots
        on
            slots.calendar = bases.calendar
            and slots.timeframe = bases.timeframe
            and slots.grid = bases.grid
            and slots.slot_date = case
                when bases.step_minutes = 10080 then {{ monday('bars.session_date') }} else bars.session_date
            end
),

slot_ranges as (
    select
        touched_slots.series_id,
        touched_slots.opened_at,
        touched_slots.opened_at + {{ minutes('max(series.step_minutes)') }} as ends_before
    from touched_slots
    inner join series on series.series_id = touched_slots.series_id
    group by touched_slots.series_id, touched_slots.opened_at
),

base_bars as (
    select
        slot_ranges.series_id as target_series_id,
        bars.*
    from slot_ranges
    inner join bases on bases.series_id = slot_ranges.series_id
    inner join {{ ref('int_bars_selected') }} as bars
        on
            bars.series_id = bases.base_series_id
            -- Local days are up to 25 hours long; rows of the next slot are sorted out below.
            and bars.opened_at >= slot_ranges.opened_at - interval '1 hour'
            and bars.opened_at < slot_ranges.ends_before + interval '1 hour'
    where bars.is_valid
),
{%- else -%}
base_bars as (
    select
        bases.series_id as target_series_id,
        bars.*
    from bases
    inner join {{ ref('int_bars_selected') }} as bars on bars.series_id = bases.base_series_id
    where bars.is_valid
),
{%- endif %}

placed as (
    select {% if is_incremental() %}distinct{% endif %}
        bases.series_id,
        bases.base_series_id,
        bases.base_timeframe,
        bases.base_step_minutes,
        bases.base_grid,
        bases.step_minutes,
        bases.calendar,
        slots.slot_date,
        slots.first_slot_at,
        slots.closes_at,
        slots.slots_before,
        case
            when bases.step_minutes >= 1440 then slots.first_slot_at
            else slots.first_slot_at + {{ minutes("bases.step_minutes * floor((" ~ epoch_seconds('bars.opened_at') ~ " - " ~ epoch_seconds('slots.first_slot_at') ~ ") / (60.0 * bases.step_minutes))") }}
        end as opened_at,
        bars.opened_at as base_opened_at,
        bars.session_date,
        bars.source,
        bars.open,
        bars.high,
        bars.low,
        bars.close,
        bars.volume,
        bars.taker_buy_volume,
        bars.split_factor,
        bars.revision,
        bars.first_seen_at,
        bars.fetched_at
    from base_bars as bars
    inner join bases
        on bases.series_id = bars.target_series_id and bases.base_series_id = bars.series_id
    inner join {{ ref('int_slots') }} as slots
        on
            slots.calendar = bases.calendar
            and slots.timeframe = bases.timeframe
            and slots.grid = bases.grid
            and slots.slot_date = case
                when bases.step_minutes = 10080 then {{ monday('bars.session_date') }} else bars.session_date
            end
),

ended as (
    select
        placed.*,
        min(placed.base_opened_at) over slot as first_base_at,
        max(placed.base_opened_at) over slot as last_base_at,
        max(placed.session_date) over slot as last_session_date
    from placed
    {% if is_incremental() -%}
    inner join slot_ranges
        on slot_ranges.series_id = placed.series_id and slot_ranges.opened_at = placed.opened_at
    {%- endif %}
    window slot as (partition by placed.series_id, placed.base_series_id, placed.opened_at)
),

-- The basis of a slot is that of its last session: a split inside a week converts the days before it.
based as (
    select
        *,
        max(case when base_opened_at = last_base_at then split_factor end) over (
            partition by series_id, base_series_id, opened_at
        ) as slot_split_factor
    from ended
),

aggregated as (
    select
        series_id,
        base_series_id,
        opened_at,
        base_timeframe,
        base_step_minutes,
        base_grid,
        step_minutes,
        calendar,
        slot_date,
        first_slot_at,
        closes_at,
        slots_before,
        case when min(source) = max(source) then min(source) else min(source) || '+' || max(source) end as source,
        max(slot_split_factor) as split_factor,
        max(case when base_opened_at = first_base_at then {{ in_basis('open') }} end) as open,
        max({{ in_basis('high') }}) as high,
        min({{ in_basis('low') }}) as low,
        max(case when base_opened_at = last_base_at then {{ in_basis('close') }} end) as close,
        sum(case when split_factor = slot_split_factor then volume else round(volume * slot_split_factor / split_factor, 8) end) as volume,
        case when count(taker_buy_volume) = count(*) then sum(taker_buy_volume) end as taker_buy_volume,
        1 + sum(revision - 1) as revision,
        max(first_seen_at) as first_seen_at,
        max(fetched_at) as fetched_at,
        count(*) as bars_present
    from based
    group by
        series_id, base_series_id, opened_at, base_timeframe, base_step_minutes, base_grid, step_minutes, calendar,
        slot_date, first_slot_at, closes_at, slots_before
),

closing as (
    select
        *,
        case
            when step_minutes >= 1440 then closes_at
            else least(opened_at + {{ minutes('step_minutes') }}, closes_at)
        end as closed_at
    from aggregated
),

weekly_slots as (
    select
        calendar,
        timeframe,
        grid,
        {{ monday('slot_date') }} as slot_date,
        sum(slots) as slots
    from {{ ref('int_slots') }}
    where timeframe <> '1w'
    group by calendar, timeframe, grid, {{ monday('slot_date') }}
),

expected as (
    select
        closing.*,
        cast(
            case
                when closing.step_minutes = 10080 then weekly_slots.slots
                when closing.step_minutes = 1440 then base_slots.slots
                else ceil(
                    ({{ epoch_seconds('closing.closed_at') }} - {{ epoch_seconds('greatest(closing.opened_at, base_slots.first_slot_at)') }})
                    / (60.0 * closing.base_step_minutes)
                )
            end as integer
        ) as bars_expected
    from closing
    inner join base_ends
        on base_ends.base_series_id = closing.base_series_id and base_ends.known_until >= closing.closed_at
    left join {{ ref('int_slots') }} as base_slots
        on
            base_slots.calendar = closing.calendar
            and base_slots.timeframe = closing.base_timeframe
            and base_slots.grid = closing.base_grid
            and base_slots.slot_date = closing.slot_date
    left join weekly_slots
        on
            weekly_slots.calendar = closing.calendar
            and weekly_slots.timeframe = closing.base_timeframe
            and weekly_slots.grid = closing.base_grid
            and weekly_slots.slot_date = closing.slot_date
),

verdicts as (
    select
        *,
        case
            when bars_present < {{ var('min_data_completeness') }} * bars_expected
                then 'incomplete: ' || bars_present || ' of ' || bars_expected || ' ' || base_timeframe || ' bars'
        end as failed_checks
    from expected
),

ranked as (
    select
        *,
        row_number() over (
            partition by series_id, opened_at
            order by case when failed_checks is null then 0 else 1 end, base_step_minutes
        ) as place
    from verdicts
),

resampled as (
    select
        series_id,
        opened_at,
        closed_at,
        slot_date as session_date,
        slots_before + case
            when step_minutes >= 1440 then 0
            else cast(({{ epoch_seconds('opened_at') }} - {{ epoch_seconds('first_slot_at') }}) / (step_minutes * 60) as integer)
        end as slot_no,
        cast(source as varchar(20)) as source,
        cast(open as numeric(19, 10)) as open,
        cast(high as numeric(19, 10)) as high,
        cast(low as numeric(19, 10)) as low,
        cast(close as numeric(19, 10)) as close,
        cast(volume as numeric(28, 8)) as volume,
        cast(taker_buy_volume as numeric(28, 8)) as taker_buy_volume,
        split_factor,
        failed_checks is null as is_valid,
        failed_checks,
        cast(revision as integer) as revision,
        first_seen_at,
        fetched_at,
        true as is_listed,
        base_timeframe,
        cast(bars_present as integer) as bars_present,
        bars_expected
    from ranked
    where place = 1

    {% if is_incremental() -%}
    union all
    select
        kept.series_id, kept.opened_at, kept.closed_at, kept.session_date, kept.slot_no, kept.source, kept.open,
        kept.high, kept.low, kept.close, kept.volume, kept.taker_buy_volume, kept.split_factor, false,
        'no longer listed', kept.revision, kept.first_seen_at, kept.fetched_at, false, kept.base_timeframe,
        kept.bars_present, kept.bars_expected
    from slot_ranges
    inner join {{ this }} as kept
        on kept.series_id = slot_ranges.series_id and kept.opened_at = slot_ranges.opened_at
    left join ranked on ranked.series_id = slot_ranges.series_id and ranked.opened_at = slot_ranges.opened_at
    where ranked.series_id is null and kept.is_listed
    {%- endif %}
),

final as (
    select
        resampled.*,
        cast({{ worked_in_by(['int_bars_selected']) }} as integer) as changed_in_load
    from resampled
    {% if is_incremental() -%}
    left join {{ this }} as kept on kept.series_id = resampled.series_id and kept.opened_at = resampled.opened_at
    where {{ differs('resampled', 'kept', 'series_id', values) }}
    {%- endif %}
)

select * from final
