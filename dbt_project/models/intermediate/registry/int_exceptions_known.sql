{{ config(materialized='table_in_place', post_hook=['{{ analyze() }}']) }}
-- The days on which a calendar differs from its regular hours: those of the seed, and closures at short notice that a source
-- names and the seed does not have. Without them every share had an outage on such a day. What the seed says of a day holds.
with

seeded as (
    select
        calendar,
        session_date,
        opens,
        closes
    from {{ ref('session_exceptions') }}
),

reported as (
    {% for source in sources('closures') -%}
    select calendar, session_date, opens, closes, {{ loop.index }} as place
    from {{ ref(var('sources')[source].closures) }}
    {% if not loop.last %}union all{% endif %}
    {%- else -%}
    select calendar, session_date, opens, closes, 1 as place
    from seeded
    where false
    {%- endfor %}
),

-- Of several sources the first one of the list.
chosen as (
    select
        reported.*,
        row_number() over (partition by calendar, session_date order by place) as choice
    from reported
),

final as (
    select calendar, session_date, opens, closes
    from seeded
    union all
    select chosen.calendar, chosen.session_date, chosen.opens, chosen.closes
    from chosen
    left join seeded on seeded.calendar = chosen.calendar and seeded.session_date = chosen.session_date
    where chosen.choice = 1 and seeded.calendar is null
)

select * from final
