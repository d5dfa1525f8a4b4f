{%- set values = [
    'closed_at', 'session_date', 'slot_no', 'source', 'open', 'high', 'low', 'close', 'volume', 'taker_buy_volume',
    'split_factor', 'is_valid', 'failed_checks', 'revision', 'first_seen_at', 'fetched_at', 'is_listed', 'source_place',
    'is_withdrawn', 'first_load_no', 'load_no'
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
        pre_hook=["{{ require_whole('int_bars_changed') }}"],
        post_hook=[
            "{{ advance_watermark(['int_bars_changed', 'int_bar_versions']) }}",
            '{{ analyze() }}',
        ]
    )
}}
-- depends_on: {{ ref('int_bars_changed') }}
-- depends_on: {{ ref('int_series_rules') }}
-- The bar of each key as its series has it: the one word said on it, or its latest version where there were several.
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
    select words.*
    from {{ ref('int_bar_words') }} as words
    {% if is_incremental() -%}
    inner join changed on changed.series_id = words.series_id and changed.opened_at = words.opened_at
    {%- endif %}
    -- The table, for its index: stock Postgres 15 took the few versions of a run for fewer still, and held every word against
    -- all of them (12 s for 1,460 bars, four times that for twice as many).
    left join {{ ref('int_bar_versions') }} as replayed
        on replayed.series_id = words.series_id and replayed.opened_at = words.opened_at and replayed.is_latest
    where replayed.series_id is null
),

selected as (
    select
        series_id, opened_at, closed_at, session_date, slot_no, source, open, high, low, close, volume,
        taker_buy_volume, split_factor, failed_checks, 1 as revision, fetched_at as first_seen_at, fetched_at,
        source_place, is_withdrawn, load_no as first_load_no, load_no
    from single_words

    union all

    select
        series_id, opened_at, closed_at, session_date, slot_no, source, open, high, low, close, volume,
        taker_buy_volume, split_factor, failed_checks, revision, first_seen_at, fetched_at, source_place, is_withdrawn,
        first_load_no, load_no
    from versions
),

{% if is_incremental() -%}
-- A key that the rules no longer give a bar (its source was taken off the list, its grid changed) stays as a marker,
-- so that later models can remove theirs.
unlisted as (
    select kept.*
    from {{ this }} as kept
    inner join (
        select series_id
        from changed
        where is_reselected
        union
        -- Of a series whose answers were read again no word may be left.
        select series_id
        from {{ ref('int_series_rules') }}
        where changed_in_load > {{ watermark('int_bars_selected') }}
    ) as reselected
        on reselected.series_id = kept.series_id
    left join selected on selected.series_id = kept.series_id and selected.opened_at = kept.opened_at
    where selected.series_id is null and kept.is_listed
),
{%- endif %}

listed as (
    select
        series_id,
        opened_at,
        closed_at,
        session_date,
        slot_no,
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
        true as is_listed,
        cast(source_place as integer) as source_place,
        is_withdrawn,
        cast(first_load_no as integer) as first_load_no,
        cast(load_no as integer) as load_no
    from selected
    {% if is_incremental() -%}
    union all
    select
        series_id, opened_at, closed_at, session_date, slot_no, source, open, high, low, close, volume,
        taker_buy_volume, split_factor, false, 'no longer listed', revision, first_seen_at, fetched_at, false,
        source_place, is_withdrawn, first_load_no, load_no
    from unlisted
    {%- endif %}
),

final as (
    select
        listed.*,
        cast({{ worked_in_by(['int_bars_changed']) }} as integer) as changed_in_load
    from listed
    {% if is_incremental() -%}
    {{ left_join_kept('listed', ['series_id', 'opened_at']) }}
    where {{ differs('listed', 'kept', 'series_id', values) }}
    {%- endif %}
)

select * from final
