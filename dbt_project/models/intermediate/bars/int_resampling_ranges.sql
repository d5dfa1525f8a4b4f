{%- set readers = ['int_bars_resampled', 'int_resampled_versions'] -%}
{{
    config(
        indexes=[{'columns': ['series_id', 'bar_date']}],
        post_hook=[
            "{{ advance_watermark([ref('int_bars_selected'), ref('int_ranges_without_trades')], prepares=['int_bars_resampled', 'int_resampled_versions']) }}",
            '{{ analyze() }}',
        ]
    )
}}
-- depends_on: {{ ref('int_series_fingerprints') }}
-- depends_on: {{ ref('int_ranges_without_trades') }}
-- depends_on: {{ ref('int_bars_rejected') }}
-- The days (weeks, for weekly bars) of each series whose bars are to be rebuilt from finer ones, with the base bars to
-- read for them: those in which a base bar changed, a source answered or a row was refused, so that others may be known
-- to have had no trades; and that of the bar before a changed one, whose resampled bar it may end.
with

series as (
    select * from {{ ref('int_series') }}
),

-- Every fetched timeframe is a base of each coarser one that it divides. Hours on the clock are none of what counts from
-- the open: the first one of a stock's day holds half an hour of trade before it.
pairs as (
    select
        targets.series_id,
        targets.symbol,
        targets.asset_class,
        targets.timeframe,
        targets.step_minutes,
        targets.calendar,
        targets.alignment,
        targets.time_zone,
        targets.active_from,
        targets.active_to,
        targets.has_pause,
        bases.series_id as base_series_id,
        bases.timeframe as base_timeframe,
        bases.step_minutes as base_step_minutes,
        bases.alignment as base_alignment,
        (
            select max(bars.opened_at)
            from {{ ref('int_bars_selected') }} as bars
            where bars.series_id = bases.series_id and bars.is_active
        ) as last_base_opened_at
    from series as targets
    inner join series as bases
        on
            bases.symbol = targets.symbol
            and bases.asset_class = targets.asset_class
            and bases.is_fetched
            and bases.step_minutes < targets.step_minutes
            and mod(targets.step_minutes, bases.step_minutes) = 0
    where bases.step_minutes < 60 or bases.alignment = targets.alignment
),

changed_bars as (
    select
        series_id,
        opened_at,
        session_date
    from {{ ref('int_bars_selected') }}
    where changed_in_batch > {{ watermark(readers) }}
),

touched_sessions as (
    {% if is_full_build(readers) -%}
    select series_id, session_date
    from changed_bars
    group by series_id, session_date
    {%- else -%}
    select series_id, session_date
    from {{ changed_sessions(watermark(readers)) }} as sessions

    union

    select
        changed_bars.series_id,
        bars.session_date
    from changed_bars
    inner join {{ ref('int_bars_selected') }} as bars
        on
            bars.series_id = changed_bars.series_id
            and bars.opened_at = (
                select max(earlier.opened_at)
                from {{ ref('int_bars_selected') }} as earlier
                where
                    earlier.series_id = changed_bars.series_id
                    and earlier.opened_at < changed_bars.opened_at
                    and earlier.is_active
            )
    {%- endif %}
),

touched_pairs as (
    select
        pairs.series_id,
        pairs.step_minutes,
        touched_sessions.session_date
    from touched_sessions
    inner join pairs on pairs.base_series_id = touched_sessions.series_id

    {% if not is_full_build(readers) -%}
    union all

    -- A series whose rules changed (another timeframe is fetched, another alignment) is rebuilt.
    select
        pairs.series_id,
        pairs.step_minutes,
        bars.session_date
    from pairs
    inner join {{ ref('int_series_fingerprints') }} as rules
        on rules.series_id = pairs.series_id and rules.changed_in_batch > {{ watermark(readers) }}
    inner join {{ ref('int_bars_selected') }} as bars on bars.series_id = pairs.base_series_id
    {%- endif %}
),

touched_targets as (
    select distinct
        series_id,
        case when step_minutes = 10080 then {{ monday('session_date') }} else session_date end as bar_date
    from touched_pairs
),

weekly_bars as (
    select
        calendar,
        timeframe,
        alignment,
        {{ monday('bar_date') }} as bar_date,
        sum(expected_bars) as expected_bars
    from {{ ref('int_expected_bars') }}
    where timeframe <> {{ week_timeframe() }}
    group by calendar, timeframe, alignment, {{ monday('bar_date') }}
),

final as (
    select
        touched_targets.series_id,
        touched_targets.bar_date,
        series.timeframe,
        series.step_minutes,
        series.base_series_id,
        series.base_timeframe,
        series.base_step_minutes,
        expected_bars.first_expected_at,
        coalesce(listed_days.closes_at, expected_bars.closes_at) as closes_at,
        expected_bars.expected_before,
        base_bars_expected.first_expected_at as base_first_expected_at,
        coalesce(listed_days.expected_bars, weekly_bars.expected_bars, base_bars_expected.expected_bars) as base_bars_expected,
        {{ local_instant('touched_targets.bar_date', "'00:00'", 'series.time_zone') }} as reads_from,
        {{ local_instant(
            '(' ~ last_day_of_bar('touched_targets.bar_date') ~ ' + 1)', "'00:00'", 'series.time_zone'
        ) }} as reads_to,
        -- A resampled bar's time is over when a base bar at or after its end is there, or a source has answered for its end.
        greatest(last_bars.closed_at, coalesce(answered.covered_to, last_bars.closed_at)) as known_until
    from touched_targets
    inner join pairs as series on series.series_id = touched_targets.series_id
    inner join {{ ref('int_bars_selected') }} as last_bars
        on last_bars.series_id = series.base_series_id and last_bars.opened_at = series.last_base_opened_at
    inner join {{ ref('int_expected_bars') }} as expected_bars
        on
            expected_bars.calendar = series.calendar
            and expected_bars.timeframe = series.timeframe
            and expected_bars.alignment = series.alignment
            and expected_bars.bar_date = touched_targets.bar_date
    left join {{ ref('int_expected_bars') }} as base_bars_expected
        on
            base_bars_expected.calendar = series.calendar
            and base_bars_expected.timeframe = series.base_timeframe
            and base_bars_expected.alignment = series.base_alignment
            and base_bars_expected.bar_date = touched_targets.bar_date
    left join weekly_bars
        on
            weekly_bars.calendar = series.calendar
            and weekly_bars.timeframe = series.base_timeframe
            and weekly_bars.alignment = series.base_alignment
            and weekly_bars.bar_date = touched_targets.bar_date
            and series.step_minutes = 10080
    -- Of a week in which a listing begins or ends only the days of trading are expected, and the last of them ends it.
    left join lateral (
        select
            sum(days.expected_bars) as expected_bars,
            max(days.closes_at) as closes_at
        from {{ ref('int_expected_bars') }} as days
        where
            series.step_minutes = 10080
            and (
                series.has_pause
                or touched_targets.bar_date < series.active_from
                or touched_targets.bar_date + 6 > series.active_to
            )
            and days.calendar = series.calendar
            and days.timeframe = series.base_timeframe
            and days.alignment = series.base_alignment
            and days.bar_date >= touched_targets.bar_date
            and days.bar_date <= touched_targets.bar_date + 6
            and {{ is_active_on('days.bar_date') }}
    ) as listed_days on true
    left join lateral (
        select max(sessions.covered_to) as covered_to
        from {{ ref('int_answered_sessions') }} as sessions
        where
            sessions.series_id = series.base_series_id
            and sessions.session_date >= touched_targets.bar_date
            and sessions.session_date <= {{ last_day_of_bar('touched_targets.bar_date') }}
    ) as answered on true
)

select * from final
