{%- set values = [
    'closed_at', 'session_date', 'slot_no', 'source', 'open', 'high', 'low', 'close', 'volume', 'taker_buy_volume',
    'split_factor', 'is_valid', 'failed_checks', 'first_seen_at', 'fetched_at', 'is_listed', 'base_timeframe',
    'bars_present', 'bars_expected', 'source_place', 'load_no', 'is_replayed'
] -%}
{%- set slot_columns = [
    'series_id', 'base_series_id', 'base_timeframe', 'base_step_minutes', 'step_minutes', 'slot_date', 'first_slot_at',
    'closes_at', 'slots_before', 'base_first_slot_at', 'base_slots', 'known_until'
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
-- bars only, once a bar at or after the slot's end, or an answer for it, shows that it is over. The finest fetched
-- timeframe is the base; a coarser one stands in where that does not reach. A slot with too few of its expected bars is
-- kept and flagged; so is one all of whose bars were retracted. A base bar that had no trades is not expected.
with

slots as (
    select * from {{ ref('int_resampling_frontier') }}
),

base_bars as (
    select
        slots.{{ slot_columns | join(',\n        slots.') }},
        bars.opened_at as base_opened_at,
        bars.closed_at as base_closed_at,
        bars.is_valid,
        bars.is_withdrawn,
        false as has_no_trades,
        bars.source,
        bars.source_place,
        bars.open,
        bars.high,
        bars.low,
        bars.close,
        bars.volume,
        bars.taker_buy_volume,
        bars.split_factor,
        bars.revision,
        bars.first_load_no,
        bars.load_no,
        bars.first_seen_at,
        bars.fetched_at
    from slots
    -- Day by day, by index. As a plain join, stock Postgres 15 held the bars of all time of a series against each of its days:
    -- three times the bars took nine times as long.
    inner join lateral (
        select by_day.*
        from (
            select
                held.opened_at, held.closed_at, held.is_valid, held.is_withdrawn, held.source, held.source_place, held.open,
                held.high, held.low, held.close, held.volume, held.taker_buy_volume, held.split_factor, held.revision,
                held.first_load_no, held.load_no, held.first_seen_at, held.fetched_at
            from {{ ref('int_bars_selected') }} as held
            where
                held.series_id = slots.base_series_id
                and held.opened_at >= slots.reads_from
                and held.opened_at < slots.reads_to
                and held.is_listed
        ) as by_day
        {{ compute_once(for_each='slots.series_id') }}
    ) as bars on true

    union all

    -- One that came late, or turned out to be a hole, is not expected no longer: that it was is a change.
    select
        slots.{{ slot_columns | join(',\n        slots.') }},
        quiet.opened_at, null, false, false, quiet.to_load = {{ in_force() }}, null, null, null, null, null, null, null, null,
        null, null, quiet.from_load, case when quiet.to_load = {{ in_force() }} then quiet.from_load else quiet.to_load end,
        null, null
    from slots
    {{ bars_without_trades('slots.base_series_id', 'slots.base_step_minutes', 'slots.slot_date', 'slots.step_minutes') }}
),

parts as (
    select
        *,
        case
            when step_minutes >= 1440 then 0
            else cast(floor(
                ({{ epoch_seconds('base_opened_at') }} - {{ epoch_seconds('first_slot_at') }}) / (60.0 * step_minutes)
            ) as integer)
        end as slot_of_session
    from base_bars
),

{{ aggregate_parts(
    ['series_id', 'base_step_minutes', 'slot_date', 'slot_of_session'],
    [
        'base_series_id', 'base_timeframe', 'step_minutes', 'first_slot_at', 'closes_at', 'slots_before',
        'base_first_slot_at', 'base_slots', 'known_until',
    ],
) }}

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
        {{ room_for_base_bars() }} - bars_without_trades as bars_expected
    from closing
    where closed_at <= known_until
),

-- Since which load a slot is over matters only where its bars came in several, or the last one is not there.
slots_to_date as (
    select series_id, base_series_id, opened_at, closed_at, slot_date as session_date, step_minutes
    from expected
    where first_load_no <> last_load_no or last_base_closed_at is null or last_base_closed_at < closed_at
),

{{ date_ends_of_slots() }}

verdicts as (
    select
        expected.*,
        {{ failed_resampling_checks() }} || coalesce(', ' || rejected.bars || ' rejected', '') as failed_checks,
        greatest(expected.first_load_no, dated.over_in_load) as began_in_load,
        greatest(expected.last_load_no, dated.over_in_load) as changed_last_in_load
    from expected
    left join dated
        on
            dated.series_id = expected.series_id
            and dated.base_series_id = expected.base_series_id
            and dated.opened_at = expected.opened_at
    left join lateral (
        select nullif(count(distinct refused.opened_at), 0) as bars
        from {{ ref('int_bars_rejected') }} as refused
        inner join {{ ref('int_series') }} as series on series.series_id = refused.series_id
        where
            expected.bars_present < expected.bars_expected
            and refused.series_id = expected.base_series_id
            and refused.opened_at >= expected.opened_at
            and refused.opened_at < expected.closed_at
            and {{ place_in_list('refused.source', 'series.sources_in_order') }} is not null
            and not exists (
                select 1
                from {{ ref('int_bars_selected') }} as bars
                where
                    bars.series_id = refused.series_id
                    and bars.opened_at = refused.opened_at
                    and bars.is_listed
                    and not bars.is_withdrawn
            )
    ) as rejected on true
),

ranked as (
    select
        *,
        row_number() over (
            partition by series_id, opened_at
            order by case when failed_checks is null then 0 else 1 end, base_step_minutes
        ) as place,
        max(changed_last_in_load) over slot as load_no,
        -- One of its base bars changed after the slot was over: int_resampled_versions replays it.
        min(began_in_load) over slot < max(changed_last_in_load) over slot as is_replayed
    from verdicts
    window slot as (partition by series_id, opened_at)
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
        first_seen_at,
        fetched_at,
        true as is_listed,
        base_timeframe,
        cast(bars_present as integer) as bars_present,
        cast(bars_expected as integer) as bars_expected,
        cast(source_place as integer) as source_place,
        cast(load_no as integer) as load_no,
        is_replayed
    from ranked
    where place = 1

    {% if is_incremental() -%}
    union all
    select
        standing.series_id, standing.opened_at, standing.closed_at, standing.session_date, standing.slot_no,
        standing.source, standing.open, standing.high, standing.low, standing.close, standing.volume,
        standing.taker_buy_volume, standing.split_factor, false, 'no longer listed', standing.first_seen_at,
        standing.fetched_at, false, standing.base_timeframe, standing.bars_present, standing.bars_expected,
        standing.source_place, standing.load_no, standing.is_replayed
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
