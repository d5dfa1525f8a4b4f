{{
    config(
        materialized='table_in_place',
        indexes=[{'columns': ['series_id', 'first_slot_no'], 'unique': true}],
        post_hook=['{{ analyze() }}']
    )
}}
-- The work list: every expected bar that is not there, session by session (calendar and listing, minus present bars):
-- between two bars, after the last one, or before the first one as far as was asked. Which of them had no trades
-- (int_ranges_without_trades) is told here, too: their absence is settled, and nothing else is looked up for them.
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

missing as (
    select *
    from sessions
    where last_slot_no >= first_slot_no
),

-- What is known to have had no trades, of the sessions in which something is missing: adjacent ranges as one, and of a
-- resampled series the bars that lie in them whole.
quiet_ranges as (
    select
        sought.series_id,
        sought.slot_date,
        sought.slots,
        sought.slots_before,
        sought.step_minutes,
        sought.first_slot_at,
        sought.closes_at,
        ranges.opens_from,
        ranges.opens_to,
        sum(case when ranges.opens_from = ranges.opened_to_before then 0 else 1 end) over (
            partition by sought.series_id, sought.slot_date
            order by ranges.opens_from
            rows between unbounded preceding and current row
        ) as range_no
    from (
        select distinct
            series_id,
            asked_series_id,
            slot_date,
            slots,
            slots_before,
            step_minutes,
            first_slot_at,
            closes_at
        from missing
        where step_minutes < 1440 and (place <> 'before' or active_from is not null)
    ) as sought
    -- By index, session by session: neither the planner nor we know beforehand how many are missing.
    inner join lateral (
        select
            held.opens_from,
            held.opens_to,
            lag(held.opens_to) over (order by held.opens_from) as opened_to_before
        from {{ ref('int_ranges_without_trades') }} as held
        where
            held.series_id = sought.asked_series_id
            and held.session_date = sought.slot_date
            and held.to_load = {{ in_force() }}
        {{ compute_once() }}
    ) as ranges on true
),

quiet as (
    select
        series_id,
        slot_date,
        slots_before + cast(ceil(
            ({{ epoch_seconds('min(opens_from)') }} - {{ epoch_seconds('first_slot_at') }}) / (60.0 * step_minutes)
        ) as integer) as first_slot_no,
        slots_before - 1 + case
            when max(opens_to) >= closes_at then slots
            else cast(floor(
                ({{ epoch_seconds('max(opens_to)') }} - {{ epoch_seconds('first_slot_at') }}) / (60.0 * step_minutes)
            ) as integer)
        end as last_slot_no
    from quiet_ranges
    group by series_id, slot_date, slots, slots_before, step_minutes, first_slot_at, closes_at, range_no
),

quiet_parts as (
    select
        missing.series_id,
        missing.slot_date,
        missing.first_slot_no as run_starts,
        greatest(missing.first_slot_no, quiet.first_slot_no) as first_slot_no,
        least(missing.last_slot_no, quiet.last_slot_no) as last_slot_no
    from missing
    inner join quiet
        on
            quiet.series_id = missing.series_id
            and quiet.slot_date = missing.slot_date
            and quiet.first_slot_no <= missing.last_slot_no
            and quiet.last_slot_no >= missing.first_slot_no
            and quiet.first_slot_no <= quiet.last_slot_no
    where missing.place <> 'before' or missing.active_from is not null
),

-- What lies before each of them, and after the last one, is no want of trades.
other_parts as (
    select
        series_id,
        slot_date,
        run_starts,
        coalesce(
            lag(last_slot_no) over (partition by series_id, slot_date, run_starts order by first_slot_no) + 1, run_starts
        ) as first_slot_no,
        first_slot_no - 1 as last_slot_no
    from (
        select
            series_id,
            slot_date,
            run_starts,
            first_slot_no,
            last_slot_no
        from quiet_parts
        union all
        select
            series_id,
            slot_date,
            first_slot_no,
            last_slot_no + 1,
            last_slot_no + 1
        from missing
    ) as ends
),

parts as (
    select
        *,
        true as is_quiet
    from quiet_parts
    union all
    select
        *,
        false as is_quiet
    from other_parts
    where last_slot_no >= first_slot_no
),

placed as (
    select
        missing.series_id,
        missing.symbol,
        missing.asset_class,
        missing.timeframe,
        missing.asked_timeframe,
        missing.asked_series_id,
        missing.is_fetched,
        missing.step_minutes,
        missing.calendar,
        missing.time_zone,
        missing.sources_in_order,
        missing.active_from,
        missing.place,
        missing.slot_date,
        parts.first_slot_no,
        parts.last_slot_no,
        parts.last_slot_no - parts.first_slot_no + 1 as missing_bars,
        parts.last_slot_no - parts.first_slot_no + 1 = missing.slots as is_whole_session,
        case
            when missing.step_minutes >= 1440 then missing.first_slot_at
            else missing.first_slot_at + {{ minutes('missing.step_minutes') }} * (parts.first_slot_no - missing.slots_before)
        end as misses_from,
        case
            when missing.step_minutes >= 1440 then missing.closes_at
            else least(
                missing.first_slot_at + {{ minutes('missing.step_minutes') }} * (parts.last_slot_no - missing.slots_before + 1),
                missing.closes_at
            )
        end as misses_to,
        parts.is_quiet
    from missing
    inner join parts
        on
            parts.series_id = missing.series_id
            and parts.slot_date = missing.slot_date
            and parts.run_starts = missing.first_slot_no
),

final as (
    select
        placed.series_id,
        placed.symbol,
        placed.asset_class,
        placed.timeframe,
        placed.asked_timeframe,
        placed.is_fetched,
        placed.step_minutes,
        placed.calendar,
        placed.time_zone,
        placed.sources_in_order,
        placed.active_from,
        placed.place,
        placed.slot_date,
        placed.first_slot_no,
        placed.last_slot_no,
        placed.missing_bars,
        placed.is_whole_session,
        placed.misses_from,
        placed.misses_to,
        answered.sources as quiet_by
    from placed
    left join lateral (
        select string_agg(distinct loads.provider, ', ' order by loads.provider) as sources
        from {{ ref('int_answered_sessions') }} as sessions
        inner join {{ ref('int_loads') }} as loads on loads.load_no = sessions.load_no
        where
            placed.is_quiet
            and sessions.series_id = placed.asked_series_id
            and sessions.session_date = placed.slot_date
            and sessions.covered_from < placed.misses_to
            and sessions.covered_to > placed.misses_from
        {{ compute_once() }}
    ) as answered on true
)

select * from final
