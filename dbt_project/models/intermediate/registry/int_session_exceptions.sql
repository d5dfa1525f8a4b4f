{{ config(materialized='incremental', unique_key=['calendar', 'session_date'], incremental_strategy='merge') }}
-- The session exceptions that bars were last aligned by, and the load at which each was changed late: less than a week before
-- its day, or after it. Next year's holidays change no bar that is there.
with

exceptions as (
    select * from {{ ref('int_exceptions_known') }}
),

differing as (
    select
        exceptions.calendar,
        exceptions.session_date,
        exceptions.opens,
        exceptions.closes,
        true as is_active
    from exceptions
    {% if is_incremental() -%}
    left join {{ this }} as existing
        on existing.calendar = exceptions.calendar and existing.session_date = exceptions.session_date and existing.is_active
    where
        existing.calendar is null
        or existing.opens is distinct from exceptions.opens
        or existing.closes is distinct from exceptions.closes

    union all

    select
        existing.calendar,
        existing.session_date,
        existing.opens,
        existing.closes,
        false as is_active
    from {{ this }} as existing
    left join exceptions on exceptions.calendar = existing.calendar and exceptions.session_date = existing.session_date
    where existing.is_active and exceptions.calendar is null
    {%- endif %}
),

final as (
    select
        *,
        -- Of the days to come those of the running week count: they say when its bar ends.
        case
            when session_date <= {{ local_date(warehouse_now(), "'UTC'") }} + 7
                then (select max(loads.batch) from {{ ref('int_loads') }} as loads)
        end as changed_in_batch
    from differing
)

select * from final
