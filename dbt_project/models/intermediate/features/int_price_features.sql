{{ config(materialized='view', post_hook='{{ describe_features() }}') }}
-- The features that every asset class has, for the valid bars of this run; their formulas are in their doc blocks. Step by
-- step: prices in one basis over all splits, each bar next to the one before, returns and ranges, totals so far, totals of
-- the last n bars (and Wilder's mean in three of these steps), features in the basis of their own bar.
--
-- A total of the last n bars is the difference of two totals so far (sum_of_last): decimals and integers are exact, so it
-- does not matter where a run began to read, and one pass serves all n (measured: 0.7 of the time of a frame for each n).
-- A step passes on only what later ones need, what windows read first: Postgres unpacks a row up to the column that it
-- wants at every look back (with all columns of a bar: twice the time).
with

continuous_bars as (
    select
        series_id,
        range_no,
        opened_at,
        closed_at,
        session_date,
        step_minutes,
        reads_from_start,
        split_factor,
        {{ continuous_price('open') }} as open,
        {{ continuous_price('high') }} as high,
        {{ continuous_price('low') }} as low,
        {{ continuous_price('close') }} as close,
        {{ continuous_volume('volume') }} as volume
    from {{ ref('int_bars_to_compute') }}
    where is_valid
),

-- Ratios and logarithms are computed on doubles, which are made once.
bars_with_doubles as (
    select
        *,
        {{ double('open') }} as double_open,
        {{ double('close') }} as double_close
    from continuous_bars
    {{ optimization_fence() }}
),

bars_beside_the_one_before as (
    select
        series_id,
        range_no,
        opened_at,
        step_minutes,
        double_close,
        split_factor,
        close,
        volume,
        high + low + close as hlc,
        lag(double_close) over series as previous_double_close,
        lag(closed_at) over series as previous_closed_at,
        session_date > lag(session_date) over series as opens_session,
        -- No window looks beyond {{ longest_window() }} bars, so a range that starts inside the series counts from there.
        row_number() over series + case when reads_from_start then 0 else {{ longest_window() }} end as bar_number,
        -- greatest() and least() pass over a NULL: without the case the first bar would have its high - low.
        case
            when lag(close) over series is not null
                then greatest(high, lag(close) over series) - least(low, lag(close) over series)
        end as true_range,
        -- Only bars of up to an hour, and only if the bar that opened an hour before the close is there.
        case
            when step_minutes <= 60 and first_value(opened_at) over hour = opened_at + {{ minutes('(step_minutes - 60)') }}
                then double_close / first_value(double_open) over hour - 1
        end as return_1h
    from bars_with_doubles
    window
        series as (partition by series_id, range_no order by opened_at),
        -- 55 minutes hold exactly the bars of the hour that this bar ends, for every step from 5 minutes to an hour.
        hour as (
            partition by series_id, range_no order by opened_at range between interval '55 minutes' preceding and current row
        )
),

returns_and_ranges as (
    select
        series_id,
        range_no,
        opened_at,
        {{ as_wilder_takes_it('true_range', 'bar_number') }} as range_to_sum,
        {{ log_return_in_e8('double_close', 'previous_double_close') }} as log_return_e8,
        hlc,
        close,
        volume,
        case when opens_session then previous_double_close end as close_before_session,
        step_minutes,
        double_close,
        bar_number,
        return_1h,
        previous_closed_at,
        split_factor,
        true_range
    from bars_beside_the_one_before
    {{ optimization_fence() }}
),

totals_so_far as (
    select
        series_id,
        range_no,
        opened_at,
        {{ wilder_sum(8, 'range_to_sum', 'so_far') }} as range_8,
        sum(close) over so_far as closes,
        -- The first bar has no return, and a source may have no volume: later differences take them for 0. Where a window
        -- holds a bar without volume, what is made of volumes is NULL (bars_with_volume).
        coalesce(sum(volume) over so_far, 0) as volumes,
        max(case when volume is null then bar_number end) over so_far as last_without_volume,
        coalesce(sum(volume * volume) over so_far, 0) as volume_squares,
        coalesce(sum(hlc * volume) over so_far, 0) as hlc_volumes,
        coalesce(sum(log_return_e8) over so_far, 0) as log_returns,
        coalesce(sum(cast(log_return_e8 as bigint) * log_return_e8) over so_far, 0) as log_return_squares,
        {{ extreme_of_5('greatest', 'hlc', 'so_far') }} as highest_5,
        {{ extreme_of_5('least', 'hlc', 'so_far') }} as lowest_5,
        -- The first bar of a session sees the last close of the one before; the others take it over from that bar.
        case
            when step_minutes < 10080
                then double_close / {{ last_known('close_before_session', 'bar_number', 'so_far') }} - 1
        end as return_1d,
        hlc,
        close,
        volume,
        log_return_e8,
        bar_number,
        return_1h,
        previous_closed_at,
        split_factor,
        true_range
    from returns_and_ranges
    window so_far as (
        partition by series_id, range_no order by opened_at rows between unbounded preceding and current row
    )
),

totals_of_last_bars as (
    select
        series_id,
        range_no,
        opened_at,
        {{ wilder_sum(72, 'range_8', 'series') }} as range_72,
        {{ sum_of_last(20, 'closes', 'series') }} as closes_20,
        {{ sum_of_last(50, 'closes', 'series') }} as closes_50,
        {{ sum_of_last(20, 'volumes', 'series') }} as volumes_20,
        {{ sum_of_last(20, 'hlc_volumes', 'series') }} as hlc_volumes_20,
        {{ sum_of_last(20, 'log_returns', 'series') }} as returns_20,
        {{ sum_of_last(50, 'log_returns', 'series') }} as returns_50,
        {{ sum_of_last(20, 'log_return_squares', 'series') }} as return_squares_20,
        {{ sum_of_last(50, 'log_return_squares', 'series') }} as return_squares_50,
        {{ sum_of_previous(20, 'volumes', 'series') }} as previous_volumes_20,
        {{ sum_of_previous(20, 'volume_squares', 'series') }} as previous_volume_squares_20,
        greatest(highest_5, lag(highest_5, 5) over series) as highest_10,
        least(lowest_5, lag(lowest_5, 5) over series) as lowest_10,
        greatest(lag(highest_5, 10) over series, lag(highest_5, 15) over series) as earlier_highest_10,
        least(lag(lowest_5, 10) over series, lag(lowest_5, 15) over series) as earlier_lowest_10,
        bar_number,
        bar_number - coalesce(last_without_volume, 0) as bars_with_volume,
        log_return_e8,
        return_1h,
        return_1d,
        previous_closed_at,
        split_factor,
        true_range,
        hlc,
        close,
        volume
    from totals_so_far
    window series as (partition by series_id, range_no order by opened_at)
),

totals_of_all_windows as (
    select
        *,
        {{ wilder_sum(432, 'range_72', 'series') }} as range_432
    from totals_of_last_bars
    window series as (partition by series_id, range_no order by opened_at)
),

final as (
    select
        series_id,
        range_no,
        opened_at,
        bar_number,
        previous_closed_at,
        return_1h,
        return_1d,
        log_return_e8 * 0.00000001 as log_return,
        case when bar_number > 20 then {{ deviation_of_returns(20) }} end as volatility_20,
        case when bar_number > 50 then {{ deviation_of_returns(50) }} end as volatility_50,
        {{ in_own_basis('true_range') }} as true_range,
        case when bar_number >= 15 then {{ wilder_mean('range_432') }} / {{ double('split_factor') }} end as atr,
        {{ in_own_basis('hlc / 3') }} as hlc3,
        case when bar_number >= 20 then {{ in_own_basis('closes_20 * 0.05') }} end as sma_20,
        case when bar_number >= 50 then {{ in_own_basis('closes_50 * 0.02') }} end as sma_50,
        case
            when bar_number >= 20 and bars_with_volume >= 20 and volumes_20 > 0
                then {{ in_own_basis('hlc_volumes_20 / (3 * volumes_20)') }}
        end as vwap_20,
        -- Of close, closes_20 / 20 and closes_50 / 50, multiplied out: compared exactly, before any rounding.
        case
            when bar_number < 50 then null
            when 20 * close > closes_20 and 5 * closes_20 > 2 * closes_50 then 'up'
            when 20 * close < closes_20 and 5 * closes_20 < 2 * closes_50 then 'down'
            else 'neutral'
        end as trend_direction,
        case
            when bar_number < 20 then null
            when highest_10 > earlier_highest_10 and lowest_10 > earlier_lowest_10 then 'bullish'
            when highest_10 < earlier_highest_10 and lowest_10 < earlier_lowest_10 then 'bearish'
            else 'range'
        end as market_structure,
        case
            when bar_number >= 20 and bars_with_volume >= 20 then {{ volume_in_own_basis('volumes_20') }}
        end as rolling_volume_20,
        case
            when bar_number > 20 and bars_with_volume > 20
                then {{ deviations_from_previous(20, 'volume', 'previous_volumes_20', 'previous_volume_squares_20') }}
        end as volume_spike_score
    from totals_of_all_windows
    {{ optimization_fence() }}
)

select * from final
