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
        pre_hook=["{{ require_whole('int_resampling_frontier') }}"],
        post_hook=["{{ advance_watermark(['int_resampling_frontier']) }}", '{{ analyze() }}']
    )
}}
-- depends_on: {{ ref('int_series_rules') }}
-- Bars made of finer ones: aligned to sessions (stocks from the open, crypto to UTC, weeks to Monday), from final valid
-- bars only, once a bar at or after the slot's end shows that it is over. The finest fetched timeframe is the base; a
-- coarser one stands in where that does not reach. A slot with too few of its expected bars is kept and flagged.
with

slots as (
    select * from {{ ref('int_resampling_frontier') }}
),

placed as (
    select
        slots.series_id,
        slots.base_series_id,
        slots.base_timeframe,
        slots.base_step_minutes,
        slots.step_minutes,
        slots.slot_date,
        slots.first_slot_at,
        slots.closes_at,
        slots.slots_before,
        slots.base_first_slot_at,
        slots.base_slots,
        slots.known_until,
        case
            when slots.step_minutes >= 1440 then 0
            else cast(floor(
                ({{ epoch_seconds('bars.opened_at') }} - {{ epoch_seconds('slots.first_slot_at') }}) / (60.0 * slots.step_minutes)
            ) as integer)
        end as slot_of_session,
        bars.opened_at as base_opened_at,
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
    from slots
    inner join {{ ref('int_bars_selected') }} as bars
        on
            bars.series_id = slots.base_series_id
            and bars.opened_at >= slots.reads_from
            and bars.opened_at < slots.reads_to
    where bars.is_valid
),

ended as (
    select
        *,
        min(base_opened_at) over slot as first_base_at,
        max(base_opened_at) over slot as last_base_at
    from placed
    window slot as (partition by series_id, base_step_minutes, slot_date, slot_of_session)
),

-- The basis of a slot is that of its last session: a split inside a week converts the days before it.
based as (
    select
        *,
        max(case when base_opened_at = last_base_at then split_factor end) over (
            partition by series_id, base_step_minutes, slot_date, slot_of_session
        ) as slot_split_factor
    from ended
),

aggregated as (
    select
        series_id,
        base_step_minutes,
        slot_date,
        slot_of_session,
        max(base_timeframe) as base_timeframe,
        max(step_minutes) as step_minutes,
        max(first_slot_at) as first_slot_at,
        max(closes_at) as closes_at,
        max(slots_before) as slots_before,
        max(base_first_slot_at) as base_first_slot_at,
        max(base_slots) as base_slots,
        max(known_until) as known_until,
        case when min(source) = max(source) then min(source) else min(source) || '+' || max(source) end as source,
        max(slot_split_factor) as split_factor,
        max(case when base_opened_at = first_base_at then {{ in_basis('open') }} end) as open,
        max({{ in_basis('high') }}) as high,
        min({{ in_basis('low') }}) as low,
        max(case when base_opened_at = last_base_at then {{ in_basis('close') }} end) as close,
        sum(
            case
                when split_factor = slot_split_factor then volume
                else round(volume * slot_split_factor / split_factor, 8)
            end
        ) as volume,
        case when count(taker_buy_volume) = count(*) then sum(taker_buy_volume) end as taker_buy_volume,
        1 + sum(revision - 1) as revision,
        max(first_seen_at) as first_seen_at,
        max(fetched_at) as fetched_at,
        count(*) as bars_present
    from based
    group by series_id, base_step_minutes, slot_date, slot_of_session
),

opening as (
    select
        *,
        first_slot_at + {{ minutes('slot_of_session * step_minutes') }} as opened_at
    from aggregated
),

closing as (
    select
        *,
        case
            when step_minutes >= 1440 then closes_at
            else least(opened_at + {{ minutes('step_minutes') }}, closes_at)
        end as closed_at
    from opening
),

expected as (
    select
        *,
        cast(
            case
                when step_minutes >= 1440 then base_slots
                else ceil(
                    ({{ epoch_seconds('closed_at') }} - {{ epoch_seconds('greatest(opened_at, base_first_slot_at)') }})
                    / (60.0 * base_step_minutes)
                )
            end as integer
        ) as bars_expected
    from closing
    where closed_at <= known_until
),

verdicts as (
    select
        *,
        case
            when bars_present < {{ var('min_data_completeness') }} * bars_expected
                then 'incomplete: ' || bars_present || ' of ' || bars_expected || ' ' || base_timeframe || ' bars'
            when {{ fits('high', 19, 10) }} is null or {{ fits('volume', 28, 8) }} is null
                then 'price or volume beyond its column'
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

{% if is_incremental() -%}
-- What is held in the slots that are looked at again. Sought by time within a day around the slot, which the index serves,
-- since a changed session may have moved its bars.
standing as (
    select held.*
    from slots
    inner join lateral (
        select *
        from {{ this }} as resampled_bars
        where
            resampled_bars.series_id = slots.series_id
            and resampled_bars.opened_at >= slots.first_slot_at - interval '24 hours'
            and resampled_bars.opened_at < slots.closes_at + interval '24 hours'
            and resampled_bars.session_date = slots.slot_date
        {{ compute_once() }}
    ) as held on true
    union
    select held.*
    from {{ this }} as held
    inner join {{ ref('int_series_rules') }} as rules
        on rules.series_id = held.series_id and rules.changed_in_load > {{ watermark('int_bars_resampled') }}
),
{%- endif %}

resampled as (
    select
        series_id,
        opened_at,
        closed_at,
        slot_date as session_date,
        slots_before + slot_of_session as slot_no,
        cast(source as varchar(20)) as source,
        {{ fits('open', 19, 10) }} as open,
        {{ fits('high', 19, 10) }} as high,
        {{ fits('low', 19, 10) }} as low,
        {{ fits('close', 19, 10) }} as close,
        {{ fits('volume', 28, 8) }} as volume,
        {{ fits('taker_buy_volume', 28, 8) }} as taker_buy_volume,
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
        standing.series_id, standing.opened_at, standing.closed_at, standing.session_date, standing.slot_no,
        standing.source, standing.open, standing.high, standing.low, standing.close, standing.volume,
        standing.taker_buy_volume, standing.split_factor, false, 'no longer listed', standing.revision,
        standing.first_seen_at, standing.fetched_at, false, standing.base_timeframe, standing.bars_present,
        standing.bars_expected
    from standing
    left join ranked on ranked.series_id = standing.series_id and ranked.opened_at = standing.opened_at
    where ranked.series_id is null and standing.is_listed
    {%- endif %}
),

final as (
    select
        resampled.*,
        cast({{ worked_in_by(['int_resampling_frontier']) }} as integer) as changed_in_load
    from resampled
    {% if is_incremental() -%}
    {{ left_join_kept('resampled', ['series_id', 'opened_at']) }}
    where {{ differs('resampled', 'kept', 'series_id', values) }}
    {%- endif %}
)

select * from final
