{{
    config(
        materialized='table_in_place',
        indexes=[{'columns': ['series_id', 'first_expected_no'], 'unique': true}],
        post_hook=['{{ analyze() }}']
    )
}}
-- The work list: every expected bar that is not there, session by session (calendar and listing, minus present bars):
-- between two bars, after the last one, or before the first one as far as was asked. Which of them had no trades
-- (int_ranges_without_trades) is classified here, too: their absence is explained, and nothing else is looked up for them.
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
        bars.expected_no
    from series
    inner join lateral (
        select ends.opened_at, ends.session_date, ends.expected_no
        from (
            {% for table in ['int_bars_selected', 'int_bars_resampled'] -%}
            (
                select existing_rows.opened_at, existing_rows.session_date, existing_rows.expected_no
                from {{ ref(table) }} as existing_rows
                where existing_rows.series_id = series.series_id and existing_rows.is_active
                order by existing_rows.opened_at {{ direction }}
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

missing_ranges as (
    select
        series_id,
        'between' as place,
        session_before as first_session,
        session_after as last_session,
        first_expected_no,
        last_expected_no
    from {{ ref('int_bar_gaps') }}
    where missing_bars > 0

    union all

    select
        series.series_id,
        'after',
        last_bars.session_date,
        {{ local_date(warehouse_now(), 'series.time_zone') }},
        last_bars.expected_no + 1,
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
        first_bars.expected_no - 1
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
        missing_ranges.place,
        expected_bars.bar_date,
        expected_bars.expected_bars,
        expected_bars.expected_before,
        expected_bars.first_expected_at,
        expected_bars.closes_at,
        greatest(missing_ranges.first_expected_no, expected_bars.expected_before) as first_expected_no,
        least(
            missing_ranges.last_expected_no,
            expected_bars.expected_before + expected_bars.expected_bars - 1,
            -- What has not closed yet is not missing.
            case
                when expected_bars.closes_at <= {{ warehouse_now() }} then 2147483647
                when series.step_minutes >= 1440 then -1
                else expected_bars.expected_before - 1 + cast(floor(
                    ({{ epoch_seconds(warehouse_now()) }} - {{ epoch_seconds('expected_bars.first_expected_at') }})
                    / (60.0 * series.step_minutes)
                ) as integer)
            end
        ) as last_expected_no
    from missing_ranges
    inner join series on series.series_id = missing_ranges.series_id
    -- By the index, range by range: as a plain join the planner compared each gap with every day of its calendar.
    inner join lateral (
        select
            existing_rows.bar_date, existing_rows.expected_bars, existing_rows.expected_before, existing_rows.first_expected_at,
            existing_rows.closes_at
        from {{ ref('int_expected_bars') }} as existing_rows
        where
            existing_rows.calendar = series.calendar
            and existing_rows.timeframe = series.timeframe
            and existing_rows.alignment = series.alignment
            and existing_rows.bar_date >= missing_ranges.first_session
            and existing_rows.bar_date <= missing_ranges.last_session
        {{ optimization_fence() }}
    ) as expected_bars on true
    where {{ is_active_on('expected_bars.bar_date', last_day_of_bar('expected_bars.bar_date')) }}
),

missing as (
    select *
    from sessions
    where last_expected_no >= first_expected_no
),

-- What is known to have had no trades, of the sessions in which something is missing: adjacent ranges as one, and of a
-- resampled series the bars that lie in them whole.
quiet_ranges as (
    select
        sought.series_id,
        sought.bar_date,
        sought.expected_bars,
        sought.expected_before,
        sought.step_minutes,
        sought.first_expected_at,
        sought.closes_at,
        ranges.opens_from,
        ranges.opens_to,
        sum(case when ranges.opens_from = ranges.opened_to_before then 0 else 1 end) over (
            partition by sought.series_id, sought.bar_date
            order by ranges.opens_from
            rows between unbounded preceding and current row
        ) as range_no
    from (
        select distinct
            series_id,
            asked_series_id,
            bar_date,
            expected_bars,
            expected_before,
            step_minutes,
            first_expected_at,
            closes_at
        from missing
        where step_minutes < 1440 and (place <> 'before' or active_from is not null)
    ) as sought
    -- By index, session by session: neither the planner nor we know beforehand how many are missing.
    inner join lateral (
        select
            existing_rows.opens_from,
            existing_rows.opens_to,
            lag(existing_rows.opens_to) over (order by existing_rows.opens_from) as opened_to_before
        from {{ ref('int_ranges_without_trades') }} as existing_rows
        where
            existing_rows.series_id = sought.asked_series_id
            and existing_rows.session_date = sought.bar_date
            and existing_rows.to_batch = {{ in_force() }}
        {{ optimization_fence() }}
    ) as ranges on true
),

quiet as (
    select
        series_id,
        bar_date,
        expected_before + cast(ceil(
            ({{ epoch_seconds('min(opens_from)') }} - {{ epoch_seconds('first_expected_at') }}) / (60.0 * step_minutes)
        ) as integer) as first_expected_no,
        expected_before - 1 + case
            when max(opens_to) >= closes_at then expected_bars
            else cast(floor(
                ({{ epoch_seconds('max(opens_to)') }} - {{ epoch_seconds('first_expected_at') }}) / (60.0 * step_minutes)
            ) as integer)
        end as last_expected_no
    from quiet_ranges
    group by series_id, bar_date, expected_bars, expected_before, step_minutes, first_expected_at, closes_at, range_no
),

quiet_parts as (
    select
        missing.series_id,
        missing.bar_date,
        missing.first_expected_no as run_starts,
        greatest(missing.first_expected_no, quiet.first_expected_no) as first_expected_no,
        least(missing.last_expected_no, quiet.last_expected_no) as last_expected_no
    from missing
    inner join quiet
        on
            quiet.series_id = missing.series_id
            and quiet.bar_date = missing.bar_date
            and quiet.first_expected_no <= missing.last_expected_no
            and quiet.last_expected_no >= missing.first_expected_no
            and quiet.first_expected_no <= quiet.last_expected_no
    where missing.place <> 'before' or missing.active_from is not null
),

-- What lies before each of them, and after the last one, is no want of trades.
other_parts as (
    select
        series_id,
        bar_date,
        run_starts,
        coalesce(
            lag(last_expected_no) over (partition by series_id, bar_date, run_starts order by first_expected_no) + 1, run_starts
        ) as first_expected_no,
        first_expected_no - 1 as last_expected_no
    from (
        select
            series_id,
            bar_date,
            run_starts,
            first_expected_no,
            last_expected_no
        from quiet_parts
        union all
        select
            series_id,
            bar_date,
            first_expected_no,
            last_expected_no + 1,
            last_expected_no + 1
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
    where last_expected_no >= first_expected_no
),

positioned as (
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
        missing.bar_date,
        parts.first_expected_no,
        parts.last_expected_no,
        parts.last_expected_no - parts.first_expected_no + 1 as missing_bars,
        parts.last_expected_no - parts.first_expected_no + 1 = missing.expected_bars as is_whole_session,
        case
            when missing.step_minutes >= 1440 then missing.first_expected_at
            else
                missing.first_expected_at
                + {{ minutes('missing.step_minutes') }} * (parts.first_expected_no - missing.expected_before)
        end as misses_from,
        case
            when missing.step_minutes >= 1440 then missing.closes_at
            else least(
                missing.first_expected_at
                + {{ minutes('missing.step_minutes') }} * (parts.last_expected_no - missing.expected_before + 1),
                missing.closes_at
            )
        end as misses_to,
        parts.is_quiet
    from missing
    inner join parts
        on
            parts.series_id = missing.series_id
            and parts.bar_date = missing.bar_date
            and parts.run_starts = missing.first_expected_no
),

final as (
    select
        positioned.series_id,
        positioned.symbol,
        positioned.asset_class,
        positioned.timeframe,
        positioned.asked_timeframe,
        positioned.is_fetched,
        positioned.step_minutes,
        positioned.calendar,
        positioned.time_zone,
        positioned.sources_in_order,
        positioned.active_from,
        positioned.place,
        positioned.bar_date,
        positioned.first_expected_no,
        positioned.last_expected_no,
        positioned.missing_bars,
        positioned.is_whole_session,
        positioned.misses_from,
        positioned.misses_to,
        answered.sources as quiet_by
    from positioned
    left join lateral (
        select string_agg(distinct loads.provider, ', ' order by loads.provider) as sources
        from {{ ref('int_answered_sessions') }} as sessions
        inner join {{ ref('int_loads') }} as loads on loads.batch = sessions.batch
        where
            positioned.is_quiet
            and sessions.series_id = positioned.asked_series_id
            and sessions.session_date = positioned.bar_date
            and sessions.covered_from < positioned.misses_to
            and sessions.covered_to > positioned.misses_from
        {{ optimization_fence() }}
    ) as answered on true
)

select * from final
