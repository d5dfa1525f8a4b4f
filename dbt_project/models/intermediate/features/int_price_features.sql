{{ config(materialized='view') }}
-- The features that every asset class has, for the bars of this run, over valid bars only. Windows run on continuous
-- prices (price x split_factor) and volumes (volume / split_factor); results go back to the basis of their own bar.
-- Sums are exact decimals and integers, so they do not depend on where a run began to read. Formulas: FEATURES doc
-- blocks; each CTE adds one kind.
with

bars as (
    select
        *,
        -- Splits are rare: the usual bar is spared two multiplications.
        case when split_factor = 1 then close else round(close * split_factor, 10) end as continuous_close,
        case when split_factor = 1 then high else round(high * split_factor, 10) end as continuous_high,
        case when split_factor = 1 then low else round(low * split_factor, 10) end as continuous_low,
        case when split_factor = 1 then volume else round(volume / split_factor, 8) end as continuous_volume,
        -- Invalid bars count here: they are there, so they leave no gap.
        lag(slot_no) over (partition by series_id, span order by opened_at) as previous_slot_no
    from {{ ref('int_bars_to_compute') }}
),

-- The bar before, the session before, and the bar that opened an hour before this one closes.
neighbours as (
    select
        *,
        lag(continuous_close) over series as previous_close,
        -- No window looks beyond {{ longest_window() }} bars, so a span that starts inside the series counts from there.
        row_number() over series + case when reads_from_start then 0 else {{ longest_window() }} end as bar_number,
        first_value(opened_at) over hour as hour_opened_at,
        first_value(open * split_factor) over hour as hour_open
    from bars
    window
        series as (partition by series_id, span, is_valid order by opened_at),
        -- 55 minutes hold exactly the bars of the hour that this bar ends, for every step from 5 minutes to an hour.
        hour as (
            partition by series_id, span, is_valid order by opened_at
            range between interval '55 minutes' preceding and current row
        )
),

returns as (
    select
        *,
        {{ double('continuous_close') }} as c,
        greatest(continuous_high, previous_close) - least(continuous_low, previous_close) as continuous_true_range,
        continuous_high + continuous_low + continuous_close as continuous_hlc,
        -- The first bar of a session sees the last close of the one before; the others take it over from that bar.
        first_value(previous_close) over session as previous_session_close,
        -- Log returns count in 1e-8, the scale they are stored in: the sums of their squares are then exact integers.
        -- +-30 is a factor of 1e13 in one bar: beyond it the square would leave 64 bits.
        case
            when is_valid and previous_close is not null
                then cast(round(greatest(least(ln({{ double('continuous_close') }} / {{ double('previous_close') }}), 30), -30) * 1e8) as bigint)
        end as log_return_e8
    from neighbours
    window session as (partition by series_id, span, is_valid, session_date order by opened_at)
),

-- Wilder's recursion starts with the mean of the first 14 true ranges, standing at the 14th (bar 15).
seeded as (
    select
        *,
        case
            when bar_number > 15 then {{ double('continuous_true_range') }}
            when bar_number = 15
                then {{ double('sum(case when bar_number <= 15 then continuous_true_range end) over (partition by series_id, span, is_valid order by opened_at rows between unbounded preceding and current row)') }}
            else {{ double(0) }}
        end as seeded_true_range
    from returns
),

wilder_6 as (
    select *, {{ wilder_level('seeded_true_range', 1, 6, 'series') }} as wilder_6
    from seeded
    window series as (partition by series_id, span, is_valid order by opened_at)
),

wilder_36 as (
    select *, {{ wilder_level('wilder_6', 6, 6, 'series') }} as wilder_36
    from wilder_6
    window series as (partition by series_id, span, is_valid order by opened_at)
),

wilder_144 as (
    select *, {{ wilder_level('wilder_36', 36, 4, 'series') }} as wilder_144
    from wilder_36
    window series as (partition by series_id, span, is_valid order by opened_at)
),

windows as (
    select
        *,
        {{ wilder_level('wilder_144', 144, 3, 'series') }} as wilder_432,
        sum(continuous_close) over last_20 as closes_20,
        sum(continuous_close) over last_50 as closes_50,
        sum(log_return_e8) over last_20 as returns_20,
        sum(log_return_e8) over last_50 as returns_50,
        sum(log_return_e8 * log_return_e8) over last_20 as squares_20,
        sum(log_return_e8 * log_return_e8) over last_50 as squares_50,
        sum(continuous_volume) over last_20 as volumes_20,
        sum(continuous_hlc * continuous_volume) over last_20 as hlc_volumes_20,
        sum(continuous_volume) over previous_20 as previous_volumes_20,
        sum(continuous_volume * continuous_volume) over previous_20 as previous_volume_squares_20,
        max(continuous_hlc) over last_10 as highest_10,
        min(continuous_hlc) over last_10 as lowest_10
    from wilder_144
    window
        series as (partition by series_id, span, is_valid order by opened_at),
        last_10 as (partition by series_id, span, is_valid order by opened_at {{ last_bars(10) }}),
        last_20 as (partition by series_id, span, is_valid order by opened_at {{ last_bars(20) }}),
        last_50 as (partition by series_id, span, is_valid order by opened_at {{ last_bars(50) }}),
        previous_20 as (partition by series_id, span, is_valid order by opened_at {{ previous_bars(20) }})
),

structures as (
    select
        *,
        lag(highest_10, 10) over series as previous_highest_10,
        lag(lowest_10, 10) over series as previous_lowest_10,
        {{ double('20 * previous_volume_squares_20 - previous_volumes_20 * previous_volumes_20') }} as volume_spread
    from windows
    window series as (partition by series_id, span, is_valid order by opened_at)
),

final as (
    select
        structures.*,
        -- return_1h: only bars of up to an hour, and only if the bar that opened an hour before the close is there.
        case
            when is_valid and step_minutes <= 60 and hour_opened_at = opened_at + {{ minutes('(step_minutes - 60)') }}
                then c / {{ double('hour_open') }} - 1
        end as return_1h,
        case when is_valid and step_minutes < 10080 then c / {{ double('previous_session_close') }} - 1 end as return_1d,
        case when is_valid then log_return_e8 * 0.00000001 end as log_return,
        case when is_valid and bar_number > 20 then sqrt({{ double('20 * squares_20 - returns_20 * returns_20') }} / 380) end as volatility_20_e8,
        case when is_valid and bar_number > 50 then sqrt({{ double('50 * squares_50 - returns_50 * returns_50') }} / 2450) end as volatility_50_e8,
        case when is_valid then continuous_true_range / split_factor end as true_range,
        case when is_valid and bar_number >= 15 then wilder_432 / 14 / {{ double('split_factor') }} end as atr,
        case when is_valid then (high + low + close) / 3 end as hlc3,
        case when is_valid and bar_number >= 20 then closes_20 / 20 / split_factor end as sma_20,
        case when is_valid and bar_number >= 50 then closes_50 / 50 / split_factor end as sma_50,
        case when is_valid and bar_number >= 20 then hlc_volumes_20 / 3 / nullif(volumes_20, 0) / split_factor end as vwap_20,
        case
            when not is_valid or bar_number < 50 then null
            when continuous_close * 20 > closes_20 and closes_20 * 5 > closes_50 * 2 then 'up'
            when continuous_close * 20 < closes_20 and closes_20 * 5 < closes_50 * 2 then 'down'
            else 'neutral'
        end as trend_direction,
        case
            when not is_valid or bar_number < 20 then null
            when highest_10 > previous_highest_10 and lowest_10 > previous_lowest_10 then 'bullish'
            when highest_10 < previous_highest_10 and lowest_10 < previous_lowest_10 then 'bearish'
            else 'range'
        end as market_structure,
        case when is_valid and bar_number >= 20 then volumes_20 * split_factor end as rolling_volume_20,
        -- (V - S/20) / sqrt((20 SS - S^2) / 380), with S and SS the exact sums over the previous 20 volumes.
        case
            when is_valid and bar_number > 20 and volume_spread > 0
                then {{ double('20 * continuous_volume - previous_volumes_20') }} / 20 / sqrt(volume_spread / 380)
        end as volume_spike_score
    from structures
)

select * from final
