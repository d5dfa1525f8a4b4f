{{ config(materialized='view') }}
-- Every missing range of every series as it is known now, with its verdict: gaps between bars, the stretch from the
-- last bar on, and what was asked for before the first bar. A gap is judged session by session, then sessions of one
-- verdict are put together again. It reads gaps and the fetch log, never the bars.
with

series as (
    select
        series.*,
        -- A resampled bar is missing because bars of its base are.
        case when series.is_fetched then series.timeframe else series.base_timeframe end as asked_timeframe,
        greatest(
            (
                select max(bars.opened_at)
                from {{ ref('int_bars_selected') }} as bars
                where bars.series_id = series.series_id and bars.is_listed
            ),
            (
                select max(bars.opened_at)
                from {{ ref('int_bars_resampled') }} as bars
                where bars.series_id = series.series_id and bars.is_listed
            )
        ) as last_bar_at,
        least(
            (
                select min(bars.opened_at)
                from {{ ref('int_bars_selected') }} as bars
                where bars.series_id = series.series_id and bars.is_listed
            ),
            (
                select min(bars.opened_at)
                from {{ ref('int_bars_resampled') }} as bars
                where bars.series_id = series.series_id and bars.is_listed
            )
        ) as first_bar_at,
        (
            select max(case when assets.enabled then 1 else 0 end) = 1
            from {{ ref('assets') }} as assets
            where assets.symbol = series.symbol and assets.asset_class = series.asset_class
        ) as is_enabled
    from {{ ref('int_series') }} as series
),

-- What each source has answered for, as stretches of time without holes; a whole-market day answers for every stock.
answers as (
    select
        series.series_id,
        answers.source,
        answers.success,
        answers.error_details,
        answers.window_start,
        -- A value may still have moved after the instant it was asked for.
        case
            when answers.success then least(answers.window_end, answers.requested_at)
            else answers.window_end
        end as window_end
    from series
    inner join {{ ref('enrichment_fetch_log') }} as answers
        on
            answers.symbol = series.symbol
            and answers.asset_class = series.asset_class
            and answers.timeframe = series.asked_timeframe
            and answers.endpoint = 'bars'
    union all
    select
        series.series_id,
        answers.source,
        answers.success,
        answers.error_details,
        answers.window_start,
        least(answers.window_end, answers.requested_at)
    from series
    inner join {{ ref('enrichment_fetch_log') }} as answers
        on
            answers.endpoint = 'grouped_daily'
            and answers.success
            and series.asked_timeframe = '1d'
            and series.asset_class <> 'crypto'
),

ordered_answers as (
    select
        *,
        max(window_end) over (
            partition by series_id, source, success
            order by window_start, window_end
            rows between unbounded preceding and 1 preceding
        ) as answered_before
    from answers
    where window_end > window_start
),

numbered_answers as (
    select
        *,
        sum(case when window_start > answered_before then 1 else 0 end) over (
            partition by series_id, source, success
            order by window_start, window_end
            rows between unbounded preceding and current row
        ) as stretch
    from ordered_answers
),

covered as (
    select
        series_id,
        source,
        success,
        min(window_start) as covered_from,
        max(window_end) as covered_to,
        max(error_details) as error_details
    from numbered_answers
    group by series_id, source, success, stretch
),

first_asked as (
    select
        series_id,
        min(covered_from) as asked_from
    from covered
    where success
    group by series_id
),

-- The slots of each gap's sessions. Slots are counted; which of them are missing follows from the counts.
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
        bars.session_date,
        {{ local_date(warehouse_now(), 'series.time_zone') }},
        bars.slot_no + 1,
        2147483647
    from series
    inner join {{ ref('int_bars') }} as bars
        on bars.series_id = series.series_id and bars.opened_at = series.last_bar_at
    where series.is_enabled and series.is_fetched

    union all

    select
        series.series_id,
        'before',
        {{ local_date('first_asked.asked_from', 'series.time_zone') }},
        bars.session_date,
        0,
        bars.slot_no - 1
    from series
    inner join first_asked on first_asked.series_id = series.series_id
    inner join {{ ref('int_bars') }} as bars
        on bars.series_id = series.series_id and bars.opened_at = series.first_bar_at
    where series.is_fetched and first_asked.asked_from < series.first_bar_at
),

sessions as (
    select
        series.series_id,
        series.symbol,
        series.asset_class,
        series.timeframe,
        series.step_minutes,
        series.calendar,
        series.time_zone,
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
    inner join {{ ref('int_slots') }} as slots
        on
            slots.calendar = series.calendar
            and slots.timeframe = series.timeframe
            and slots.grid = series.grid
            and slots.slot_date >= stretches.first_session
            and slots.slot_date <= stretches.last_session
            and {{ is_listed_on('slots.slot_date', last_day_of_slot('slots.slot_date')) }}
),

timed as (
    select
        *,
        last_slot_no - first_slot_no + 1 = slots as is_whole_session,
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

overlapping_answers as (
    select
        timed.series_id,
        timed.first_slot_no,
        case
            when covered.success and covered.covered_from <= timed.misses_from and covered.covered_to >= timed.misses_to
                then covered.source
        end as answered_by,
        case
            when not covered.success and covered.covered_from < timed.misses_to and covered.covered_to > timed.misses_from
                then covered.source || ': ' || coalesce(covered.error_details, 'no answer')
        end as failure
    from timed
    inner join covered on covered.series_id = timed.series_id
),

answers_by_session as (
    select
        series_id,
        first_slot_no,
        string_agg(distinct answered_by, ', ' order by answered_by) as answered_by,
        max(failure) as failure
    from overlapping_answers
    group by series_id, first_slot_no
),

asked as (
    select
        timed.*,
        answers_by_session.answered_by,
        answers_by_session.failure
    from timed
    left join answers_by_session
        on
            answers_by_session.series_id = timed.series_id
            and answers_by_session.first_slot_no = timed.first_slot_no
),

judged as (
    select
        *,
        case
            when answered_by is null and place = 'before' then null
            when answered_by is null and failure is not null then 'outage'
            when answered_by is null then 'not fetched'
            when place = 'before' then 'not listed'
            -- Binance gives quiet bars too, with volume 0: where it has none, the exchange stood still.
            when answered_by like '%binance%' then 'outage'
            when is_whole_session then 'provider hole'
            else 'no trades'
        end as verdict
    from asked
),

-- A session of which no series of the market has a bar, though all were asked: more likely a closure that the calendar
-- does not know than so many holes.
empty_sessions as (
    select
        judged.calendar,
        judged.slot_date,
        count(distinct judged.symbol) as symbols
    from judged
    where
        judged.verdict = 'provider hole'
        and judged.step_minutes <= 1440
        and judged.calendar <> '24/7'
        and judged.place = 'between'
        and not exists (
            select 1
            from {{ ref('series_quality_by_day') }} as days
            inner join series on series.series_id = days.series_id
            where
                days.session_date = judged.slot_date
                and days.bars > 0
                and series.calendar = judged.calendar
                and series.step_minutes <= 1440
        )
    group by judged.calendar, judged.slot_date
    having count(distinct judged.symbol) > 1
),

with_previous as (
    select
        judged.*,
        lag(judged.last_slot_no) over in_order as previous_slot_no,
        concat_ws('|', judged.place, judged.verdict, judged.answered_by, judged.failure) as judgement,
        lag(
            concat_ws('|', judged.place, judged.verdict, judged.answered_by, judged.failure)
        ) over in_order as previous_judgement
    from judged
    left join empty_sessions
        on
            empty_sessions.calendar = judged.calendar
            and empty_sessions.slot_date = judged.slot_date
            and judged.step_minutes <= 1440
            and judged.is_whole_session
    where judged.verdict is not null and empty_sessions.calendar is null
    window in_order as (partition by judged.series_id order by judged.first_slot_no)
),

divided as (
    select
        *,
        case
            when previous_slot_no = first_slot_no - 1 and previous_judgement = judgement then 0
            else 1
        end as starts_range
    from with_previous
),

numbered as (
    select
        *,
        sum(starts_range) over (
            partition by series_id order by first_slot_no rows between unbounded preceding and current row
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
                else {{ local_instant('slot_date + step_minutes / 1440', "'00:00'", 'time_zone') }}
            end
        ) as gap_to,
        sum(last_slot_no - first_slot_no + 1) as missing_bars,
        max(verdict) as verdict,
        max(answered_by) as answered_by,
        max(failure) as failure
    from numbered
    group by series_id, symbol, asset_class, timeframe, range_no

    union all

    select
        empty_sessions.calendar,
        '*',
        '1d',
        'between',
        slots.first_slot_at,
        slots.closes_at,
        empty_sessions.symbols,
        'closed session',
        null,
        null
    from empty_sessions
    inner join {{ ref('int_slots') }} as slots
        on
            slots.calendar = empty_sessions.calendar
            and slots.timeframe = '1d'
            and slots.grid = 'open'
            and slots.slot_date = empty_sessions.slot_date
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
            when verdict = 'not fetched' then 'no source was asked for it with success'
            when verdict = 'outage' and answered_by is null then failure
            when verdict = 'outage' then answered_by || ' answered without it, and gives bars without trades too'
            when verdict = 'not listed' then answered_by || ' answered and has nothing older than the first bar'
            when verdict = 'provider hole' then answered_by || ' answered without this session'
            else answered_by || ' answered without it, but with other bars of the session'
        end as evidence,
        answered_by,
        place,
        case
            when verdict in ('not fetched', 'provider hole') or (verdict = 'outage' and answered_by is null) then 'open'
            else 'final'
        end as repair_state
    from ranges
)

select * from final
