{{
    config(
        materialized='table_in_place',
        indexes=[{'columns': ['symbol', 'asset_class', 'first_session'], 'unique': true}],
        post_hook=['{{ analyze() }}']
    )
}}
-- What market_data_adjusted multiplies by, per asset and range of sessions: the share of a price that is left when all
-- dividends with a later ex-date are taken out, and the split factor of today. Both change with every new dividend or
-- split, for all of the past: that is why they are a table of a few rows per asset and no column of the bars.
with

zoned_assets as (
    select
        assets.symbol,
        assets.asset_class,
        max(calendars.time_zone) as time_zone
    from {{ ref('assets') }} as assets
    inner join {{ ref('calendars') }} as calendars on calendars.calendar = {{ calendar_of('assets') }}
    group by assets.symbol, assets.asset_class
),

assets as (
    select
        symbol,
        asset_class,
        time_zone,
        {{ local_date(warehouse_now(), 'time_zone') }} as today
    from zoned_assets
),

-- What is announced for a later day changes nothing yet.
dividends as (
    select dividends.*
    from {{ ref('int_dividend_factors') }} as dividends
    inner join assets on assets.symbol = dividends.symbol and assets.asset_class = dividends.asset_class
    where dividends.dividend_factor > 0 and dividends.ex_date <= assets.today
),

-- From when on each asset's dividends were asked for: before, nobody knows of none.
asked as (
    select
        answers.symbol,
        answers.asset_class,
        min({{ local_date('answers.window_start', 'assets.time_zone') }}) as known_from
    from {{ ref('stg_ops__answers') }} as answers
    inner join assets on assets.symbol = answers.symbol and assets.asset_class = answers.asset_class
    where
        answers.status in ('ok', 'unchanged')
        and {{ is_answer_about('dividends', 'answers') }}
    group by answers.symbol, answers.asset_class
),

ranges as (
    select
        symbol,
        asset_class,
        lag(ex_date, 1, date '0001-01-01') over (partition by symbol, asset_class order by ex_date) as first_session,
        ex_date as next_first_session,
        round(exp(sum(ln(dividend_factor)) over (
            partition by symbol, asset_class order by ex_date desc rows between unbounded preceding and current row
        )), 12) as dividend_factor
    from dividends

    union all

    select
        assets.symbol,
        assets.asset_class,
        coalesce(max(dividends.ex_date), date '0001-01-01'),
        date '9999-12-31',
        1
    from assets
    left join dividends on dividends.symbol = assets.symbol and dividends.asset_class = assets.asset_class
    group by assets.symbol, assets.asset_class
),

final as (
    select
        ranges.symbol,
        ranges.asset_class,
        ranges.first_session,
        ranges.next_first_session,
        cast(ranges.dividend_factor as numeric(20, 12)) as dividend_factor,
        -- A coin pays none.
        case when ranges.asset_class = 'crypto' then date '0001-01-01' else asked.known_from end as dividends_known_from,
        cast(coalesce(factors.split_factor, 1) as numeric(38, 24)) as split_factor_today
    from ranges
    inner join assets on assets.symbol = ranges.symbol and assets.asset_class = ranges.asset_class
    left join asked on asked.symbol = ranges.symbol and asked.asset_class = ranges.asset_class
    left join {{ ref('int_split_factors') }} as factors
        on
            factors.symbol = ranges.symbol
            and factors.asset_class = ranges.asset_class
            and factors.first_session <= assets.today
            and factors.next_first_session > assets.today
)

select * from final
