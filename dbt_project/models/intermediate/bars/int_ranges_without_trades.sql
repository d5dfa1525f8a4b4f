{%- set since = watermark('int_ranges_without_trades') -%}
{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        indexes=[{'columns': ['series_id', 'session_date']}],
        pre_hook=['{{ delete_changed_sessions() }}'],
        post_hook=[
            "{{ advance_watermark([ref('int_bars_selected'), ref('int_answered_sessions'), ref('int_bars_rejected')]) }}",
            '{{ analyze() }}',
        ]
    )
}}
-- depends_on: {{ ref('int_series_fingerprints') }}
-- Where bars of a fetched series are missing because nobody traded, from which load on and until which that was what was
-- known: completeness, resampling and the verdicts of gaps read this and nothing else. A session is classified as it was after
-- each load, so that what was made of it does not depend on how often this ran: a bar that comes late divides a run, one
-- that is retracted joins two, a row that we refused is none without trades. Session by session, a function of the
-- versions of its bars, the answers and the refused rows.
with

changed_rows as (
    {% if is_incremental() -%}
    select
        series_id,
        session_date
    from {{ changed_sessions(since) }} as sessions

    union

    select
        answered.series_id,
        answered.session_date
    from {{ ref('int_answered_sessions') }} as answered
    inner join {{ ref('int_series_fingerprints') }} as rules
        on rules.series_id = answered.series_id and rules.changed_in_batch > {{ since }}
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
        expected_bars.bar_date as session_date,
        expected_bars.first_expected_at,
        expected_bars.opens_at,
        expected_bars.closes_at,
        expected_bars.expected_bars
    from changed_rows
    inner join {{ ref('int_series') }} as series on series.series_id = changed_rows.series_id
    inner join {{ ref('int_expected_bars') }} as expected_bars
        on
            expected_bars.calendar = series.calendar
            and expected_bars.timeframe = series.timeframe
            and expected_bars.alignment = series.alignment
            and expected_bars.bar_date = changed_rows.session_date
    inner join lateral (
        select
            count(*) as bars,
            count(distinct known.first_batch) as loads,
            max(known.revision) as revisions
        from {{ ref('int_bars_selected') }} as known
        where
            known.series_id = changed_rows.series_id
            and known.opened_at >= expected_bars.first_expected_at
            and known.opened_at < expected_bars.closes_at
            and known.is_active
    ) as bars on bars.bars > 0 and (bars.bars < expected_bars.expected_bars or bars.loads > 1 or bars.revisions > 1)
    where
        series.is_fetched
        and series.step_minutes < 1440
        and exists (
            select 1
            from {{ ref('int_answered_sessions') }} as answered
            where answered.series_id = changed_rows.series_id and answered.session_date = changed_rows.session_date
        )
),

expected as (
    select
        sessions.series_id,
        sessions.session_date,
        sessions.opens_at,
        numbers.number as expected_bar,
        sessions.first_expected_at + {{ minutes('numbers.number * sessions.step_minutes') }} as opened_at,
        least(
            sessions.first_expected_at + {{ minutes('(numbers.number + 1) * sessions.step_minutes') }}, sessions.closes_at
        ) as closed_at
    from sessions
    cross join lateral {{ whole_numbers(0, 'sessions.expected_bars - 1') }} as numbers
),

bars as (
    select
        sessions.series_id,
        sessions.session_date,
        {{ bar_of_session('known.opened_at') }} as expected_bar,
        known.opened_at,
        known.revision,
        known.is_retracted,
        known.batch
    from sessions
    inner join lateral (
        select
            selected.opened_at,
            selected.revision,
            selected.is_retracted,
            selected.batch
        from {{ ref('int_bars_selected') }} as selected
        where
            selected.series_id = sessions.series_id
            and selected.opened_at >= sessions.first_expected_at
            and selected.opened_at < sessions.closes_at
            and selected.is_active
        {{ optimization_fence() }}
    ) as known on true
),

versions as (
    select
        series_id,
        session_date,
        expected_bar,
        is_retracted,
        batch as from_batch,
        {{ in_force() }} as to_batch
    from bars
    where revision = 1

    union all

    select
        bars.series_id,
        bars.session_date,
        bars.expected_bar,
        versions.is_retracted,
        versions.batch,
        coalesce(
            lead(versions.batch) over (partition by versions.series_id, versions.opened_at order by versions.revision),
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
        expected.expected_bar,
        1 as is_covered,
        0 as is_there,
        0 as is_rejected,
        min(answered.batch) as from_batch,
        {{ in_force() }} as to_batch
    from expected
    inner join {{ ref('int_answered_sessions') }} as answered
        on
            answered.series_id = expected.series_id
            and answered.session_date = expected.session_date
            -- Hours on the clock begin before the session does.
            and answered.covered_from <= greatest(expected.opened_at, expected.opens_at)
            and answered.covered_to >= expected.closed_at
    group by expected.series_id, expected.session_date, expected.expected_bar

    union all

    select
        series_id,
        session_date,
        expected_bar,
        0 as is_covered,
        1 as is_there,
        0 as is_rejected,
        from_batch,
        to_batch
    from versions
    where not is_retracted

    union all

    select
        sessions.series_id,
        sessions.session_date,
        {{ bar_of_session('rejected.opened_at') }} as expected_bar,
        0 as is_covered,
        0 as is_there,
        1 as is_rejected,
        rejected.batch as from_batch,
        {{ in_force() }} as to_batch
    from sessions
    inner join lateral (
        select
            refused.opened_at,
            refused.batch
        from {{ ref('int_bars_rejected') }} as refused
        where
            refused.series_id = sessions.series_id
            and refused.opened_at >= sessions.first_expected_at
            and refused.opened_at < sessions.closes_at
            and {{ position_in_list('refused.source', 'sessions.sources_in_order') }} is not null
        {{ optimization_fence() }}
    ) as rejected on true
),

-- Of most sessions nothing was ever missing that an answer covers: a live series has a load for each of its bars.
-- "> 0", here and below: Postgres takes an equality with what a window computes for one row in 200, so that all was one row
-- to it, and it compared every fact with every moment (15: minutes for 20,000 bars of one coin).
weighed as (
    select
        *,
        max(case when is_covered = 1 then from_batch end) over bar as covered_from,
        min(case when is_there = 1 and to_batch = {{ in_force() }} then from_batch end) over bar as there_from
    from facts
    window bar as (partition by series_id, session_date, expected_bar)
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
        expected_bar,
        is_covered,
        is_there,
        is_rejected,
        from_batch,
        to_batch
    from doubted
    where is_doubtful > 0
),

changes as (
    select
        series_id,
        session_date,
        from_batch as batch
    from doubtful
    union
    select
        series_id,
        session_date,
        to_batch
    from doubtful
    where to_batch < {{ in_force() }}
),

as_of_times as (
    select
        *,
        coalesce(lead(batch) over (partition by series_id, session_date order by batch), {{ in_force() }}) as next_batch
    from changes
),

states as (
    select
        as_of_times.series_id,
        as_of_times.session_date,
        as_of_times.batch,
        as_of_times.next_batch,
        doubtful.expected_bar,
        max(doubtful.is_there) as is_there,
        max(doubtful.is_rejected) as is_rejected
    from as_of_times
    inner join doubtful
        on
            doubtful.series_id = as_of_times.series_id
            and doubtful.session_date = as_of_times.session_date
            and doubtful.from_batch <= as_of_times.batch
            and doubtful.to_batch > as_of_times.batch
    group by as_of_times.series_id, as_of_times.session_date, as_of_times.batch, as_of_times.next_batch, doubtful.expected_bar
    having max(doubtful.is_there) > 0 or max(doubtful.is_covered) > 0
),

starting as (
    select
        *,
        case
            when
                expected_bar
                = lag(expected_bar) over (partition by series_id, session_date, batch, is_there order by expected_bar) + 1
                then 0
            else 1
        end as starts_run
    from states
),

in_runs as (
    select
        *,
        sum(starts_run) over (
            partition by series_id, session_date, batch, is_there
            order by expected_bar
            rows between unbounded preceding and current row
        ) as run_no
    from starting
),

counted as (
    select
        in_runs.*,
        series.step_minutes,
        count(*) over run as run_bars,
        max(in_runs.expected_bar) over run as run_ends,
        count(*) over session as bars_known,
        sum(in_runs.is_there) over session as bars_there,
        sum(1 - in_runs.is_there) over session as bars_missing,
        sum(in_runs.is_there * in_runs.starts_run) over session as groups_there,
        min(case when in_runs.is_there = 1 then in_runs.expected_bar end) over session as first_there
    from in_runs
    inner join {{ ref('int_series') }} as series on series.series_id = in_runs.series_id
    window
        run as (
            partition by in_runs.series_id, in_runs.session_date, in_runs.batch, in_runs.is_there, in_runs.run_no
        ),
        session as (partition by in_runs.series_id, in_runs.session_date, in_runs.batch)
),

classified as (
    select
        series_id,
        session_date,
        expected_bar,
        batch,
        next_batch,
        is_rejected,
        {{ is_without_trades() }} as is_without_trades,
        run_ends < first_there as is_leading
    from counted
    where is_there < 1 and bars_there > 0
),

-- On the first day of a listing nothing is missing before its first trade: since which load there are older bars. In one
-- pass over a series: to look back from each session would read it as often as it has such sessions.
begun as (
    select distinct
        classified.series_id,
        classified.session_date,
        expected_bars.first_expected_at
    from classified
    inner join {{ ref('int_series') }} as series on series.series_id = classified.series_id
    inner join {{ ref('int_expected_bars') }} as expected_bars
        on
            expected_bars.calendar = series.calendar
            and expected_bars.timeframe = series.timeframe
            and expected_bars.alignment = series.alignment
            and expected_bars.bar_date = classified.session_date
    where classified.is_leading and not classified.is_without_trades
),

older_bars as (
    select
        series.series_id,
        cast(null as date) as session_date,
        known.opened_at,
        1 as is_bar,
        known.first_batch
    from (
        select
            series_id,
            max(first_expected_at) as last_begun_at
        from begun
        group by series_id
    ) as series
    inner join lateral (
        select
            selected.opened_at,
            selected.first_batch
        from {{ ref('int_bars_selected') }} as selected
        where
            selected.series_id = series.series_id and selected.opened_at < series.last_begun_at and selected.is_active
        {{ optimization_fence() }}
    ) as known on true

    union all

    select
        series_id,
        session_date,
        first_expected_at,
        0,
        null
    from begun
),

older_so_far as (
    select
        series_id,
        session_date,
        is_bar,
        min(first_batch) over (
            partition by series_id
            order by opened_at, is_bar
            rows between unbounded preceding and current row
        ) as batch
    from older_bars
),

first_sessions as (
    select
        series_id,
        session_date,
        coalesce(batch, {{ in_force() }}) as to_batch
    from older_so_far
    where is_bar < 1
),

quiet as (
    select
        classified.series_id,
        classified.session_date,
        classified.expected_bar,
        classified.batch as from_batch,
        case
            when classified.is_without_trades then classified.next_batch
            else least(classified.next_batch, first_sessions.to_batch)
        end as to_batch
    from classified
    left join first_sessions
        on
            first_sessions.series_id = classified.series_id
            and first_sessions.session_date = classified.session_date
            and classified.is_leading
    where classified.is_rejected < 1 and (classified.is_without_trades or first_sessions.to_batch > classified.batch)
),

lasting as (
    select
        *,
        case
            when from_batch = lag(to_batch) over (partition by series_id, session_date, expected_bar order by from_batch) then 0
            else 1
        end as starts_spell
    from quiet
),

spells as (
    select
        *,
        sum(starts_spell) over (
            partition by series_id, session_date, expected_bar
            order by from_batch
            rows between unbounded preceding and current row
        ) as spell_no
    from lasting
),

by_bar as (
    select
        series_id,
        session_date,
        expected_bar,
        min(from_batch) as from_batch,
        max(to_batch) as to_batch
    from spells
    group by series_id, session_date, expected_bar, spell_no
),

adjacent as (
    select
        *,
        expected_bar - row_number() over (
            partition by series_id, session_date, from_batch, to_batch order by expected_bar
        ) as range_no
    from by_bar
),

ranges as (
    select
        series_id,
        session_date,
        from_batch,
        to_batch,
        min(expected_bar) as first_bar,
        max(expected_bar) as last_bar,
        count(*) as bars
    from adjacent
    group by series_id, session_date, from_batch, to_batch, range_no
),

final as (
    select
        ranges.series_id,
        ranges.session_date,
        expected_bars.first_expected_at + {{ minutes('ranges.first_bar * series.step_minutes') }} as opens_from,
        expected_bars.first_expected_at + {{ minutes('(ranges.last_bar + 1) * series.step_minutes') }} as opens_to,
        cast(ranges.bars as integer) as bars,
        cast(ranges.from_batch as integer) as from_batch,
        cast(ranges.to_batch as integer) as to_batch
    from ranges
    inner join {{ ref('int_series') }} as series on series.series_id = ranges.series_id
    inner join {{ ref('int_expected_bars') }} as expected_bars
        on
            expected_bars.calendar = series.calendar
            and expected_bars.timeframe = series.timeframe
            and expected_bars.alignment = series.alignment
            and expected_bars.bar_date = ranges.session_date
)

select * from final
