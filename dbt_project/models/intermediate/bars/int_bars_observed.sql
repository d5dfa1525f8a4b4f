{%- set readers = ['int_bar_revisions', 'int_bars_in_progress', 'int_bars_rejected', 'rejected_bars'] -%}
{%- set day = local_date('bars.opened_at', 'series.time_zone') -%}
{{
    config(
        post_hook=[
            '{{ reject_contradicted_rows() }}',
            "{{ advance_watermark([ref('int_loads')], prepares=['int_bar_revisions', 'int_bars_in_progress', 'int_bars_rejected', 'rejected_bars']) }}",
            '{{ analyze() }}',
        ]
    )
}}
-- depends_on: {{ ref('int_series_fingerprints') }}
-- Every bar row of the answers that one of its four readers has not processed yet (a run that broke off between them
-- leaves them apart), with what becomes of it: a final bar, one in progress, or a row that cannot be a bar and why. Of a
-- series that joined the registry, or whose sessions were corrected, all answers are read again.
with

loads as (
    select batch, provider, load_id
    from {{ ref('int_loads') }}
),

-- The joins with int_expected_bars carry all columns of its key: without the alignment, stock Postgres 15 looked through all
-- sessions of a calendar for each row (100 times the time).
aligned as (
    select
        bars.*,
        loads.batch,
        series.series_id,
        series.step_minutes,
        series.time_zone,
        case
            when
                bars.opened_at >= sessions.first_expected_at
                and bars.opened_at < sessions.closes_at
                and mod(
                    {{ epoch_seconds('bars.opened_at') }} - {{ epoch_seconds('sessions.first_expected_at') }},
                    series.step_minutes * 60
                ) = 0
                then sessions.closes_at
            when
                bars.opened_at >= clocks.first_expected_at
                and bars.opened_at < clocks.closes_at
                and mod(
                    {{ epoch_seconds('bars.opened_at') }} - {{ epoch_seconds('clocks.first_expected_at') }},
                    series.step_minutes * 60
                ) = 0
                then clocks.closes_at
        end as session_closes_at,
        sessions.bar_date is not null as is_session_day
    from {{ ref('int_bars_unioned') }} as bars
    -- A case, because Postgres expects each of two equations to hold once in 200 rows: it then took all rows for five, and
    -- looked through all series for each.
    inner join loads on loads.load_id = bars.load_id and case when loads.provider = bars.source then true end
    left join {{ ref('int_series') }} as series
        on
            series.symbol = bars.symbol
            and series.asset_class = bars.asset_class
            and series.timeframe = bars.timeframe
    left join {{ ref('int_expected_bars') }} as sessions
        on
            sessions.calendar = series.calendar
            and sessions.timeframe = series.timeframe
            and sessions.alignment = 'open'
            and sessions.bar_date = {{ day }}
    left join {{ ref('int_expected_bars') }} as clocks
        on
            clocks.calendar = series.calendar
            and clocks.timeframe = series.timeframe
            and clocks.alignment = 'clock'
            and clocks.bar_date = {{ day }}
    where
        {{ is_new_load(readers, 'bars.load_id') }}
        or {{ is_of_replaced_series(readers, 'bars') }}
        or {{ is_of_moved_load('rejected_bars', 'loads.batch') }}
    {{ optimization_fence() }}
),

-- A bar is over when it had closed before the answer was made. Days and weeks close with their last session, not a step
-- after their stamp. What the source itself shows as still being made never is.
ended as (
    select
        *,
        is_in_progress is not true
        and case
            when step_minutes >= 1440 then coalesce(session_closes_at, opened_at + {{ minutes('step_minutes') }})
            else least(opened_at + {{ minutes('step_minutes') }}, session_closes_at)
        end <= known_until as is_over
    from aligned
),

classified as (
    select
        *,
        {{ first_reason({
            'not in the asset registry': 'series_id is null',
            'no readable time stamp or zone':
                'opened_at is null and step_minutes >= 1440 and ' ~ is_source('source', sources('dates_by_zone')),
            'no readable time stamp': 'opened_at is null',
            'stamped after the answer was made': "opened_at > known_until + interval '24 hours'",
            'outside the asked window': is_outside_window(),
            'no readable price': 'is_withdrawal is not true and coalesce(open, high, low, close) is null',
            'a price of 1e9 or more': 'greatest(abs(open), abs(high), abs(low), abs(close)) >= ' ~ highest_price(),
            'a price finer than is stored': is_price_too_fine(),
            'a volume above 1e18': 'greatest(abs(volume), abs(taker_buy_volume)) > 1e18',
            'not on a session day': 'session_closes_at is null and not is_session_day',
            'off the grid of its timeframe':
                'session_closes_at is null and step_minutes < 1440'
                ~ ' and mod(' ~ epoch_seconds('opened_at') ~ ', step_minutes * 60) <> 0',
            'not stamped at the start of its day': 'session_closes_at is null and step_minutes >= 1440',
            'outside the regular session': 'session_closes_at is null',
        }) }} as reject_reason
    from ended
    {{ optimization_fence() }}
),

final as (
    select
        series_id,
        symbol,
        asset_class,
        timeframe,
        opened_at,
        cast(source as varchar(20)) as source,
        cast(batch as integer) as batch,
        known_until,
        fetched_at,
        -- Part of the key of an answer, so never NULL.
        coalesce(window_start, known_until) as window_start,
        payload_position,
        reject_reason,
        is_withdrawal,
        case when reject_reason is not null then payload_row end as payload_row,
        reject_reason is null and is_over as is_final,
        -- Rounding to the stored scale happens here, once.
        case when reject_reason is null then {{ at_stored_scale('open') }} end as open,
        case when reject_reason is null then {{ at_stored_scale('high') }} end as high,
        case when reject_reason is null then {{ at_stored_scale('low') }} end as low,
        case when reject_reason is null then {{ at_stored_scale('close') }} end as close,
        case when reject_reason is null then round(volume, 8) end as volume,
        case when reject_reason is null then round(taker_buy_volume, 8) end as taker_buy_volume
    from classified
)

select * from final
-- Extended hours are no bars of a session and no fault of the source; keeping them would double the work.
where reject_reason is null or reject_reason <> 'outside the regular session'
