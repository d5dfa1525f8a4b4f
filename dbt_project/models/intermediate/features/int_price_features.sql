{{ config(materialized='view') }}
-- The features that every asset class has, for the bars of this run, over valid bars only. Windows run on continuous
-- prices (price x split_factor) and volumes (volume / split_factor); results go back to the basis of their own bar.
-- Sums are exact decimals and integers, so they do not depend on where a run began to read. The formulas are in the doc
-- blocks of the features. Each CTE adds one kind, and passes on only what later ones need, what windows read first:
-- Postgres unpacks a row up to the column it wants at every look back (with all columns of a bar: twice the time).
with

bars as (
    select
        series_id,
        span,
        is_valid,
        opened_at,
        closed_at,
        session_date,
        step_minutes,
        reads_from_start,
        split_factor,
        -- Splits are rare: the usual bar is spared the multiplications.
        case when split_factor = 1 then open else round(open * split_factor, 10) end as open,
        case when split_factor = 1 then high else round(high * split_factor, 10) end as high,
        case when split_factor = 1 then low else round(low * split_factor, 10) end as low,
        case when split_factor = 1 then close else round(close * split_factor, 10) end as close,
        case when split_factor = 1 then volume else round(volume / split_factor, 8) end as volume,
        -- Invalid bars count here: they are there, so they leave no gap.
        coalesce(
            slot_no - lag(slot_no) over (partition by series_id, span order by opened_at) > 1, false
        ) as gap_detected
    from {{ ref('int_bars_to_compute') }}
),

doubled as (
    select
        *,
        {{ double('open') }} as double_open,
        {{ double('close') }} as double_close
    from bars
    {{ compute_once() }}
),

-- The bar before, and the bar that opened an hour before this one closes.
neighbours as (
    select
        *,
        lag(close) over series as previous_close,
        lag(double_close) over series as previous_double_close,
        lag(closed_at) over series as previous_closed_at,
        -- No window looks beyond {{ longest_window() }} bars, so a span that starts inside the series counts from there.
        row_number() over series + case when reads_from_start then 0 else {{ longest_window() }} end as bar_number,
        first_value(opened_at) over hour as hour_opened_at,
        first_value(double_open) over hour as hour_open
    from doubled
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
        series_id,
        span,
        is_valid,
        opened_at,
        previous_closed_at,
        bar_number,
        gap_detected,
        split_factor,
        close,
        volume,
        high + low + close as hlc,
        -- greatest() and least() pass over a NULL: without the case the first bar would have its high - low.
        case
            when previous_close is not null then greatest(high, previous_close) - least(low, previous_close)
        end as true_range,
        -- Only bars of up to an hour, and only if the bar that opened an hour before the close is there.
        case
            when is_valid and step_minutes <= 60 and hour_opened_at = opened_at + {{ minutes('(step_minutes - 60)') }}
                then double_close / hour_open - 1
        end as return_1h,
        -- The first bar of a session sees the last close of the one before; the others take it over from that bar.
        case
            when is_valid and step_minutes < 10080
                then double_close / first_value(previous_double_close) over session - 1
        end as return_1d,
        -- Log returns count in 1e-8, the scale they are stored in: the sums of their squares are then exact integers.
        -- +-21 is a factor of 1e9 in one bar: beyond it the count would leave 32 bits.
        case
            when is_valid and previous_double_close is not null
                then cast(
                    round(greatest(least(ln(double_close / previous_double_close), 21), -21) * {{ double('1e8') }})
                    as integer
                )
        end as log_return_e8
    from neighbours
    window session as (partition by series_id, span, is_valid, session_date order by opened_at)
),

-- Wilder's recursion starts with the mean of the first 14 true ranges, standing at the 14th (bar 15).
seeded as (
    select
        case
            when bar_number > 15 then {{ double('true_range') }}
            when bar_number = 15 then {{ double('sum(case when bar_number <= 15 then true_range end) over so_far') }}
            else {{ double(0) }}
        end as seeded_range,
        returns.*
    from returns
    window so_far as (
        partition by series_id, span, is_valid order by opened_at rows between unbounded preceding and current row
    )
),

wilder_8 as (
    select
        {{ wilder_level('seeded_range', 1, 8, 'series') }} as range_8,
        seeded.*
    from seeded
    window series as (partition by series_id, span, is_valid order by opened_at)
),

wilder_64 as (
    select
        {{ wilder_level('range_8', 8, 8, 'series') }} as range_64,
        wilder_8.*
    from wilder_8
    window series as (partition by series_id, span, is_valid order by opened_at)
),

wilder_448 as (
    select
        {{ wilder_level('range_64', 64, 7, 'series') }} as range_448,
        log_return_e8,
        close,
        volume,
        hlc,
        bar_number,
        series_id,
        span,
        is_valid,
        opened_at,
        previous_closed_at,
        gap_detected,
        split_factor,
        true_range,
        return_1h,
        return_1d
    from wilder_64
    window series as (partition by series_id, span, is_valid order by opened_at)
),

windows as (
    select
        sum(volume) over last_20 as volumes_20,
        sum(volume * volume) over last_20 as volume_squares_20,
        max(hlc) over last_10 as highest_10,
        min(hlc) over last_10 as lowest_10,
        sum(hlc * volume) over last_20 as hlc_volumes_20,
        sum(close) over last_20 as closes_20,
        sum(log_return_e8) over last_20 as returns_20,
        sum(cast(log_return_e8 as bigint) * log_return_e8) over last_20 as return_squares_20,
        sum(close) over last_50 as closes_50,
        sum(log_return_e8) over last_50 as returns_50,
        sum(cast(log_return_e8 as bigint) * log_return_e8) over last_50 as return_squares_50,
        wilder_448.*
    from wilder_448
    window
        last_10 as (partition by series_id, span, is_valid order by opened_at {{ last_bars(10) }}),
        last_20 as (partition by series_id, span, is_valid order by opened_at {{ last_bars(20) }}),
        last_50 as (partition by series_id, span, is_valid order by opened_at {{ last_bars(50) }})
),

earlier as (
    select
        *,
        lag(highest_10, 10) over series as earlier_highest_10,
        lag(lowest_10, 10) over series as earlier_lowest_10,
        -- The sums over the 20 bars before this one are those of the bar before it.
        lag(volumes_20) over series as previous_volumes_20,
        lag(volume_squares_20) over series as previous_volume_squares_20
    from windows
    window series as (partition by series_id, span, is_valid order by opened_at)
),

final as (
    select
        series_id,
        span,
        opened_at,
        bar_number,
        gap_detected,
        previous_closed_at,
        return_1h,
        return_1d,
        log_return_e8 * 0.00000001 as log_return,
        -- sqrt((n SS - S^2) / (n (n - 1))), with S and SS the exact sums of the n returns and of their squares.
        case
            when is_valid and bar_number > 20
                then sqrt({{ spread_of_returns(20) }} / 380) / {{ double('1e8') }}
        end as volatility_20,
        case
            when is_valid and bar_number > 50
                then sqrt({{ spread_of_returns(50) }} / 2450) / {{ double('1e8') }}
        end as volatility_50,
        case when is_valid then {{ in_own_basis('true_range') }} end as true_range,
        case when is_valid and bar_number >= 15 then range_448 / 14 / {{ double('split_factor') }} end as atr,
        case when is_valid then {{ in_own_basis('hlc / 3') }} end as hlc3,
        case when is_valid and bar_number >= 20 then {{ in_own_basis('closes_20 * 0.05') }} end as sma_20,
        case when is_valid and bar_number >= 50 then {{ in_own_basis('closes_50 * 0.02') }} end as sma_50,
        case
            when is_valid and bar_number >= 20 and volumes_20 > 0 then {{ in_own_basis('hlc_volumes_20 / (3 * volumes_20)') }}
        end as vwap_20,
        case
            when not is_valid or bar_number < 50 then null
            when 20 * close > closes_20 and 5 * closes_20 > 2 * closes_50 then 'up'
            when 20 * close < closes_20 and 5 * closes_20 < 2 * closes_50 then 'down'
            else 'neutral'
        end as trend_direction,
        case
            when not is_valid or bar_number < 20 then null
            when highest_10 > earlier_highest_10 and lowest_10 > earlier_lowest_10 then 'bullish'
            when highest_10 < earlier_highest_10 and lowest_10 < earlier_lowest_10 then 'bearish'
            else 'range'
        end as market_structure,
        case
            when is_valid and bar_number >= 20
                then case when split_factor = 1 then volumes_20 else volumes_20 * split_factor end
        end as rolling_volume_20,
        -- (V - S / 20) / sqrt((20 SS - S^2) / 380), with S and SS the exact sums over the previous 20 volumes.
        case
            when is_valid and bar_number > 20
                then
                    {{ double('20 * volume - previous_volumes_20') }}
                    / 20
                    / nullif(
                        sqrt(
                            {{ double('20 * previous_volume_squares_20 - previous_volumes_20 * previous_volumes_20') }}
                            / 380
                        ),
                        0
                    )
        end as volume_spike_score
    from earlier
    {{ compute_once() }}
)

select * from final
