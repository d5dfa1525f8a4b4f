{%- set readers = ['int_bar_revisions', 'int_bars_unfinished', 'rejected_bars'] -%}
{{
    config(
        post_hook=[
            "{{ advance_watermark(['int_loads'], prepares=['int_bar_revisions', 'int_bars_unfinished', 'rejected_bars']) }}",
            '{{ analyze() }}',
        ]
    )
}}
-- depends_on: {{ ref('int_series_rules') }}
-- Every bar row of the answers that one of its three readers has not worked in yet (a run that broke off between them
-- leaves them apart), with what becomes of it: a final bar, an unfinished one, or a row that cannot be a bar and why. Of a
-- series that joined the registry, or whose sessions were corrected, all answers are read again.
with

loads as (
    select load_no, provider, load_id
    from {{ ref('int_loads') }}
),

placed as (
    select
        bars.*,
        loads.load_no,
        series.series_id,
        series.step_minutes,
        slots.closes_at as session_closes_at,
        days.slot_date is not null as is_session_day
    from {{ ref('int_bars_unioned') }} as bars
    inner join loads on loads.provider = bars.source and loads.load_id = bars.load_id
    left join {{ ref('int_series') }} as series
        on
            series.symbol = bars.symbol
            and series.asset_class = bars.asset_class
            and series.timeframe = bars.timeframe
    left join {{ ref('int_slots') }} as slots
        on
            slots.calendar = series.calendar
            and slots.timeframe = series.timeframe
            and slots.slot_date = {{ local_date('bars.opened_at', 'series.time_zone') }}
            and bars.opened_at >= slots.first_slot_at
            and bars.opened_at < slots.closes_at
            and mod(
                {{ epoch_seconds('bars.opened_at') }} - {{ epoch_seconds('slots.first_slot_at') }},
                series.step_minutes * 60
            ) = 0
    left join {{ ref('int_slots') }} as days
        on
            days.calendar = series.calendar
            and days.timeframe = series.timeframe
            and days.grid = 'open'
            and days.slot_date = {{ local_date('bars.opened_at', 'series.time_zone') }}
    where {{ is_new_load(readers, 'bars.load_id') }} or {{ is_of_replaced_series(readers, 'bars') }}
),

judged as (
    select
        *,
        case
            when series_id is null then 'not in the asset registry'
            when opened_at is null then 'no readable time stamp'
            when is_withdrawal is not true and coalesce(open, high, low, close) is null then 'no readable price'
            -- Adjusted for many reverse splits, an old price of Yahoo's may be far above what was paid (UVXY: 2e9). It is checked
            -- as traded (as_traded_price).
            when greatest(abs(open), abs(high), abs(low), abs(close)) >= case when source = 'yahoo' then 1e18 else 1e9 end
                then 'a price of 1e9 or more'
            when greatest(abs(volume), abs(taker_buy_volume)) > 1e15 then 'a volume above 1e15'
            when session_closes_at is null and not is_session_day then 'not on a session day'
            when
                session_closes_at is null
                and mod({{ epoch_seconds('opened_at') }}, step_minutes * 60) <> 0
                and step_minutes < 1440
                then 'off the grid of its timeframe'
            when session_closes_at is null and step_minutes >= 1440 then 'not stamped at the start of its day'
            -- What remains lies on the clock of a session day, before its open or after its close.
            when session_closes_at is null then 'outside the regular session'
        end as reject_reason
    from placed
),

final as (
    select
        series_id,
        symbol,
        asset_class,
        timeframe,
        opened_at,
        cast(source as varchar(20)) as source,
        cast(load_no as integer) as load_no,
        known_until,
        fetched_at,
        window_start,
        payload_position,
        reject_reason,
        is_withdrawal,
        case when reject_reason is not null then payload_row end as payload_row,
        -- A bar is final when it had closed before the answer was made. Days and weeks close with their last session,
        -- not a step after their stamp.
        reject_reason is null
        and case
            when step_minutes >= 1440 then session_closes_at
            else least(opened_at + {{ minutes('step_minutes') }}, session_closes_at)
        end <= known_until as is_final,
        -- Rounding to the stored scale happens here, once.
        case when reject_reason is null then round(open, 10) end as open,
        case when reject_reason is null then round(high, 10) end as high,
        case when reject_reason is null then round(low, 10) end as low,
        case when reject_reason is null then round(close, 10) end as close,
        case when reject_reason is null then round(volume, 8) end as volume,
        case when reject_reason is null then round(taker_buy_volume, 8) end as taker_buy_volume
    from judged
)

select * from final
-- Extended hours are no bars of a session and no fault of the source; keeping them would double the work.
where reject_reason is null or reject_reason <> 'outside the regular session'
