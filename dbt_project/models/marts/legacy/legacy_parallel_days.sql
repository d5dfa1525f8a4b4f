{{ config(materialized='view') }}
-- legacy_parallel_check, day by day: how many days in a row both systems had the same bars, and whether that is long
-- enough to let the old one go. A day counts once both systems have reached it.
with

bars as (
    select * from {{ ref('legacy_parallel_check') }}
    where verdict <> 'written by us'
),

reached as (
    select
        least(
            max(case when time_old is not null then day end), max(case when time_new is not null then day end)
        ) as last_day
    from bars
),

days as (
    select
        bars.day,
        count(*) as bars,
        sum(case when bars.verdict = 'same' then 1 else 0 end) as same,
        sum(case when bars.verdict = 'differs' then 1 else 0 end) as differing,
        sum(case when bars.verdict = 'only old' then 1 else 0 end) as only_old,
        sum(case when bars.verdict = 'only new' then 1 else 0 end) as only_new
    from bars
    inner join reached on bars.day <= reached.last_day
    group by bars.day
),

streaks as (
    select
        *,
        sum(case when same < bars then 1 else 0 end) over (
            order by day rows between unbounded preceding and current row
        ) as unclean_days
    from days
),

counted as (
    select
        *,
        sum(case when same = bars then 1 else 0 end) over (
            partition by unclean_days order by day rows between unbounded preceding and current row
        ) as clean_days
    from streaks
),

final as (
    select
        day,
        cast(bars as integer) as bars,
        cast(same as integer) as same,
        cast(differing as integer) as differing,
        cast(only_old as integer) as only_old,
        cast(only_new as integer) as only_new,
        same = bars as is_clean,
        cast(clean_days as integer) as clean_days,
        case
            when clean_days >= {{ var('legacy_clean_days') }}
                then 'ready to deprecate after ' || cast(clean_days as text) || ' clean days'
            when same < bars then 'the systems differ'
            else 'clean for ' || cast(clean_days as text) || ' of {{ var('legacy_clean_days') }} days'
        end as verdict
    from counted
)

select * from final
