{{ config(materialized='view') }}
-- Every missing range of every series as it is known now: its verdict, the evidence, and whether it is settled. A range
-- is classified session by session, then sessions of one verdict are put together again. It reads the work list
-- (int_missing_bars and the bars that are none), the evidence (int_answers) and what we rejected. States and
-- transitions: docs/reference/coverage.md.
with

-- The sources that a series can be asked of: those that have its asset, and bars of the length that is asked for.
series as (
    select
        series.series_id,
        series.base_series_id,
        (
            select count(distinct provider_symbols.source)
            from {{ ref('int_provider_symbols') }} as provider_symbols
            inner join {{ ref('source_timeframes') }} as served
                on
                    served.source = provider_symbols.source
                    and served.timeframe = case when series.is_fetched then series.timeframe else series.base_timeframe end
            where
                provider_symbols.symbol = series.symbol
                and provider_symbols.asset_class = series.asset_class
                and provider_symbols.used_for = 'bars'
                and {{ position_in_list('provider_symbols.source', 'series.sources_in_order') }} is not null
        ) as sources
    from {{ ref('int_series') }} as series
    {{ optimization_fence() }}
),

-- A bar without a price, or that contradicts itself (its high below its low), is none: another source may have the right one.
-- It is there all the same, so int_missing_bars does not know it, nor is it one that nobody traded.
missing_bars as (
    select
        missing.*,
        cast(null as text) as unusable_for
    from {{ ref('int_missing_bars') }} as missing

    union all

    select
        series.series_id,
        series.symbol,
        series.asset_class,
        series.timeframe,
        series.timeframe,
        series.is_fetched,
        series.step_minutes,
        series.calendar,
        series.time_zone,
        series.sources_in_order,
        series.active_from,
        'between',
        bars.session_date,
        bars.expected_no,
        bars.expected_no,
        1,
        false,
        bars.opened_at,
        bars.closed_at,
        null,
        bars.source || ' sent it, and it is no bar: ' || bars.failed_checks
    from {{ ref('int_bars_selected') }} as bars
    inner join {{ ref('int_series') }} as series on series.series_id = bars.series_id
    where
        not bars.is_valid
        and bars.is_active
        and not bars.is_retracted
        and bars.source <> 'manual'
        and series.is_fetched
        and (
            {{ is_no_bar() }}
        )
),

-- The looks at each range that is not just quiet. An answer holds a range if it was asked for all of it; of a resampled
-- bar the first of its parts represents all.
looked_at as (
    select
        missing.*,
        looks.answered_by,
        looks.proving_sources,
        looks.times,
        looks.first_look_at,
        looks.last_look_at,
        looks.is_file_only,
        looks.failure
    from missing_bars as missing
    inner join lateral (
        select
            string_agg(distinct case when existing_rows.is_look then existing_rows.source end, ', ') as answered_by,
            -- With bars on both sides: an empty answer is no proof.
            count(
                distinct case
                    when
                        existing_rows.is_look
                        and existing_rows.first_row_at < missing.misses_from
                        and existing_rows.covered_to > missing.misses_from
                        then existing_rows.source
                end
            ) as proving_sources,
            count(distinct case when existing_rows.is_look then existing_rows.run_id end) as times,
            min(case when existing_rows.is_look then existing_rows.requested_at end) as first_look_at,
            max(case when existing_rows.is_look then existing_rows.requested_at end) as last_look_at,
            min(
                case when existing_rows.is_look and not existing_rows.is_file then 0 when existing_rows.is_look then 1 end
            ) = 1 as is_file_only,
            max(
                case
                    when not existing_rows.is_answer
                        then existing_rows.source || ': ' || coalesce(existing_rows.error, 'no answer')
                end
            ) as failure
        from (
            select
                around.*,
                around.is_answer
                and around.asked_from <= missing.misses_from
                and (around.asked_to >= missing.misses_to or not missing.is_fetched) as is_look
            from (
                {{ answers_around(is_long=false) }}
                union all
                {{ answers_around(is_long=true) }}
            ) as around
        ) as existing_rows
        {{ optimization_fence() }}
    ) as looks on true
    where missing.quiet_by is null

    union all

    select missing.*, missing.quiet_by, null, null, null, null, null, null
    from missing_bars as missing
    where missing.quiet_by is not null
),

-- A day of the whole market is a look at each stock's.
market_days as (
    select
        asked_from,
        string_agg(distinct source, ', ' order by source) as answered_by,
        count(distinct source) as sources,
        count(distinct run_id) as times,
        min(requested_at) as first_look_at,
        max(requested_at) as last_look_at
    from {{ ref('int_answers') }}
    where
        symbol = '*'
        and asset_class = '*'
        and timeframe = {{ day_timeframe() }}
        and is_answer
        and last_row_at is not null
        and not is_long
    group by asked_from
),

asked as (
    select
        looked_at.*,
        series.sources,
        coalesce(looked_at.unusable_for, rejected.rejected_for) as rejected_for,
        coalesce(looked_at.answered_by, market_days.answered_by) as answering,
        coalesce(looked_at.times, 0) + coalesce(market_days.times, 0) as looks,
        least(looked_at.first_look_at, market_days.first_look_at) as seen_first_at,
        greatest(looked_at.last_look_at, market_days.last_look_at) as seen_last_at,
        greatest(looked_at.proving_sources, market_days.sources) as proved_by
    from looked_at
    inner join series on series.series_id = looked_at.series_id
    left join market_days
        on
            looked_at.step_minutes = 1440
            and looked_at.is_fetched
            and {{ has_closures('looked_at.calendar') }}
            and looked_at.quiet_by is null
            and market_days.asked_from = looked_at.misses_from
    -- What a source sent and we refused is missing for our own doing.
    left join lateral (
        select max(rejects.source || ' sent it, and it was rejected: ' || rejects.reason) as rejected_for
        from {{ ref('rejected_bars') }} as rejects
        where
            rejects.symbol = looked_at.symbol
            and rejects.asset_class = looked_at.asset_class
            and rejects.timeframe = looked_at.asked_timeframe
            and {{ position_in_list('rejects.source', 'looked_at.sources_in_order') }} is not null
            and rejects.timestamp >= looked_at.misses_from
            -- A day or a week that is stamped after its session is still that one.
            and rejects.timestamp < case
                when looked_at.step_minutes < 1440 then looked_at.misses_to
                else looked_at.misses_from + {{ minutes('looked_at.step_minutes') }}
            end
        {{ optimization_fence() }}
    ) as rejected on true
),

classified as (
    select
        *,
        case
            when rejected_for is not null then 'rejected'
            when quiet_by is not null then 'no trades'
            when answering is null and place = 'before' and active_from is null then null
            when answering is null and failure is not null then 'outage'
            when answering is null then 'not fetched'
            -- Where the registry says since when it is active, an answer without bars does not say otherwise.
            when place = 'before' and active_from is null then 'not listed'
            -- A source that gives quiet bars too, with volume 0: where it has none, the exchange stood still.
            when {{ holds_source('answering', sources_of('quiet_bars')) }} then 'outage'
            else 'provider hole'
        end as verdict,
        seen_last_at - seen_first_at as looked_for
    from asked
),

settled as (
    select
        *,
        case
            when verdict = 'no trades' then 'final'
            when answering is null or looks < 2 then 'open'
            -- The schedule has run to its end.
            when looked_for >= interval '{{ look_again_after_hours()[-1] }} hours' then 'final'
            when verdict = 'not listed' and (looked_for >= interval '3 days' or answering like '%,%') then 'final'
            when
                looks >= 3
                and looked_for >= interval '3 days'
                and not coalesce(is_file_only, false)
                and proved_by >= sources
                then 'final'
            else 'open'
        end as repair_state
    from classified
    where verdict is not null
),

-- A session of which no series of the market has a bar, though all were asked: more likely a closure that the calendar
-- does not know than so many holes. In the first week it may be a source that has lost the day.
empty_days as (
    select
        calendar,
        bar_date,
        count(distinct symbol) as symbols
    from settled
    where
        verdict = 'provider hole'
        and is_whole_session
        and step_minutes <= 1440
        and {{ has_closures('calendar') }}
        and place = 'between'
        and misses_to < {{ warehouse_now() }} - interval '7 days'
    group by calendar, bar_date
    having count(distinct symbol) > 1
),

traded_days as (
    select distinct
        series.calendar,
        days.session_date
    from empty_days
    inner join {{ ref('series_quality_by_day') }} as days on days.session_date = empty_days.bar_date
    inner join {{ ref('int_series') }} as series
        on series.series_id = days.series_id and series.calendar = empty_days.calendar
    where days.bars > 0 and series.step_minutes <= 1440
),

empty_sessions as (
    select empty_days.*
    from empty_days
    left join traded_days
        on traded_days.calendar = empty_days.calendar and traded_days.session_date = empty_days.bar_date
    where traded_days.session_date is null
),

with_previous as (
    select
        settled.*,
        lag(settled.last_expected_no) over in_order as previous_expected_no,
        concat_ws(
            '|', settled.place, settled.verdict, settled.answering, settled.failure, settled.rejected_for, settled.repair_state
        ) as classification,
        lag(concat_ws(
            '|', settled.place, settled.verdict, settled.answering, settled.failure, settled.rejected_for, settled.repair_state
        )) over in_order as previous_classification
    from settled
    left join empty_sessions
        on
            empty_sessions.calendar = settled.calendar
            and empty_sessions.bar_date = settled.bar_date
            and settled.step_minutes <= 1440
            and settled.is_whole_session
    where empty_sessions.calendar is null
    window in_order as (partition by settled.series_id order by settled.first_expected_no)
),

divided as (
    select
        *,
        case
            when previous_expected_no = first_expected_no - 1 and previous_classification = classification then 0
            else 1
        end as starts_range
    from with_previous
),

numbered as (
    select
        *,
        sum(starts_range) over (
            partition by series_id order by first_expected_no rows between unbounded preceding and current row
        ) as range_no
    from divided
),

ranges as (
    select
        symbol,
        asset_class,
        timeframe,
        max(place) as place,
        min(misses_from) as gap_from,
        -- A day or a week is asked for whole.
        max(
            case
                when step_minutes < 1440 then misses_to
                else {{ local_instant('bar_date + step_minutes / 1440', "'00:00'", 'time_zone') }}
            end
        ) as gap_to,
        sum(missing_bars) as missing_bars,
        max(verdict) as verdict,
        max(answering) as answered_by,
        max(failure) as failure,
        max(rejected_for) as rejected_for,
        max(repair_state) as repair_state,
        min(looks) as looks,
        max(seen_first_at) as first_look_at,
        min(seen_last_at) as last_look_at,
        case when max(repair_state) = 'open' then min({{ next_look_at('looks', 'seen_first_at', 'seen_last_at') }}) end
            as next_look_at
    from numbered
    group by series_id, symbol, asset_class, timeframe, range_no

    union all

    select
        empty_sessions.calendar,
        '*',
        {{ day_timeframe() }},
        'between',
        expected_bars.first_expected_at,
        expected_bars.closes_at,
        empty_sessions.symbols,
        'closed session',
        null,
        null,
        null,
        'final',
        null,
        null,
        null,
        null
    from empty_sessions
    inner join {{ ref('int_expected_bars') }} as expected_bars
        on
            expected_bars.calendar = empty_sessions.calendar
            and expected_bars.timeframe = {{ day_timeframe() }}
            and expected_bars.alignment = 'open'
            and expected_bars.bar_date = empty_sessions.bar_date
),

worded as (
    select
        *,
        case
            when looks > 1
                then
                    '; ' || looks || ' looks from ' || {{ local_date('first_look_at', "'UTC'") }} || ' to '
                    || {{ local_date('last_look_at', "'UTC'") }}
            when looks = 1 then '; one look, on ' || {{ local_date('first_look_at', "'UTC'") }}
            else ''
        end as looked
    from ranges
),

final as (
    select
        cast(symbol as varchar(20)) as symbol,
        cast(asset_class as varchar(10)) as asset_class,
        cast(timeframe as varchar(10)) as timeframe,
        gap_from,
        gap_to,
        cast(missing_bars as integer) as missing_bars,
        verdict,
        case
            when verdict = 'closed session'
                then 'suspected closure: none of ' || missing_bars || ' symbols has a bar'
            when verdict = 'rejected' then rejected_for || looked
            when verdict = 'not fetched' then 'no source was asked for all of it with success'
            when verdict = 'outage' and answered_by is null then failure
            when verdict = 'outage' then answered_by || ' answered without it, and gives bars without trades too' || looked
            when verdict = 'not listed' then answered_by || ' answered and has nothing older than the first bar' || looked
            when verdict = 'provider hole' then answered_by || ' answered without it, more than nobody trading' || looked
            else answered_by || ' answered for it without it, and it is no more than nobody trading'
        end as evidence,
        answered_by,
        place,
        repair_state,
        cast(looks as integer) as looks,
        first_look_at,
        last_look_at,
        next_look_at
    from worded
)

select * from final
