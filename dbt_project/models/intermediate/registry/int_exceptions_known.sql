{{ config(materialized='table_in_place', post_hook=['{{ analyze() }}']) }}
-- The days on which a calendar differs from its regular hours: those of the seed and, of New York, closures at short notice
-- that Polygon's list of coming holidays names and the seed does not have (a day of mourning: 2025-01-09). Without them
-- every share had an outage on such a day. What the seed says of a day holds.
with

seeded as (
    select
        calendar,
        session_date,
        opens,
        closes
    from {{ ref('session_exceptions') }}
),

markets as (
    select time_zone
    from {{ ref('calendars') }}
    where calendar = 'XNYS'
),

holidays as (
    select
        holidays.exchange,
        holidays.session_date,
        holidays.status,
        {{ local_time('holidays.opens_at', 'markets.time_zone') }} as opens,
        {{ local_time('holidays.closes_at', 'markets.time_zone') }} as closes,
        holidays.fetched_at,
        {{ local_date('holidays.fetched_at', 'markets.time_zone') }} as answered_on
    from {{ ref('stg_polygon__market_holidays') }} as holidays
    inner join {{ ref('int_loads') }} as loads on loads.provider = 'polygon' and loads.load_id = holidays.load_id
    cross join markets
),

answers as (
    select fetched_at, min(answered_on) as answered_on
    from holidays
    group by fetched_at
),

-- What both exchanges say alike: one of them alone may be half an answer.
reported as (
    select
        session_date,
        fetched_at,
        min(opens) as opens,
        min(closes) as closes
    from holidays
    where
        exchange in ('NYSE', 'NASDAQ')
        and session_date is not null
        and (status = 'closed' or (status = 'early-close' and opens < closes))
    group by session_date, fetched_at
    having
        count(distinct exchange) = 2
        and count(distinct concat_ws(' ', status, opens, closes)) = 1
),

days as (
    select reported.session_date, max(reported.fetched_at) as named_last_at
    from reported
    left join seeded on seeded.calendar = 'XNYS' and seeded.session_date = reported.session_date
    where seeded.calendar is null
    group by reported.session_date
),

-- The newest answer from before each day, by one pass over both in the order of time: a list of coming days need not name
-- the running one any more.
in_order as (
    select answered_on as on_date, 1 as place, fetched_at, cast(null as date) as session_date
    from answers
    union all
    select session_date, 0, cast(null as timestamp with time zone), session_date
    from days
),

asked_before as (
    select
        session_date,
        max(fetched_at) over (
            order by on_date, place
            rows between unbounded preceding and current row
        ) as asked_last_at
    from in_order
),

at_short_notice as (
    select
        'XNYS' as calendar,
        days.session_date,
        reported.opens,
        reported.closes
    from days
    inner join asked_before on asked_before.session_date = days.session_date
    inner join reported
        on
            reported.session_date = days.session_date
            and reported.fetched_at = greatest(days.named_last_at, coalesce(asked_before.asked_last_at, days.named_last_at))
),

final as (
    select calendar, session_date, opens, closes
    from seeded
    union all
    select calendar, session_date, opens, closes
    from at_short_notice
)

select * from final
