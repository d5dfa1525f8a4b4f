{{ config(materialized='incremental', unique_key=['calendar', 'session_date'], incremental_strategy='merge') }}
-- The session exceptions that bars were last placed by, and the load at which each was changed late: less than a week before
-- its day, or after it. Next year's holidays change no bar that is there.
with

exceptions as (
    select * from {{ ref('session_exceptions') }}
),

differing as (
    select
        exceptions.calendar,
        exceptions.session_date,
        exceptions.opens,
        exceptions.closes,
        true as is_listed
    from exceptions
    {% if is_incremental() -%}
    left join {{ this }} as kept
        on kept.calendar = exceptions.calendar and kept.session_date = exceptions.session_date and kept.is_listed
    where
        kept.calendar is null
        or kept.opens is distinct from exceptions.opens
        or kept.closes is distinct from exceptions.closes

    union all

    select
        kept.calendar,
        kept.session_date,
        kept.opens,
        kept.closes,
        false as is_listed
    from {{ this }} as kept
    left join exceptions on exceptions.calendar = kept.calendar and exceptions.session_date = kept.session_date
    where kept.is_listed and exceptions.calendar is null
    {%- endif %}
),

final as (
    select
        *,
        -- Of the days to come those of the running week count: they say when its bar ends.
        case
            when session_date <= {{ local_date(warehouse_now(), "'UTC'") }} + 7
                then (select max(loads.load_no) from {{ ref('int_loads') }} as loads)
        end as changed_in_load
    from differing
)

select * from final
