{%- set values = [
    'closed_at', 'session_date', 'expected_no', 'source', 'open', 'high', 'low', 'close', 'volume', 'taker_buy_volume',
    'split_factor', 'is_valid', 'failed_checks', 'revision', 'first_seen_at', 'fetched_at', 'is_active', 'source_rank',
    'is_retracted', 'first_batch', 'batch'
] -%}
{{
    config(
        materialized='incremental',
        unique_key=['series_id', 'opened_at'],
        incremental_strategy='merge',
        indexes=[
            {'columns': ['series_id', 'opened_at'], 'unique': true},
            {'columns': ['changed_in_batch'], 'type': 'brin'},
        ],
        pre_hook=["{{ require_full_input(ref('int_bars_changed')) }}"],
        post_hook=[
            "{{ advance_watermark([ref('int_bars_changed'), ref('int_bar_versions')]) }}",
            '{{ analyze() }}',
        ]
    )
}}
-- depends_on: {{ ref('int_bars_changed') }}
-- depends_on: {{ ref('int_series_fingerprints') }}
-- The bar of each key as its series has it: its only observation, or its latest version where there were several.
-- Prices and volumes are as traded. `revision` counts the versions.
with

{% if is_incremental() -%}
changed as (
    select * from {{ ref('int_bars_changed') }}
),
{%- endif %}

versions as (
    select versions.*
    from {{ ref('int_bar_versions') }} as versions
    {% if is_incremental() -%}
    inner join changed on changed.series_id = versions.series_id and changed.opened_at = versions.opened_at
    {%- endif %}
    where versions.is_latest
),

single_words as (
    select observations.*
    from {{ ref('int_bar_observations') }} as observations
    {% if is_incremental() -%}
    inner join changed on changed.series_id = observations.series_id and changed.opened_at = observations.opened_at
    {%- endif %}
    -- The table, for its index: stock Postgres 15 expected even fewer versions of a run, and compared every observation with
    -- all of them (12 s for 1,460 bars, four times that for twice as many).
    left join {{ ref('int_bar_versions') }} as replayed
        on replayed.series_id = observations.series_id and replayed.opened_at = observations.opened_at and replayed.is_latest
    where replayed.series_id is null
),

selected as (
    select
        series_id, opened_at, closed_at, session_date, expected_no, source, open, high, low, close, volume,
        taker_buy_volume, split_factor, failed_checks, 1 as revision, fetched_at as first_seen_at, fetched_at,
        source_rank, is_retracted, batch as first_batch, batch
    from single_words

    union all

    select
        series_id, opened_at, closed_at, session_date, expected_no, source, open, high, low, close, volume,
        taker_buy_volume, split_factor, failed_checks, revision, first_seen_at, fetched_at, source_rank, is_retracted,
        first_batch, batch
    from versions
),

{% if is_incremental() -%}
-- A key that the rules no longer give a bar (its source was taken off the list, its alignment changed) stays as a marker,
-- so that later models can remove theirs.
inactive as (
    select existing.*
    from {{ this }} as existing
    inner join (
        select series_id
        from changed
        where is_reselected
        union
        -- A series whose answers were read again may have no observation left.
        select series_id
        from {{ ref('int_series_fingerprints') }}
        where changed_in_batch > {{ watermark('int_bars_selected') }}
    ) as reselected
        on reselected.series_id = existing.series_id
    left join selected on selected.series_id = existing.series_id and selected.opened_at = existing.opened_at
    where selected.series_id is null and existing.is_active
),
{%- endif %}

current_bars as (
    select
        series_id,
        opened_at,
        closed_at,
        session_date,
        expected_no,
        source,
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
        true as is_active,
        cast(source_rank as integer) as source_rank,
        is_retracted,
        cast(first_batch as integer) as first_batch,
        cast(batch as integer) as batch
    from selected
    {% if is_incremental() -%}
    union all
    select
        series_id, opened_at, closed_at, session_date, expected_no, source, open, high, low, close, volume,
        taker_buy_volume, split_factor, false, 'no longer listed', revision, first_seen_at, fetched_at, false,
        source_rank, is_retracted, first_batch, batch
    from inactive
    {%- endif %}
),

final as (
    select
        current_bars.*,
        cast({{ processed_by(['int_bars_changed']) }} as integer) as changed_in_batch
    from current_bars
    {% if is_incremental() -%}
    {{ left_join_existing('current_bars', ['series_id', 'opened_at']) }}
    where {{ differs('current_bars', 'existing', 'series_id', values) }}
    {%- endif %}
)

select * from final
