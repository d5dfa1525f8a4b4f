{{
    config(
        materialized='table_in_place',
        indexes=[{'columns': ['calendar', 'timeframe', 'alignment', 'bar_date'], 'unique': true}],
        post_hook=['{{ analyze() }}']
    )
}}
-- Where bars are expected: one row per session (for weeks: per week), timeframe and alignment. A session of a calendar is a
-- regular weekday unless int_exceptions_known says otherwise; half days, holidays and DST follow from local hours.
-- expected_before makes a running number of expected bars, by which neighbours and gaps are known without a table of single bars.
with

calendars as (
    select
        *,
        {{ never_closes('calendars') }} as never_closes,
        -- Two weeks ahead, so that a run over midnight or a holiday finds its session.
        {{ local_date(warehouse_now() ~ " + interval '336 hours'", "'UTC'") }} as last_session
    from {{ ref('calendars') }} as calendars
),

days as (
    select
        calendars.calendar,
        calendars.time_zone,
        calendars.never_closes,
        days.day as session_date,
        coalesce(exceptions.opens, calendars.opens) as opens,
        coalesce(exceptions.closes, calendars.closes) as closes
    from calendars
    cross join lateral {{ dates('calendars.first_session', 'calendars.last_session') }} as days
    left join {{ ref('int_exceptions_known') }} as exceptions
        on exceptions.calendar = calendars.calendar and exceptions.session_date = days.day
    where
        position(cast({{ iso_weekday('days.day') }} as {{ text_type() }}) in calendars.weekdays) > 0
        and (exceptions.session_date is null or exceptions.opens is not null)
),

sessions as (
    select
        *,
        {{ local_instant('session_date', 'opens', 'time_zone') }} as opens_at,
        {{ local_instant('session_date', 'closes', 'time_zone') }} as closes_at,
        {{ local_instant('session_date', "'00:00'", 'time_zone') }} as starts_at
    from days
),

alignments as (
    select timeframe, step_minutes, 'open' as alignment
    from {{ ref('timeframes') }}
    union all
    select timeframe, step_minutes, 'clock' as alignment
    from {{ ref('timeframes') }}
    where {{ may_lie_on_clock('step_minutes') }}
),

intraday as (
    select
        sessions.calendar,
        alignments.timeframe,
        alignments.alignment,
        sessions.session_date as bar_date,
        -- Aligned to the clock, the first expected bar is the whole one that holds the open.
        case
            when alignments.alignment = 'open' then sessions.opens_at
            else
                sessions.opens_at
                - {{ minutes(
                    'mod(' ~ minute_of_day('sessions.opens') ~ ', alignments.step_minutes)'
                ) }}
        end as first_expected_at,
        sessions.opens_at,
        sessions.closes_at,
        alignments.step_minutes
    from sessions
    inner join alignments on alignments.step_minutes < 1440 and (alignments.alignment = 'open' or not sessions.never_closes)
),

expected_bars as (
    select
        calendar,
        timeframe,
        alignment,
        bar_date,
        first_expected_at,
        opens_at,
        closes_at,
        cast(
            ceil(({{ epoch_seconds('closes_at') }} - {{ epoch_seconds('first_expected_at') }}) / (60.0 * step_minutes))
            as integer
        ) as expected_bars
    from intraday

    union all

    -- A day is stamped at 00:00 exchange time, as Polygon and yfinance do, and closes with its session.
    select
        sessions.calendar,
        alignments.timeframe,
        'open',
        sessions.session_date,
        sessions.starts_at,
        sessions.opens_at,
        sessions.closes_at,
        1
    from sessions
    inner join alignments on alignments.step_minutes = 1440

    union all

    select
        sessions.calendar,
        alignments.timeframe,
        'open',
        {{ monday('sessions.session_date') }},
        {{ local_instant(monday('sessions.session_date'), "'00:00'", 'max(sessions.time_zone)') }},
        min(sessions.opens_at),
        max(sessions.closes_at),
        1
    from sessions
    inner join alignments on alignments.step_minutes = 10080
    group by sessions.calendar, alignments.timeframe, {{ monday('sessions.session_date') }}
),

final as (
    select
        calendar,
        timeframe,
        alignment,
        bar_date,
        first_expected_at,
        opens_at,
        closes_at,
        expected_bars,
        cast((sum(expected_bars) over running) - expected_bars as integer) as expected_before
    from expected_bars
    window running as (
        partition by calendar, timeframe, alignment order by bar_date rows between unbounded preceding and current row
    )
)

select * from final
