{{
    config(
        materialized='table_in_place',
        indexes=[{'columns': ['series_id', 'first_slot_no'], 'unique': true}],
        post_hook=['{{ analyze() }}']
    )
}}
-- The work list: every expected bar that is not there, session by session (calendar and listing, minus present bars):
-- between two bars, after the last one, or before the first one as far as was asked. Which of them are quiet follows
-- here, too: their absence is settled, and nothing else is looked up for them.
with

asked as (
    select
        symbol,
        asset_class,
        timeframe,
        min(asked_from) as asked_from
    from {{ ref('int_answers') }}
    where is_answer
    group by symbol, asset_class, timeframe
),

series as (
    select
        series.*,
        -- A resampled bar is missing because bars of its base are.
        case when series.is_fetched then series.timeframe else series.base_timeframe end as asked_timeframe,
        case when series.is_fetched then series.series_id else series.base_series_id end as asked_series_id,
        (
            select max(case when assets.enabled then 1 else 0 end) = 1
            from {{ ref('assets') }} as assets
            where assets.symbol = series.symbol and assets.asset_class = series.asset_class
        ) as is_enabled
    from {{ ref('int_series') }} as series
),

{% for end, direction in {'first': 'asc', 'last': 'desc'}.items() -%}
{{ end }}_bars as (
    select
        series.series_id,
        bars.opened_at,
        bars.session_date,
        bars.slot_no
    from series
    inner join lateral (
        select ends.opened_at, ends.session_date, ends.slot_no
        from (
            {% for table in ['int_bars_selected', 'int_bars_resampled'] -%}
            (
                select held.opened_at, held.session_date, held.slot_no
                from {{ ref(table) }} as held
                where held.series_id = series.series_id and held.is_listed
                order by held.opened_at {{ direction }}
                limit 1
            )
            {% if not loop.last %}union all{% endif %}
            {% endfor %}
        ) as ends
        order by ends.opened_at {{ direction }}
        limit 1
    ) as bars on true
),
{% endfor %}

stretches as (
    select
        series_id,
        'between' as place,
        session_before as first_session,
        session_after as last_session,
        first_slot_no,
        last_slot_no
    from {{ ref('int_bar_gaps') }}
    where missing_bars > 0

    union all

    select
        series.series_id,
        'after',
        last_bars.session_date,
        {{ local_date(warehouse_now(), 'series.time_zone') }},
        last_bars.slot_no + 1,
        2147483647
    from series
    inner join last_bars on last_bars.series_id = series.series_id
    where series.is_enabled and series.is_fetched

    union all

    select
        series.series_id,
        'before',
        {{ local_date('asked.asked_from', 'series.time_zone') }},
        first_bars.session_date,
        0,
        first_bars.slot_no - 1
    from series
    inner join first_bars on first_bars.series_id = series.series_id
    inner join asked
        on
            asked.symbol = series.symbol
            and asked.asset_class = series.asset_class
            and asked.timeframe = series.asked_timeframe
    where series.is_fetched and asked.asked_from < first_bars.opened_at
),

sessions as (
    select
        series.series_id,
        series.symbol,
        series.asset_class,
        series.timeframe,
        series.asked_timeframe,
        series.asked_series_id,
        series.is_fetched,
        series.step_minutes,
        series.calendar,
        series.time_zone,
        series.sources_in_order,
        series.active_from,
        stretches.place,
        slots.slot_date,
        slots.slots,
        slots.slots_before,
        slots.first_slot_at,
        slots.closes_at,
        greatest(stretches.first_slot_no, slots.slots_before) as first_slot_no,
        least(
            stretches.last_slot_no,
            slots.slots_before + slots.slots - 1,
            -- What has not closed yet is not missing.
            case
                when slots.closes_at <= {{ warehouse_now() }} then 2147483647
                when series.step_minutes >= 1440 then -1
                else slots.slots_before - 1 + cast(floor(
                    ({{ epoch_seconds(warehouse_now()) }} - {{ epoch_seconds('slots.first_slot_at') }})
                    / (60.0 * series.step_minutes)
                ) as integer)
            end
        ) as last_slot_no
    from stretches
    inner join series on series.series_id = stretches.series_id
    -- By the index, stretch by stretch: as a plain join the planner held each gap against every day of its calendar.
    inner join lateral (
        select held.slot_date, held.slots, held.slots_before, held.first_slot_at, held.closes_at
        from {{ ref('int_slots') }} as held
        where
            held.calendar = series.calendar
            and held.timeframe = series.timeframe
            and held.grid = series.grid
            and held.slot_date >= stretches.first_session
            and held.slot_date <= stretches.last_session
        {{ compute_once() }}
    ) as slots on true
    where {{ is_listed_on('slots.slot_date', last_day_of_slot('slots.slot_date')) }}
),

timed as (
    select
        *,
        last_slot_no - first_slot_no + 1 as missing_bars,
        sum(last_slot_no - first_slot_no + 1) over (
            partition by series_id, slot_date
            rows between unbounded preceding and unbounded following
        ) as missing_in_session,
        case
            when step_minutes >= 1440 then first_slot_at
            else first_slot_at + {{ minutes('step_minutes') }} * (first_slot_no - slots_before)
        end as misses_from,
        case
            when step_minutes >= 1440 then closes_at
            else least(first_slot_at + {{ minutes('step_minutes') }} * (last_slot_no - slots_before + 1), closes_at)
        end as misses_to
    from sessions
    where last_slot_no >= first_slot_no
),

final as (
    select
        timed.series_id,
        timed.symbol,
        timed.asset_class,
        timed.timeframe,
        timed.asked_timeframe,
        timed.is_fetched,
        timed.step_minutes,
        timed.calendar,
        timed.time_zone,
        timed.sources_in_order,
        timed.active_from,
        timed.place,
        timed.slot_date,
        timed.first_slot_no,
        timed.last_slot_no,
        timed.missing_bars,
        timed.missing_bars = timed.slots as is_whole_session,
        timed.misses_from,
        timed.misses_to,
        case when quiet.quiet_by not like '%binance%' then quiet.quiet_by end as quiet_by
    from timed
    -- Looked up row by row: neither the planner nor we know beforehand how many are missing.
    left join lateral (
        select string_agg(distinct spans.source, ', ' order by spans.source) as quiet_by
        from {{ ref('int_answered_spans') }} as spans
        where
            spans.series_id = timed.asked_series_id
            and spans.span_from < timed.misses_from
            and spans.span_to >= timed.misses_to
            -- A stock or a coin without trades has no bar, but at Binance, which gives these too. A whole session, or more
            -- than an hour in a session that has bars else, is more than nobody trading.
            and timed.missing_bars < timed.slots
            and (timed.missing_bars * timed.step_minutes <= 60 or timed.missing_in_session * 2 > timed.slots)
        {{ compute_once() }}
    ) as quiet on true
)

select * from final
