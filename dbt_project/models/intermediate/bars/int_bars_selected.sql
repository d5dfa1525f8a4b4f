{%- set values = [
    'closed_at', 'session_date', 'slot_no', 'source', 'open', 'high', 'low', 'close', 'volume', 'taker_buy_volume',
    'split_factor', 'is_valid', 'failed_checks', 'revision', 'first_seen_at', 'fetched_at', 'is_listed'
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
        post_hook=[
            "{{ advance_watermark(['int_bar_revisions']) }}",
            '{{ analyze() }}',
        ]
    )
}}
-- depends_on: {{ ref('int_series_rules') }}
-- depends_on: {{ ref('int_splits') }}
-- The bar of each key as its series has it: the first source, in order, whose latest word on it passes the checks; if
-- none passes, the first source's word, flagged. Prices and volumes are as traded. `revision` counts the versions the
-- bar went through, load by load, so it does not depend on how often this model ran.
with

series as (
    select * from {{ ref('int_series') }}
),

{% if is_incremental() -%}
reselected_series as (
    select rules.series_id
    from {{ ref('int_series_rules') }} as rules
    where rules.changed_in_load > {{ watermark('int_bars_selected') }}

    union

    select series.series_id
    from series
    inner join {{ ref('int_splits') }} as splits
        on splits.symbol = series.symbol and splits.asset_class = series.asset_class
    where splits.changed_in_load > {{ watermark('int_bars_selected') }}
),

changed_keys as (
    select series_id, opened_at
    from {{ ref('int_bar_revisions') }}
    where load_no > {{ watermark('int_bars_selected') }}

    union

    select revisions.series_id, revisions.opened_at
    from {{ ref('int_bar_revisions') }} as revisions
    inner join reselected_series on reselected_series.series_id = revisions.series_id
),

revisions as (
    select revisions.*
    from {{ ref('int_bar_revisions') }} as revisions
    inner join changed_keys
        on changed_keys.series_id = revisions.series_id and changed_keys.opened_at = revisions.opened_at
),
{%- else -%}
revisions as (
    select * from {{ ref('int_bar_revisions') }}
),
{%- endif %}

placed as (
    select
        revisions.*,
        series.asset_class,
        series.step_minutes,
        slots.slot_date as session_date,
        case
            when series.step_minutes >= 1440 then slots.closes_at
            else least(revisions.opened_at + {{ minutes('series.step_minutes') }}, slots.closes_at)
        end as closed_at,
        slots.slots_before + cast(
            ({{ epoch_seconds('revisions.opened_at') }} - {{ epoch_seconds('slots.first_slot_at') }})
            / (series.step_minutes * 60) as integer
        ) as slot_no,
        {{ place_in_list('revisions.source', 'series.sources_in_order') }} as source_place,
        coalesce(factors.split_factor, 1) as split_factor,
        -- Yahoo adjusts for every split up to its answer: undone by the splits between the session and the answer.
        case
            when revisions.source = 'yahoo'
                then coalesce(answered.split_factor, 1) / coalesce(factors.split_factor, 1)
            else 1
        end as adjustment
    from revisions
    inner join series on series.series_id = revisions.series_id
    inner join {{ ref('int_slots') }} as slots
        on
            slots.calendar = series.calendar
            and slots.timeframe = series.timeframe
            and slots.grid = series.grid
            and slots.slot_date = {{ local_date('revisions.opened_at', 'series.time_zone') }}
            and mod({{ epoch_seconds('revisions.opened_at') }} - {{ epoch_seconds('slots.first_slot_at') }}, series.step_minutes * 60) = 0
    left join {{ ref('int_split_factors') }} as factors
        on
            factors.symbol = series.symbol
            and factors.asset_class = series.asset_class
            and factors.first_session <= slots.slot_date
            and factors.next_first_session > slots.slot_date
    left join {{ ref('int_split_factors') }} as answered
        on
            answered.symbol = series.symbol
            and answered.asset_class = series.asset_class
            and answered.first_session <= {{ local_date('revisions.fetched_at', 'series.time_zone') }}
            and answered.next_first_session > {{ local_date('revisions.fetched_at', 'series.time_zone') }}
            and revisions.source = 'yahoo'
    where
        {{ place_in_list('revisions.source', 'series.sources_in_order') }} is not null
        and (series.active_from is null or slots.slot_date >= series.active_from)
        and (series.active_to is null or slots.slot_date <= series.active_to)
),

as_traded as (
    select
        series_id,
        opened_at,
        closed_at,
        session_date,
        slot_no,
        source,
        source_place,
        load_no,
        revision,
        fetched_at,
        is_withdrawn,
        split_factor,
        -- US stocks trade in steps of 0.0001 at the finest; Yahoo's single-precision noise ends before that.
        case when adjustment = 1 and not (source = 'yahoo' and asset_class <> 'crypto') then open else round(open * adjustment, 4) end as open,
        case when adjustment = 1 and not (source = 'yahoo' and asset_class <> 'crypto') then high else round(high * adjustment, 4) end as high,
        case when adjustment = 1 and not (source = 'yahoo' and asset_class <> 'crypto') then low else round(low * adjustment, 4) end as low,
        case when adjustment = 1 and not (source = 'yahoo' and asset_class <> 'crypto') then close else round(close * adjustment, 4) end as close,
        case when adjustment = 1 then volume else round(volume / adjustment, 0) end as volume,
        taker_buy_volume,
        count(*) over (partition by series_id, opened_at) as words
    from placed
),

-- A withdrawn bar keeps the values it had, flagged.
spoken as (
    select
        series_id,
        opened_at,
        closed_at,
        session_date,
        slot_no,
        source,
        source_place,
        load_no,
        fetched_at,
        is_withdrawn,
        split_factor,
        words,
        case when is_withdrawn then lag(open) over by_source else open end as open,
        case when is_withdrawn then lag(high) over by_source else high end as high,
        case when is_withdrawn then lag(low) over by_source else low end as low,
        case when is_withdrawn then lag(close) over by_source else close end as close,
        case when is_withdrawn then lag(volume) over by_source else volume end as volume,
        case when is_withdrawn then lag(taker_buy_volume) over by_source else taker_buy_volume end as taker_buy_volume,
        lead(load_no) over by_source as superseded_in
    from as_traded
    where words > 1
    window by_source as (partition by series_id, opened_at, source order by revision)
),

checked as (
    select
        series_id, opened_at, closed_at, session_date, slot_no, source, source_place, load_no, fetched_at,
        split_factor, words, open, high, low, close, volume, taker_buy_volume, superseded_in, is_withdrawn,
        case when is_withdrawn then 'withdrawn by ' || source else {{ failed_bar_checks() }} end as failed_checks
    from (
        select
            series_id, opened_at, closed_at, session_date, slot_no, source, source_place, load_no, fetched_at,
            split_factor, words, open, high, low, close, volume, taker_buy_volume,
            cast(null as integer) as superseded_in, is_withdrawn
        from as_traded
        where words = 1
        union all
        select
            series_id, opened_at, closed_at, session_date, slot_no, source, source_place, load_no, fetched_at,
            split_factor, words, open, high, low, close, volume, taker_buy_volume, superseded_in, is_withdrawn
        from spoken
    ) as all_words
),

moments as (
    select distinct series_id, opened_at, load_no
    from checked
    where words > 1
),

candidates as (
    select
        checked.*,
        moments.load_no as as_of_load,
        row_number() over (
            partition by checked.series_id, checked.opened_at, moments.load_no
            order by
                case when checked.failed_checks is null then 0 else 1 end,
                case when checked.is_withdrawn then 1 else 0 end,
                checked.source_place
        ) as place
    from moments
    inner join checked
        on
            checked.series_id = moments.series_id
            and checked.opened_at = moments.opened_at
            and checked.load_no <= moments.load_no
            and coalesce(checked.superseded_in, 2147483647) > moments.load_no
),

versions as (
    select
        *,
        not (
            lag(source) over over_time is not distinct from source
            and lag(open) over over_time is not distinct from open
            and lag(high) over over_time is not distinct from high
            and lag(low) over over_time is not distinct from low
            and lag(close) over over_time is not distinct from close
            and lag(volume) over over_time is not distinct from volume
            and lag(taker_buy_volume) over over_time is not distinct from taker_buy_volume
            and lag(failed_checks) over over_time is not distinct from failed_checks
        ) as is_new_version,
        row_number() over (partition by series_id, opened_at order by as_of_load desc) as age
    from candidates
    where place = 1
    window over_time as (partition by series_id, opened_at order by as_of_load)
),

counted as (
    select
        *,
        sum(case when is_new_version then 1 else 0 end) over over_time as revision,
        min(fetched_at) over over_time as first_seen_at
    from versions
    window over_time as (
        partition by series_id, opened_at order by as_of_load rows between unbounded preceding and current row
    )
),

selected as (
    select
        series_id, opened_at, closed_at, session_date, slot_no, source, open, high, low, close, volume,
        taker_buy_volume, split_factor, failed_checks, 1 as revision, fetched_at as first_seen_at, fetched_at
    from checked
    where words = 1

    union all

    select
        series_id, opened_at, closed_at, session_date, slot_no, source, open, high, low, close, volume,
        taker_buy_volume, split_factor, failed_checks, revision, first_seen_at, fetched_at
    from counted
    where age = 1
),

{% if is_incremental() -%}
-- A key that the rules no longer give a bar (its source was taken off the list, its grid changed) stays as a marker,
-- so that later models can remove theirs.
unlisted as (
    select kept.*
    from {{ this }} as kept
    inner join reselected_series on reselected_series.series_id = kept.series_id
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
        true as is_listed
    from selected
    {% if is_incremental() -%}
    union all
    select
        series_id, opened_at, closed_at, session_date, slot_no, source, open, high, low, close, volume,
        taker_buy_volume, split_factor, false, 'no longer listed', revision, first_seen_at, fetched_at, false
    from unlisted
    {%- endif %}
),

final as (
    select
        listed.*,
        cast({{ worked_in_by(['int_bar_revisions']) }} as integer) as changed_in_load
    from listed
    {% if is_incremental() -%}
    left join {{ this }} as kept on kept.series_id = listed.series_id and kept.opened_at = listed.opened_at
    where {{ differs('listed', 'kept', 'series_id', values) }}
    {%- endif %}
)

select * from final
