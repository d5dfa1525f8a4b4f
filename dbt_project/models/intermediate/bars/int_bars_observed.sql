{{
    config(
        post_hook=["{{ advance_watermark(['int_loads'], prepares='int_bar_revisions') }}", '{{ analyze() }}']
    )
}}
-- The final bars in the answers that int_bar_revisions has not worked in yet: on the grid of a session, closed before
-- the answer was made, within the range of the stored types.
with

loads as (
    select load_no, provider, load_id
    from {{ ref('int_loads') }}
    where load_no > {{ watermark('int_bar_revisions') }}
),

observed as (
    select
        bars.*,
        loads.load_no,
        series.series_id,
        slots.closes_at as session_closes_at,
        series.step_minutes
    from {{ ref('int_bars_unioned') }} as bars
    inner join loads on loads.provider = bars.source and loads.load_id = bars.load_id
    inner join {{ ref('int_series') }} as series
        on
            series.symbol = bars.symbol
            and series.asset_class = bars.asset_class
            and series.timeframe = bars.timeframe
    -- Only rows that lie on a slot are bars of a session: pre- and after-market rows, and stamps off the grid, are not.
    inner join {{ ref('int_slots') }} as slots
        on
            slots.calendar = series.calendar
            and slots.timeframe = series.timeframe
            and slots.slot_date = {{ local_date('bars.opened_at', 'series.time_zone') }}
            and bars.opened_at >= slots.first_slot_at
            and bars.opened_at < slots.closes_at
            and mod({{ epoch_seconds('bars.opened_at') }} - {{ epoch_seconds('slots.first_slot_at') }}, series.step_minutes * 60) = 0
    where
        {{ is_new_load('int_bar_revisions', 'bars.load_id') }}
        and abs(bars.open) < 1e9 and abs(bars.high) < 1e9 and abs(bars.low) < 1e9 and abs(bars.close) < 1e9
        and abs(bars.volume) < 1e18 and abs(coalesce(bars.taker_buy_volume, 0)) < 1e18
),

-- A bar is final when it had closed before the answer was made; rounding to the stored scale happens here, once.
final as (
    select
        series_id,
        opened_at,
        cast(source as varchar(20)) as source,
        load_no,
        known_until,
        fetched_at,
        window_start,
        payload_position,
        round(open, 10) as open,
        round(high, 10) as high,
        round(low, 10) as low,
        round(close, 10) as close,
        round(volume, 8) as volume,
        round(taker_buy_volume, 8) as taker_buy_volume
    from observed
    where
        least(opened_at + {{ minutes('step_minutes') }}, session_closes_at) <= known_until
        -- Weeks and days end with their last session, not a step after their stamp.
        and (step_minutes < 1440 or session_closes_at <= known_until)
)

select * from final
