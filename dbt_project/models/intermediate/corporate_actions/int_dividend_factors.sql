{{ config(materialized='table_in_place', post_hook=['{{ analyze() }}']) }}
-- By how much each used dividend lowers the price on its ex-date: 1 - amount / close before. The close is that of the last
-- valid day before the ex-date, as traded; the amount is brought to its shares where a split has the same ex-date.
with

dividends as (
    select * from {{ ref('int_dividends') }}
    where is_used
),

paying as (
    select distinct
        symbol,
        asset_class
    from dividends
),

series as (
    select
        series.series_id,
        series.symbol,
        series.asset_class
    from {{ ref('int_series') }} as series
    inner join paying on paying.symbol = series.symbol and paying.asset_class = series.asset_class
    where series.timeframe = {{ day_timeframe() }}
),

factors as (
    select * from {{ ref('int_split_factors') }}
),

-- As-of join: the dividends among the days, each with the last day before it.
events as (
    select
        series.symbol,
        series.asset_class,
        bars.session_date as on_date,
        bars.close,
        bars.split_factor,
        cast(null as numeric) as amount
    from {{ ref('int_bars') }} as bars
    inner join series on series.series_id = bars.series_id
    where bars.is_valid
    union all
    select
        symbol,
        asset_class,
        ex_date,
        null,
        null,
        amount
    from dividends
),

numbered as (
    select
        *,
        count(close) over (
            partition by symbol, asset_class
            order by on_date, case when amount is null then 1 else 0 end
            rows between unbounded preceding and current row
        ) as day_no
    from events
),

priced as (
    select
        *,
        max(close) over day as close_before,
        max(split_factor) over day as split_factor_before
    from numbered
    window day as (partition by symbol, asset_class, day_no)
),

final as (
    select
        priced.symbol,
        priced.asset_class,
        priced.on_date as ex_date,
        priced.amount,
        priced.close_before,
        round(
            1 - priced.amount * coalesce(factors.split_factor, 1) / priced.split_factor_before / priced.close_before, 12
        ) as dividend_factor
    from priced
    left join factors
        on
            factors.symbol = priced.symbol
            and factors.asset_class = priced.asset_class
            and factors.first_session <= priced.on_date
            and factors.next_first_session > priced.on_date
    where priced.amount is not null
)

select * from final
