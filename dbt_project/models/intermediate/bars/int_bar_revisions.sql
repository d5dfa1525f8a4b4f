{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        indexes=[
            {'columns': ['series_id', 'opened_at', 'source', 'revision'], 'unique': true},
            {'columns': ['load_no'], 'type': 'brin'},
        ],
        pre_hook=["{{ require_whole('int_bars_observed') }}", '{{ forget_replaced_series() }}'],
        post_hook=["{{ advance_watermark(['int_bars_observed']) }}", '{{ analyze() }}']
    )
}}
-- depends_on: {{ ref('int_series_rules') }}
-- The log of what each source said: one row per final bar and source, and another one each time that source said
-- something else (A -> B -> A makes three). A bar that a later answer passes over, though it has bars on both sides of
-- it, is withdrawn: that is a revision too, without values. Prices are in the source's own basis (Yahoo's are adjusted
-- for splits). Appended to, never changed, unless all answers on a series are read again (int_bars_observed).
with

final_bars as (
    select * from {{ ref('int_bars_observed') }}
    where
        is_final
        and (load_no > {{ watermark('int_bar_revisions') }} or {{ is_of_replaced_series('int_bar_revisions') }})
),

-- What each new answer covered, from its first bar to its last.
answers as (
    select
        series_id,
        source,
        load_no,
        known_until,
        fetched_at,
        window_start,
        min(opened_at) as first_opened_at,
        max(opened_at) as last_opened_at
    from final_bars
    group by series_id, source, load_no, known_until, fetched_at, window_start
),

-- Only an answer that reads again what an earlier one held can withdraw anything, and none of a single bar: 31,000 of
-- those were compared with all bars of their series (minutes in 5M rows).
{% if is_incremental() -%}
known_keys as (
    select distinct
        answers.series_id,
        answers.source,
        known.opened_at,
        answers.load_no,
        answers.known_until,
        answers.fetched_at,
        answers.window_start
    from answers
    inner join {{ this }} as known
        on
            known.series_id = answers.series_id
            and known.source = answers.source
            and known.opened_at > answers.first_opened_at
            and known.opened_at < answers.last_opened_at
    where answers.first_opened_at < answers.last_opened_at
),
{%- else -%}
known_keys as (
    select
        series_id, source, opened_at, load_no, known_until, fetched_at, window_start
    from final_bars
    where false
),
{%- endif %}

rereading_answers as (
    select later.*
    from answers as later
    where
        later.first_opened_at < later.last_opened_at
        and exists (
            select 1
            from answers as earlier
            where
                earlier.series_id = later.series_id
                and earlier.source = later.source
                and (earlier.load_no, earlier.known_until, earlier.fetched_at, earlier.window_start)
                < (later.load_no, later.known_until, later.fetched_at, later.window_start)
                and earlier.first_opened_at < later.last_opened_at
                and earlier.last_opened_at > later.first_opened_at
        )
),

expected_keys as (
    select * from known_keys
    union
    select
        rereading_answers.series_id,
        rereading_answers.source,
        final_bars.opened_at,
        rereading_answers.load_no,
        rereading_answers.known_until,
        rereading_answers.fetched_at,
        rereading_answers.window_start
    from rereading_answers
    inner join final_bars
        on
            final_bars.series_id = rereading_answers.series_id
            and final_bars.source = rereading_answers.source
            and final_bars.opened_at > rereading_answers.first_opened_at
            and final_bars.opened_at < rereading_answers.last_opened_at
),

withdrawn as (
    select expected_keys.*
    from expected_keys
    left join final_bars as present
        on
            present.series_id = expected_keys.series_id
            and present.opened_at = expected_keys.opened_at
            and present.source = expected_keys.source
            and present.load_no = expected_keys.load_no
            and present.known_until = expected_keys.known_until
            and present.fetched_at = expected_keys.fetched_at
            and present.window_start = expected_keys.window_start
    where present.series_id is null
),

events as (
    select
        series_id, opened_at, source, load_no, known_until, fetched_at, window_start, payload_position,
        is_withdrawal as is_withdrawn, open, high, low, close, volume, taker_buy_volume
    from final_bars

    union all

    select
        series_id, opened_at, source, load_no, known_until, fetched_at, window_start, 0,
        true, null, null, null, null, null, null
    from withdrawn
),

compared as (
    select
        events.*,
        lag(events.series_id) over in_order is null as is_first_of_batch,
        not ( -- noqa: LT01, LT06
            lag(events.is_withdrawn) over in_order is not distinct from events.is_withdrawn
            and lag(events.open) over in_order is not distinct from events.open
            and lag(events.high) over in_order is not distinct from events.high
            and lag(events.low) over in_order is not distinct from events.low
            and lag(events.close) over in_order is not distinct from events.close
            and lag(events.volume) over in_order is not distinct from events.volume
            and lag(events.taker_buy_volume) over in_order is not distinct from events.taker_buy_volume
        ) as differs_from_previous
    from events
    window in_order as (
        partition by events.series_id, events.opened_at, events.source
        order by events.load_no, events.known_until, events.fetched_at, events.window_start, events.payload_position
    )
),

{% if is_incremental() -%}
latest as (
    select known.*
    from {{ this }} as known
    inner join (
        select distinct series_id, opened_at, source
        from compared
    ) as touched
        on
            touched.series_id = known.series_id
            and touched.opened_at = known.opened_at
            and touched.source = known.source
    where not exists (
        select 1
        from {{ this }} as newer
        where
            newer.series_id = known.series_id
            and newer.opened_at = known.opened_at
            and newer.source = known.source
            and newer.revision = known.revision + 1
    )
),

news as (
    select
        compared.*,
        coalesce(latest.revision, 0) as known_revisions
    from compared
    left join latest
        on
            latest.series_id = compared.series_id
            and latest.opened_at = compared.opened_at
            and latest.source = compared.source
    where
        case
            when not compared.is_first_of_batch then compared.differs_from_previous
            when latest.series_id is null then not compared.is_withdrawn
            else not (
                latest.is_withdrawn = compared.is_withdrawn
                and latest.open is not distinct from compared.open
                and latest.high is not distinct from compared.high
                and latest.low is not distinct from compared.low
                and latest.close is not distinct from compared.close
                and latest.volume is not distinct from compared.volume
                and latest.taker_buy_volume is not distinct from compared.taker_buy_volume
            )
        end
),
{%- else -%}
news as (
    select
        *,
        0 as known_revisions
    from compared
    where case when is_first_of_batch then not is_withdrawn else differs_from_previous end
),
{%- endif %}

final as (
    select
        series_id,
        opened_at,
        source,
        cast(
            known_revisions + row_number() over (
                partition by series_id, opened_at, source
                order by load_no, known_until, fetched_at, window_start, payload_position
            ) as integer
        ) as revision,
        cast(load_no as integer) as load_no,
        fetched_at,
        is_withdrawn,
        open,
        high,
        low,
        close,
        volume,
        taker_buy_volume
    from news
)

select * from final
