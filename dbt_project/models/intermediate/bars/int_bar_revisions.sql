{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        indexes=[
            {'columns': ['series_id', 'opened_at', 'source', 'revision'], 'unique': true},
            {'columns': ['batch'], 'type': 'brin'},
        ],
        pre_hook=["{{ require_full_input(ref('int_bars_observed')) }}", '{{ delete_replaced_series() }}'],
        post_hook=["{{ advance_watermark([ref('int_bars_observed')]) }}", '{{ analyze() }}']
    )
}}
-- depends_on: {{ ref('int_series_fingerprints') }}
-- The log of what each source reported: one row per final bar and source, and another one each time that source reported
-- something else (A -> B -> A makes three). A bar that a later answer passes over is retracted: that is a revision too,
-- without values. What an answer proves is bounded: it retracts nothing outside its first and last bar (so nothing
-- outside the asked window either), no run of bars that is longer than what it has before or after the run (one stray bar
-- took back 216 good ones), and nothing at all if one of its rows could not be aligned, which may be the missing one.
-- Prices are in the source's own basis (Yahoo's are adjusted for splits). Appended to, never changed, unless all answers
-- on a series are read again (int_bars_observed).
with

final_bars as (
    select * from {{ ref('int_bars_observed') }}
    where
        is_final
        and (batch > {{ watermark('int_bar_revisions') }} or {{ is_of_replaced_series('int_bar_revisions') }})
),

-- A row that is no final bar still says that there is something in its place.
other_rows as (
    select
        series_id, source, batch, known_until, fetched_at, window_start, opened_at,
        max(
            case
                when
                    reject_reason in (
                        'no readable time stamp', 'no readable time stamp or zone', 'stamped after the answer was made',
                        'outside the asked window', 'contradicted by a later row of its answer'
                    )
                    then 1
                else 0
            end
        ) as is_misplaced
    from {{ ref('int_bars_observed') }}
    where
        not is_final
        and (batch > {{ watermark('int_bar_revisions') }} or {{ is_of_replaced_series('int_bar_revisions') }})
    group by series_id, source, batch, known_until, fetched_at, window_start, opened_at
),

-- What each new answer covered, from its first bar to its last.
answers as (
    select
        series_id,
        source,
        batch,
        known_until,
        fetched_at,
        window_start,
        min(opened_at) as first_opened_at,
        max(opened_at) as last_opened_at
    from final_bars
    group by series_id, source, batch, known_until, fetched_at, window_start
),

-- Only an answer that reads again what an earlier one had can retract anything, and none of a single bar: 31,000 of
-- those were compared with all bars of their series (minutes in 5M rows).
{% if is_incremental() -%}
known_keys as (
    select distinct
        answers.series_id,
        answers.source,
        known.opened_at,
        answers.batch,
        answers.known_until,
        answers.fetched_at,
        answers.window_start
    from answers
    inner join lateral (
        select existing_rows.opened_at
        from {{ this }} as existing_rows
        where
            existing_rows.series_id = answers.series_id
            and existing_rows.opened_at > answers.first_opened_at
            and existing_rows.opened_at < answers.last_opened_at
            and existing_rows.source = answers.source
        {{ optimization_fence() }}
    ) as known on true
    where answers.first_opened_at < answers.last_opened_at
),
{%- else -%}
known_keys as (
    select
        series_id, source, opened_at, batch, known_until, fetched_at, window_start
    from final_bars
    where false
),
{%- endif %}

-- The other answers of this run: those that overlap another one, with each day that they cover. Joined by their ranges
-- alone, each answer met all bars of its series (a series that is asked every hour has 9,000 answers a year).
neighbours as (
    select
        *,
        max(last_opened_at) over (
            partition by series_id, source
            order by first_opened_at asc, last_opened_at asc
            rows between unbounded preceding and 1 preceding
        ) as reached_before,
        lead(first_opened_at) over (
            partition by series_id, source order by first_opened_at asc, last_opened_at asc
        ) as next_opened_at
    from answers
),

rereading_answers as (
    select
        neighbours.*,
        days.day
    from neighbours
    cross join lateral {{ dates(
        local_date('neighbours.first_opened_at', "'UTC'"), local_date('neighbours.last_opened_at', "'UTC'")
    ) }} as days
    where
        neighbours.first_opened_at < neighbours.last_opened_at
        and (
            neighbours.reached_before > neighbours.first_opened_at
            or neighbours.next_opened_at < neighbours.last_opened_at
        )
    {{ optimization_fence() }}
),

-- Bars that were known before the answer, and lie between its first and its last.
expected_keys as (
    select * from known_keys
    union
    select
        later.series_id,
        later.source,
        earlier.opened_at,
        later.batch,
        later.known_until,
        later.fetched_at,
        later.window_start
    from rereading_answers as later
    inner join final_bars as earlier
        on
            earlier.series_id = later.series_id
            and earlier.source = later.source
            and {{ local_date('earlier.opened_at', "'UTC'") }} = later.day
            and earlier.opened_at > later.first_opened_at
            and earlier.opened_at < later.last_opened_at
            and (earlier.batch, earlier.known_until, earlier.fetched_at, earlier.window_start)
            < (later.batch, later.known_until, later.fetched_at, later.window_start)
),

omitted as (
    select expected_keys.*
    from expected_keys
    left join final_bars as present
        on
            present.series_id = expected_keys.series_id
            and present.opened_at = expected_keys.opened_at
            and present.source = expected_keys.source
            and present.batch = expected_keys.batch
            and present.known_until = expected_keys.known_until
            and present.fetched_at = expected_keys.fetched_at
            and present.window_start = expected_keys.window_start
    left join other_rows as other
        on
            other.series_id = expected_keys.series_id
            and other.source = expected_keys.source
            and other.batch = expected_keys.batch
            and other.known_until = expected_keys.known_until
            and other.fetched_at = expected_keys.fetched_at
            and other.window_start = expected_keys.window_start
            and (other.opened_at = expected_keys.opened_at or other.is_misplaced = 1)
    where present.series_id is null and other.series_id is null
),

-- Of the few answers that omit a bar: how many bars they have before and after each.
timelines as (
    select
        omitted.*,
        0 as is_present
    from omitted
    union all
    select distinct
        final_bars.series_id, final_bars.source, final_bars.opened_at, final_bars.batch, final_bars.known_until,
        final_bars.fetched_at, final_bars.window_start, 1
    from final_bars
    inner join (
        select distinct series_id, source, batch, known_until, fetched_at, window_start
        from omitted
    ) as answers_with_holes
        on
            answers_with_holes.series_id = final_bars.series_id
            and answers_with_holes.source = final_bars.source
            and answers_with_holes.batch = final_bars.batch
            and answers_with_holes.known_until = final_bars.known_until
            and answers_with_holes.fetched_at = final_bars.fetched_at
            and answers_with_holes.window_start = final_bars.window_start
),

counted as (
    select
        *,
        sum(is_present) over (
            partition by series_id, source, batch, known_until, fetched_at, window_start
            order by opened_at
            rows between unbounded preceding and current row
        ) as bars_before,
        sum(is_present) over (
            partition by series_id, source, batch, known_until, fetched_at, window_start
        ) as bars_in_answer
    from timelines
),

-- Bars omitted between the same two of the answer are a run.
runs as (
    select
        *,
        count(*) over (
            partition by series_id, source, batch, known_until, fetched_at, window_start, bars_before
        ) as bars_in_run
    from counted
    where is_present = 0
),

retracted as (
    select
        series_id, source, opened_at, batch, known_until, fetched_at, window_start
    from runs
    where bars_in_run <= least(bars_before, bars_in_answer - bars_before)
),

events as (
    select
        series_id, opened_at, source, batch, known_until, fetched_at, window_start, payload_position,
        is_withdrawal as is_retracted, open, high, low, close, volume, taker_buy_volume
    from final_bars

    union all

    select
        series_id, opened_at, source, batch, known_until, fetched_at, window_start, 0,
        true, null, null, null, null, null, null
    from retracted
),

compared as (
    select
        events.*,
        lag(events.series_id) over in_order is null as is_first_of_batch,
        not ( -- noqa: LT01, LT06
            lag(events.is_retracted) over in_order is not distinct from events.is_retracted
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
        order by events.batch, events.known_until, events.fetched_at, events.window_start, events.payload_position
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

changed_rows as (
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
            when latest.series_id is null then not compared.is_retracted
            else not (
                latest.is_retracted = compared.is_retracted
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
changed_rows as (
    select
        *,
        0 as known_revisions
    from compared
    where case when is_first_of_batch then not is_retracted else differs_from_previous end
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
                order by batch, known_until, fetched_at, window_start, payload_position
            ) as integer
        ) as revision,
        cast(batch as integer) as batch,
        fetched_at,
        is_retracted,
        open,
        high,
        low,
        close,
        volume,
        taker_buy_volume
    from changed_rows
)

select * from final
