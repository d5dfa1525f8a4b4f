{%- set values = [
    'closed_at', 'session_date', 'expected_no', 'source', 'open', 'high', 'low', 'close', 'volume', 'taker_buy_volume',
    'split_factor', 'is_valid', 'failed_checks', 'first_seen_at', 'fetched_at', 'is_active', 'base_timeframe',
    'bars_present', 'bars_expected', 'source_rank', 'batch', 'is_replayed'
] -%}
{%- set expected_columns = [
    'series_id', 'base_series_id', 'base_timeframe', 'base_step_minutes', 'step_minutes', 'bar_date', 'first_expected_at',
    'closes_at', 'expected_before', 'base_first_expected_at', 'base_bars_expected', 'known_until'
] -%}
{{
    config(
        materialized='incremental',
        unique_key=['series_id', 'opened_at'],
        incremental_strategy='merge',
        meta={'computed_in_shards': 'in full'},
        indexes=[
            {'columns': ['series_id', 'opened_at'], 'unique': true},
            {'columns': ['changed_in_batch'], 'type': 'brin'},
        ],
        pre_hook=["{{ require_full_input(ref('int_resampling_ranges')) }}"],
        post_hook=[
            '{{ finish_shards() }}',
            "{{ advance_watermark([ref('int_resampling_ranges')]) }}",
            '{{ analyze() }}',
        ]
    )
}}
-- depends_on: {{ ref('int_series_fingerprints') }}
-- Bars made of finer ones: aligned to sessions (stocks from the open, crypto to UTC, weeks to Monday), from final valid
-- bars only, once a bar at or after its end, or an answer for it, shows that it is over. The finest fetched
-- timeframe is the base; a coarser one stands in where that does not reach. A bar with too few of its base bars is
-- stored and flagged; so is one all of whose bars were retracted. A base bar that had no trades is not expected.
with

expected_bars as (
    select * from {{ ref('int_resampling_ranges') }}
),

base_bars as (
    select
        expected_bars.{{ expected_columns | join(',\n        expected_bars.') }},
        bars.opened_at as base_opened_at,
        bars.closed_at as base_closed_at,
        bars.is_valid,
        bars.is_retracted,
        false as has_no_trades,
        bars.source,
        bars.source_rank,
        bars.open,
        bars.high,
        bars.low,
        bars.close,
        bars.volume,
        bars.taker_buy_volume,
        bars.split_factor,
        bars.revision,
        bars.first_batch,
        bars.batch,
        bars.first_seen_at,
        bars.fetched_at
    from expected_bars
    -- Day by day, by index. As a plain join, stock Postgres 15 compared the bars of all time of a series with each of its days:
    -- three times the bars took nine times as long.
    inner join lateral (
        select by_day.*
        from (
            select
                existing_rows.opened_at, existing_rows.closed_at, existing_rows.is_valid, existing_rows.is_retracted,
                existing_rows.source, existing_rows.source_rank, existing_rows.open, existing_rows.high, existing_rows.low,
                existing_rows.close, existing_rows.volume, existing_rows.taker_buy_volume, existing_rows.split_factor,
                existing_rows.revision, existing_rows.first_batch, existing_rows.batch, existing_rows.first_seen_at,
                existing_rows.fetched_at
            from {{ ref('int_bars_selected') }} as existing_rows
            where
                existing_rows.series_id = expected_bars.base_series_id
                and existing_rows.opened_at >= expected_bars.reads_from
                and existing_rows.opened_at < expected_bars.reads_to
                and existing_rows.is_active
        ) as by_day
        {{ optimization_fence(for_each='expected_bars.series_id') }}
    ) as bars on true

    union all

    -- One that came late, or turned out to be a hole, is not expected no longer: that it was is a change.
    select
        expected_bars.{{ expected_columns | join(',\n        expected_bars.') }},
        quiet.opened_at, null, false, false, quiet.to_batch = {{ in_force() }}, null, null, null, null, null, null, null, null,
        null, null, quiet.from_batch, case when quiet.to_batch = {{ in_force() }} then quiet.from_batch else quiet.to_batch end,
        null, null
    from expected_bars
    {{ bars_without_trades(
        'expected_bars.base_series_id', 'expected_bars.base_step_minutes', 'expected_bars.bar_date', 'expected_bars.step_minutes'
    ) }}
),

parts as (
    select
        *,
        case
            when step_minutes >= 1440 then 0
            else cast(floor(
                ({{ epoch_seconds('base_opened_at') }} - {{ epoch_seconds('first_expected_at') }}) / (60.0 * step_minutes)
            ) as integer)
        end as bar_of_session
    from base_bars
),

{{ aggregate_parts(
    ['series_id', 'base_step_minutes', 'bar_date', 'bar_of_session'],
    [
        'base_series_id', 'base_timeframe', 'step_minutes', 'first_expected_at', 'closes_at', 'expected_before',
        'base_first_expected_at', 'base_bars_expected', 'known_until',
    ],
) }}

opening as (
    select
        *,
        first_expected_at + {{ minutes('bar_of_session * step_minutes') }} as opened_at
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

-- The load since which a bar's time is over matters only where its bars came in several, or the last one is not there.
expected_to_date as (
    select series_id, base_series_id, opened_at, closed_at, bar_date as session_date, step_minutes
    from expected
    where first_batch <> last_batch or last_base_closed_at is null or last_base_closed_at < closed_at
),

{{ date_ends_of_targets() }}

verdicts as (
    select
        expected.*,
        {{ failed_resampling_checks() }} || coalesce(', ' || rejected.bars || ' rejected', '') as failed_checks,
        greatest(expected.first_batch, dated.over_in_batch) as began_in_batch,
        greatest(expected.last_batch, dated.over_in_batch) as changed_last_in_batch
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
            and {{ position_in_list('refused.source', 'series.sources_in_order') }} is not null
            and not exists (
                select 1
                from {{ ref('int_bars_selected') }} as bars
                where
                    bars.series_id = refused.series_id
                    and bars.opened_at = refused.opened_at
                    and bars.is_active
                    and not bars.is_retracted
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
        max(changed_last_in_batch) over expected_bar as batch,
        -- One of its base bars changed after its time was over: int_resampled_versions replays it.
        min(began_in_batch) over expected_bar < max(changed_last_in_batch) over expected_bar as is_replayed
    from verdicts
    window expected_bar as (partition by series_id, opened_at)
),

{% if is_incremental() -%}
-- What exists of the bars that are looked at again. Sought by time within a day around each, which the index serves,
-- since a changed session may have moved its bars.
present as (
    select existing_rows.*
    from expected_bars
    inner join lateral (
        select *
        from {{ this }} as resampled_bars
        where
            resampled_bars.series_id = expected_bars.series_id
            and resampled_bars.opened_at >= expected_bars.first_expected_at - interval '24 hours'
            and resampled_bars.opened_at < expected_bars.closes_at + interval '24 hours'
            and resampled_bars.session_date = expected_bars.bar_date
        {{ optimization_fence() }}
    ) as existing_rows on true
    union
    select existing_rows.*
    from {{ this }} as existing_rows
    inner join {{ ref('int_series_fingerprints') }} as rules
        on rules.series_id = existing_rows.series_id and rules.changed_in_batch > {{ watermark('int_bars_resampled') }}
),
{%- endif %}

resampled as (
    select
        series_id,
        opened_at,
        closed_at,
        bar_date as session_date,
        expected_before + bar_of_session as expected_no,
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
        true as is_active,
        base_timeframe,
        cast(bars_present as integer) as bars_present,
        cast(bars_expected as integer) as bars_expected,
        cast(source_rank as integer) as source_rank,
        cast(batch as integer) as batch,
        is_replayed
    from ranked
    where place = 1

    {% if is_incremental() -%}
    union all
    select
        present.series_id, present.opened_at, present.closed_at, present.session_date, present.expected_no,
        present.source, present.open, present.high, present.low, present.close, present.volume,
        present.taker_buy_volume, present.split_factor, false, 'no longer listed', present.first_seen_at,
        present.fetched_at, false, present.base_timeframe, present.bars_present, present.bars_expected,
        present.source_rank, present.batch, present.is_replayed
    from present
    left join ranked on ranked.series_id = present.series_id and ranked.opened_at = present.opened_at
    where ranked.series_id is null and present.is_active
    {%- endif %}
),

final as (
    select
        resampled.*,
        cast({{ processed_by(['int_resampling_ranges']) }} as integer) as changed_in_batch
    from resampled
    {% if is_incremental() -%}
    {{ left_join_existing('resampled', ['series_id', 'opened_at']) }}
    where {{ differs('resampled', 'existing', 'series_id', values) }}
    {%- endif %}
)

select * from final
