{{ config(materialized='table_in_place', post_hook=['{{ analyze() }}']) }}
-- Closed and half days that Polygon's list of coming holidays names, of days that no seed need know (a day of mourning:
-- 2025-01-09).
with

markets as (
    select calendar, time_zone
    from {{ ref('calendars') }}
),

holidays as (
    select
        holidays.calendar,
        holidays.exchange,
        holidays.session_date,
        holidays.status,
        {{ local_time('holidays.opens_at', 'markets.time_zone') }} as opens,
        {{ local_time('holidays.closes_at', 'markets.time_zone') }} as closes,
        holidays.fetched_at,
        {{ local_date('holidays.fetched_at', 'markets.time_zone') }} as answered_on
    from {{ ref('stg_polygon__market_holidays') }} as holidays
    inner join {{ ref('int_loads') }} as loads on loads.provider = 'polygon' and loads.load_id = holidays.load_id
    inner join markets on markets.calendar = holidays.calendar
),

answers as (
    select calendar, fetched_at, min(answered_on) as answered_on
    from holidays
    group by calendar, fetched_at
),

-- What both exchanges say alike: one of them alone may be half an answer.
reported as (
    select
        calendar,
        session_date,
        fetched_at,
        min(opens) as opens,
        min(closes) as closes
    from holidays
    where
        exchange in ('NYSE', 'NASDAQ')
        and session_date is not null
        and (status = 'closed' or (status = 'early-close' and opens < closes))
    group by calendar, session_date, fetched_at
    having
        count(distinct exchange) = 2
        and count(distinct concat_ws(' ', status, opens, closes)) = 1
),

days as (
    select calendar, session_date, max(fetched_at) as named_last_at
    from reported
    group by calendar, session_date
),

-- The newest answer from before each day, by one pass over both in the order of time: a list of coming days need not name
-- the running one any more.
in_order as (
    select calendar, answered_on as on_date, 1 as place, fetched_at, cast(null as date) as session_date
    from answers
    union all
    select calendar, session_date, 0, cast(null as {{ instant_type() }}), session_date
    from days
),

asked_before as (
    select
        calendar,
        session_date,
        max(fetched_at) over (
            partition by calendar order by on_date, place
            rows between unbounded preceding and current row
        ) as asked_last_at
    from in_order
),

final as (
    select
        days.calendar,
        days.session_date,
        reported.opens,
        reported.closes
    from days
    inner join asked_before
        on asked_before.calendar = days.calendar and asked_before.session_date = days.session_date
    inner join reported
        on
            reported.calendar = days.calendar
            and reported.session_date = days.session_date
            and reported.fetched_at = greatest(days.named_last_at, coalesce(asked_before.asked_last_at, days.named_last_at))
)

select * from final
