{%- set since = watermark('int_ranges_without_trades') -%}
{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        indexes=[{'columns': ['series_id', 'session_date']}],
        pre_hook=['{{ delete_judged_sessions() }}', '{{ expect_many_rows() }}'],
        post_hook=[
            "{{ advance_watermark(['int_bars_selected', 'int_answered_sessions', 'int_bars_rejected']) }}",
            '{{ analyze() }}',
        ]
    )
}}
-- depends_on: {{ ref('int_series_rules') }}
-- Where bars of a fetched series are missing because nobody traded, from which load on and until which that was what was
-- known: completeness, resampling and the verdicts of gaps read this and nothing else. A session is judged as it was after
-- each load, so that what was made of it does not depend on how often this ran: a bar that comes late divides a run, one
-- that is retracted joins two, a row that we refused is none without trades. Session by session, a function of the
-- versions of its bars, the answers and the refused rows.
with

news as (
    {% if is_incremental() -%}
    select
        series_id,
        session_date
    from {{ sessions_with_news(since) }} as sessions

    union

    select
        answered.series_id,
        answered.session_date
    from {{ ref('int_answered_sessions') }} as answered
    inner join {{ ref('int_series_rules') }} as rules
        on rules.series_id = answered.series_id and rules.changed_in_load > {{ since }}
    {%- else -%}
    select distinct
        series_id,
        session_date
    from {{ ref('int_answered_sessions') }}
    {%- endif %}
),

-- Of a session without any bar nothing is known; one that is whole, and came at once, has no run.
sessions as (
    select
        series.series_id,
        series.step_minutes,
        series.sources_in_order,
        slots.slot_date as session_date,
        slots.first_slot_at,
        slots.opens_at,
        slots.closes_at,
        slots.slots
    from news
    inner join {{ ref('int_series') }} as series on series.series_id = news.series_id
    inner join {{ ref('int_slots') }} as slots
        on
            slots.calendar = series.calendar
            and slots.timeframe = series.timeframe
            and slots.grid = series.grid
            and slots.slot_date = news.session_date
    inner join lateral (
        select
            count(*) as bars,
            count(distinct known.first_load_no) as loads,
            max(known.revision) as revisions
        from {{ ref('int_bars_selected') }} as known
        where
            known.series_id = news.series_id
            and known.opened_at >= slots.first_slot_at
            and known.opened_at < slots.closes_at
            and known.is_listed
    ) as bars on bars.bars > 0 and (bars.bars < slots.slots or bars.loads > 1 or bars.revisions > 1)
    where
        series.is_fetched
        and series.step_minutes < 1440
        and exists (
            select 1
            from {{ ref('int_answered_sessions') }} as answered
            where answered.series_id = news.series_id and answered.session_date = news.session_date
        )
),

expected as (
    select
        sessions.series_id,
        sessions.session_date,
        sessions.opens_at,
        numbers.number as slot,
        sessions.first_slot_at + {{ minutes('numbers.number * sessions.step_minutes') }} as opened_at,
        least(
            sessions.first_slot_at + {{ minutes('(numbers.number + 1) * sessions.step_minutes') }}, sessions.closes_at
        ) as closed_at
    from sessions
    cross join lateral {{ whole_numbers(0, 'sessions.slots - 1') }} as numbers
),

bars as (
    select
        sessions.series_id,
        sessions.session_date,
        {{ slot_of_session('known.opened_at') }} as slot,
        known.opened_at,
        known.revision,
        known.is_withdrawn,
        known.load_no
    from sessions
    inner join lateral (
        select
            selected.opened_at,
            selected.revision,
            selected.is_withdrawn,
            selected.load_no
        from {{ ref('int_bars_selected') }} as selected
        where
            selected.series_id = sessions.series_id
            and selected.opened_at >= sessions.first_slot_at
            and selected.opened_at < sessions.closes_at
            and selected.is_listed
        {{ compute_once() }}
    ) as known on true
),

versions as (
    select
        series_id,
        session_date,
        slot,
        is_withdrawn,
        load_no as from_load,
        {{ in_force() }} as to_load
    from bars
    where revision = 1

    union all

    select
        bars.series_id,
        bars.session_date,
        bars.slot,
        versions.is_withdrawn,
        versions.load_no,
        coalesce(
            lead(versions.load_no) over (partition by versions.series_id, versions.opened_at order by versions.revision),
            {{ in_force() }}
        )
    from bars
    inner join {{ ref('int_bar_versions') }} as versions
        on versions.series_id = bars.series_id and versions.opened_at = bars.opened_at
    where bars.revision > 1
),

-- What is known of each expected bar, and from which load on: that an answer covers it, that it is there, that a row on it
-- was refused.
facts as (
    select
        expected.series_id,
        expected.session_date,
        expected.slot,
        1 as is_covered,
        0 as is_there,
        0 as is_rejected,
        min(answered.load_no) as from_load,
        {{ in_force() }} as to_load
    from expected
    inner join {{ ref('int_answered_sessions') }} as answered
        on
            answered.series_id = expected.series_id
            and answered.session_date = expected.session_date
            -- Hours on the clock begin before the session does.
            and answered.covered_from <= greatest(expected.opened_at, expected.opens_at)
            and answered.covered_to >= expected.closed_at
    group by expected.series_id, expected.session_date, expected.slot

    union all

    select
        series_id,
        session_date,
        slot,
        0 as is_covered,
        1 as is_there,
        0 as is_rejected,
        from_load,
        to_load
    from versions
    where not is_withdrawn

    union all

    select
        sessions.series_id,
        sessions.session_date,
        {{ slot_of_session('rejected.opened_at') }} as slot,
        0 as is_covered,
        0 as is_there,
        1 as is_rejected,
        rejected.load_no as from_load,
        {{ in_force() }} as to_load
    from sessions
    inner join lateral (
        select
            refused.opened_at,
            refused.load_no
        from {{ ref('int_bars_rejected') }} as refused
        where
            refused.series_id = sessions.series_id
            and refused.opened_at >= sessions.first_slot_at
            and refused.opened_at < sessions.closes_at
            and {{ place_in_list('refused.source', 'sessions.sources_in_order') }} is not null
        {{ compute_once() }}
    ) as rejected on true
),

-- Of most sessions nothing was ever missing that an answer covers: a live series has a load for each of its bars.
weighed as (
    select
        *,
        max(case when is_covered = 1 then from_load end) over bar as covered_from,
        min(case when is_there = 1 and to_load = {{ in_force() }} then from_load end) over bar as there_from
    from facts
    window bar as (partition by series_id, session_date, slot)
),

doubted as (
    select
        *,
        max(case when covered_from < coalesce(there_from, {{ in_force() }}) then 1 else 0 end) over (
            partition by series_id, session_date
        ) as is_doubtful
    from weighed
),

doubtful as (
    select
        series_id,
        session_date,
        slot,
        is_covered,
        is_there,
        is_rejected,
        from_load,
        to_load
    from doubted
    where is_doubtful = 1
),

changes as (
    select
        series_id,
        session_date,
        from_load as load_no
    from doubtful
    union
    select
        series_id,
        session_date,
        to_load
    from doubtful
    where to_load < {{ in_force() }}
),

moments as (
    select
        *,
        coalesce(lead(load_no) over (partition by series_id, session_date order by load_no), {{ in_force() }}) as next_load
    from changes
),

states as (
    select
        moments.series_id,
        moments.session_date,
        moments.load_no,
        moments.next_load,
        doubtful.slot,
        max(doubtful.is_there) as is_there,
        max(doubtful.is_rejected) as is_rejected
    from moments
    inner join doubtful
        on
            doubtful.series_id = moments.series_id
            and doubtful.session_date = moments.session_date
            and doubtful.from_load <= moments.load_no
            and doubtful.to_load > moments.load_no
    group by moments.series_id, moments.session_date, moments.load_no, moments.next_load, doubtful.slot
    having max(doubtful.is_there) = 1 or max(doubtful.is_covered) = 1
),

starting as (
    select
        *,
        case
            when slot = lag(slot) over (partition by series_id, session_date, load_no, is_there order by slot) + 1 then 0
            else 1
        end as starts_run
    from states
),

in_runs as (
    select
        *,
        sum(starts_run) over (
            partition by series_id, session_date, load_no, is_there
            order by slot
            rows between unbounded preceding and current row
        ) as run_no
    from starting
),

counted as (
    select
        in_runs.*,
        series.step_minutes,
        count(*) over run as run_bars,
        max(in_runs.slot) over run as run_ends,
        count(*) over session as bars_known,
        sum(in_runs.is_there) over session as bars_there,
        sum(1 - in_runs.is_there) over session as bars_missing,
        sum(in_runs.is_there * in_runs.starts_run) over session as groups_there,
        min(case when in_runs.is_there = 1 then in_runs.slot end) over session as first_there
    from in_runs
    inner join {{ ref('int_series') }} as series on series.series_id = in_runs.series_id
    window
        run as (
            partition by in_runs.series_id, in_runs.session_date, in_runs.load_no, in_runs.is_there, in_runs.run_no
        ),
        session as (partition by in_runs.series_id, in_runs.session_date, in_runs.load_no)
),

judged as (
    select
        series_id,
        session_date,
        slot,
        load_no,
        next_load,
        is_rejected,
        {{ is_without_trades() }} as is_without_trades,
        run_ends < first_there as is_leading
    from counted
    where is_there = 0 and bars_there > 0
),

-- On the first day of a listing nothing is missing before its first trade: since which load there are older bars.
first_sessions as (
    select
        begun.series_id,
        begun.session_date,
        coalesce(older.load_no, {{ in_force() }}) as to_load
    from (
        select distinct
            judged.series_id,
            judged.session_date,
            sessions.first_slot_at
        from judged
        inner join sessions
            on sessions.series_id = judged.series_id and sessions.session_date = judged.session_date
        where judged.is_leading and not judged.is_without_trades
    ) as begun
    inner join lateral (
        select min(known.first_load_no) as load_no
        from {{ ref('int_bars_selected') }} as known
        where known.series_id = begun.series_id and known.opened_at < begun.first_slot_at and known.is_listed
    ) as older on true
),

quiet as (
    select
        judged.series_id,
        judged.session_date,
        judged.slot,
        judged.load_no as from_load,
        case
            when judged.is_without_trades then judged.next_load
            else least(judged.next_load, first_sessions.to_load)
        end as to_load
    from judged
    left join first_sessions
        on
            first_sessions.series_id = judged.series_id
            and first_sessions.session_date = judged.session_date
            and judged.is_leading
    where judged.is_rejected = 0 and (judged.is_without_trades or first_sessions.to_load > judged.load_no)
),

lasting as (
    select
        *,
        case
            when from_load = lag(to_load) over (partition by series_id, session_date, slot order by from_load) then 0
            else 1
        end as starts_spell
    from quiet
),

spells as (
    select
        *,
        sum(starts_spell) over (
            partition by series_id, session_date, slot
            order by from_load
            rows between unbounded preceding and current row
        ) as spell_no
    from lasting
),

by_bar as (
    select
        series_id,
        session_date,
        slot,
        min(from_load) as from_load,
        max(to_load) as to_load
    from spells
    group by series_id, session_date, slot, spell_no
),

adjacent as (
    select
        *,
        slot - row_number() over (partition by series_id, session_date, from_load, to_load order by slot) as range_no
    from by_bar
),

final as (
    select
        sessions.series_id,
        sessions.session_date,
        sessions.first_slot_at + {{ minutes('min(adjacent.slot) * min(sessions.step_minutes)') }} as opens_from,
        sessions.first_slot_at + {{ minutes('(max(adjacent.slot) + 1) * min(sessions.step_minutes)') }} as opens_to,
        cast(count(*) as integer) as bars,
        cast(adjacent.from_load as integer) as from_load,
        cast(adjacent.to_load as integer) as to_load
    from adjacent
    inner join sessions
        on sessions.series_id = adjacent.series_id and sessions.session_date = adjacent.session_date
    group by
        sessions.series_id, sessions.session_date, sessions.first_slot_at, adjacent.from_load, adjacent.to_load,
        adjacent.range_no
)

select * from final
