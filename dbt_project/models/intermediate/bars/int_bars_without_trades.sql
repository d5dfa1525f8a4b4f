{{
    config(
        indexes=[{'columns': ['series_id', 'opened_at']}],
        pre_hook=["{{ require_whole('int_resampling_frontier') }}"],
        post_hook=['{{ analyze() }}']
    )
}}
-- The base bars that are not there because nothing was traded, of the sessions that are resampled in this run, each with
-- the load since which it is known: a source that gives no bar without trades has answered for its time, and has other
-- bars of the session. They are not expected when coarser bars are made: else no hour and no day of an ETF that trades in
-- 6 of its 78 five-minute bars were ever valid. Judged again when a bar of the session comes late or is retracted.
with

sessions as (
    select distinct
        frontier.base_series_id as series_id,
        frontier.base_step_minutes as step_minutes,
        slots.slot_date as session_date,
        slots.first_slot_at,
        slots.opens_at,
        slots.closes_at,
        slots.slots
    from {{ ref('int_resampling_frontier') }} as frontier
    inner join {{ ref('int_series') }} as series on series.series_id = frontier.base_series_id
    inner join {{ ref('int_slots') }} as slots
        on
            slots.calendar = series.calendar
            and slots.timeframe = series.timeframe
            and slots.grid = series.grid
            and slots.slot_date >= frontier.slot_date
            and slots.slot_date <= frontier.slot_date + case when frontier.step_minutes = 10080 then 6 else 0 end
    where frontier.base_step_minutes < 1440
),

-- A session that never had a bar is a hole of its source.
counted as (
    select
        sessions.*,
        bars.load_no
    from sessions
    inner join lateral (
        select
            min(known.first_load_no) as load_no,
            count(case when not known.is_withdrawn then 1 end) as bars
        from {{ ref('int_bars_selected') }} as known
        where
            known.series_id = sessions.series_id
            and known.opened_at >= sessions.first_slot_at
            and known.opened_at < sessions.closes_at
            and known.is_listed
    ) as bars on bars.load_no is not null and bars.bars < sessions.slots
    where exists (
        select 1
        from {{ ref('int_answered_sessions') }} as answered
        where answered.series_id = sessions.series_id and answered.session_date = sessions.session_date
    )
),

expected as (
    select
        counted.series_id,
        counted.session_date,
        counted.load_no,
        counted.opens_at,
        counted.first_slot_at + {{ minutes('numbers.number * counted.step_minutes') }} as opened_at,
        least(
            counted.first_slot_at + {{ minutes('(numbers.number + 1) * counted.step_minutes') }}, counted.closes_at
        ) as closed_at
    from counted
    cross join lateral {{ whole_numbers(0, 'counted.slots - 1') }} as numbers
),

missing as (
    select expected.*
    from expected
    left join {{ ref('int_bars_selected') }} as live
        on
            live.series_id = expected.series_id
            and live.opened_at = expected.opened_at
            and live.is_listed
            and not live.is_withdrawn
    where live.series_id is null
),

final as (
    select
        missing.series_id,
        missing.opened_at,
        missing.session_date,
        greatest(max(missing.load_no), min(answered.load_no)) as known_in_load
    from missing
    inner join {{ ref('int_answered_sessions') }} as answered
        on
            answered.series_id = missing.series_id
            and answered.session_date = missing.session_date
            -- Hours on the clock begin before the session does.
            and answered.covered_from <= greatest(missing.opened_at, missing.opens_at)
            and answered.covered_to >= missing.closed_at
    group by missing.series_id, missing.opened_at, missing.session_date
)

select * from final
